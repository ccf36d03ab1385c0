"""Seccomp profiles: what the compiled filter answers, call by call, not what the document says."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.filter_machine import (
    AARCH64,
    ALLOW,
    ARM,
    ENOSYS,
    EPERM,
    I386,
    KILL,
    X32_BIT,
    X86_64,
    Machine,
)

from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel import libseccomp
from sampan.runtime import seccomp
from sampan.runtime.seccomp_compile import compile_profile
from sampan.spec.runtime import LinuxSeccomp, SeccompArg, SeccompRule

DEFAULT_CAPS = frozenset(
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID "
    "CAP_SETFCAP "
    "CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE".split()
)
# Numbers: x86_64, i386 (arch/x86/entry/syscalls).
READ, SOCKET, CLONE, PERSONALITY, UNSHARE, KEYCTL, CLONE3 = 0, 41, 56, 135, 272, 250, 435
CLONE_NEWUSER = 0x10000000

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the tables are those of x86_64")


@pytest.fixture(scope="module")
def default_filter() -> Machine:
    return Machine(compile_profile(seccomp.default_profile(DEFAULT_CAPS)))


def allow(*names: str, args: tuple[SeccompArg, ...] = ()) -> SeccompRule:
    return SeccompRule(names=names, action="SCMP_ACT_ALLOW", args=args)


def profile(*rules: SeccompRule, **fields: Any) -> LinuxSeccomp:
    return LinuxSeccomp(**{"default_action": "SCMP_ACT_ERRNO", "syscalls": rules, **fields})


def arg(op: str, value: int, value_two: int = 0, index: int = 0) -> SeccompArg:
    return SeccompArg(index=index, op=op, value=value, value_two=value_two)


@pytest.mark.parametrize(
    ("number", "args", "answer"),
    [
        pytest.param(READ, (), ALLOW, id="read"),
        pytest.param(SOCKET, (2,), ALLOW, id="socket AF_INET"),
        pytest.param(SOCKET, (38,), EPERM, id="socket AF_ALG"),
        pytest.param(SOCKET, (39,), ALLOW, id="socket AF_NFC"),
        pytest.param(SOCKET, (40,), EPERM, id="socket AF_VSOCK"),
        pytest.param(SOCKET, (41,), ALLOW, id="socket above"),
        pytest.param(CLONE, (0x11,), ALLOW, id="clone as fork"),
        pytest.param(CLONE, (CLONE_NEWUSER,), EPERM, id="clone with a user namespace"),
        pytest.param(CLONE3, (), ENOSYS, id="clone3"),
        pytest.param(UNSHARE, (CLONE_NEWUSER,), EPERM, id="unshare"),
        pytest.param(KEYCTL, (), EPERM, id="keyctl"),
        pytest.param(PERSONALITY, (0,), ALLOW, id="personality LINUX"),
        pytest.param(PERSONALITY, (8,), ALLOW, id="personality LINUX32"),
        pytest.param(PERSONALITY, (0xFFFFFFFF,), ALLOW, id="personality asked"),
        pytest.param(PERSONALITY, (0x0040000,), EPERM, id="personality ADDR_NO_RANDOMIZE"),
        pytest.param(335, (), ALLOW, id="uretprobe, unknown to libseccomp 2.5"),
        pytest.param(451, (), ALLOW, id="cachestat"),
        pytest.param(462, (), ALLOW, id="mseal, unknown to libseccomp 2.5"),
        pytest.param(460, (), EPERM, id="lsm_set_self_attr, known to the profile and not granted"),
        pytest.param(425, (), EPERM, id="io_uring_setup"),
        pytest.param(9999, (), ENOSYS, id="a number beyond the profile"),
        pytest.param(0x3FFFFFFF, (), ENOSYS, id="the last number that is not x32"),
    ],
)
def test_default_profile_on_x86_64(
    default_filter: Machine, number: int, args: tuple[int, ...], answer: int
) -> None:
    assert default_filter.ask(number, args=args) == answer


@pytest.mark.parametrize(
    ("number", "arch", "args", "answer"),
    [
        pytest.param(3, I386, (), ALLOW, id="i386 read"),
        pytest.param(359, I386, (38,), EPERM, id="i386 socket AF_ALG"),
        pytest.param(310, I386, (CLONE_NEWUSER,), EPERM, id="i386 unshare"),
        pytest.param(435, I386, (), ENOSYS, id="i386 clone3"),
        pytest.param(462, I386, (), ALLOW, id="i386 mseal"),
        pytest.param(9999, I386, (), ENOSYS, id="i386, beyond the profile"),
        pytest.param(102, I386, (), ALLOW, id="i386 socketcall: the known gap"),
        pytest.param(X32_BIT | 0, X86_64, (), ALLOW, id="x32 read"),
        pytest.param(X32_BIT | 41, X86_64, (38,), EPERM, id="x32 socket AF_ALG"),
        pytest.param(X32_BIT | 272, X86_64, (), EPERM, id="x32 unshare"),
        pytest.param(X32_BIT | 462, X86_64, (), ALLOW, id="x32 mseal"),
        pytest.param(X32_BIT | 9999, X86_64, (), ENOSYS, id="x32, beyond the profile"),
        pytest.param(READ, AARCH64, (), KILL, id="another machine's architecture"),
        pytest.param(READ, ARM, (), KILL, id="another machine's 32 bits"),
        pytest.param(READ, 0, (), KILL, id="no architecture"),
    ],
)
def test_default_profile_on_other_architectures(
    default_filter: Machine, number: int, arch: int, args: tuple[int, ...], answer: int
) -> None:
    assert default_filter.ask(number, arch=arch, args=args) == answer


def test_filter_of_x86_64_alone_kills_x32_and_i386() -> None:
    machine = Machine(compile_profile(profile(allow("read", "mseal"))))
    assert machine.ask(READ) == ALLOW
    assert machine.ask(X32_BIT | READ) == KILL
    assert machine.ask(X32_BIT | 9999) == KILL
    assert machine.ask(3, arch=I386) == KILL


@pytest.mark.parametrize(
    ("capability", "number"),
    [
        ("CAP_SYS_ADMIN", UNSHARE),
        ("CAP_SYS_ADMIN", CLONE3),
        ("CAP_DAC_READ_SEARCH", 304),  # open_by_handle_at
        ("CAP_SYS_BOOT", 169),  # reboot
        ("CAP_SYS_MODULE", 175),  # init_module
        ("CAP_SYS_PACCT", 163),  # acct
        ("CAP_SYS_PTRACE", 312),  # kcmp
        ("CAP_SYS_RAWIO", 172),  # iopl
        ("CAP_SYS_TIME", 227),  # clock_settime
        ("CAP_SYS_TTY_CONFIG", 153),  # vhangup
        ("CAP_SYS_NICE", 237),  # mbind
        ("CAP_SYSLOG", 103),  # syslog
        ("CAP_BPF", 321),  # bpf
        ("CAP_PERFMON", 298),  # perf_event_open
    ],
)
def test_capability_grants_its_calls(default_filter: Machine, capability: str, number: int) -> None:
    assert default_filter.ask(number) in (EPERM, ENOSYS)
    machine = Machine(compile_profile(seccomp.default_profile(DEFAULT_CAPS | {capability})))
    assert machine.ask(number) == ALLOW


def test_chroot_needs_its_capability() -> None:
    machine = Machine(compile_profile(seccomp.default_profile(frozenset())))
    assert machine.ask(161) == EPERM


def test_clone_is_free_with_sys_admin() -> None:
    machine = Machine(compile_profile(seccomp.default_profile(DEFAULT_CAPS | {"CAP_SYS_ADMIN"})))
    assert machine.ask(CLONE, args=(CLONE_NEWUSER,)) == ALLOW


@pytest.mark.parametrize(
    ("op", "value", "two", "yes", "no"),
    [
        ("SCMP_CMP_EQ", 5, 0, [5], [4, 6, 5 | 1 << 32]),
        ("SCMP_CMP_NE", 5, 0, [4, 5 | 1 << 32], [5]),
        ("SCMP_CMP_LT", 1 << 32, 0, [0, (1 << 32) - 1], [1 << 32, 1 << 40]),
        ("SCMP_CMP_LE", 5, 0, [0, 5], [6, 1 << 33]),
        ("SCMP_CMP_GE", 5, 0, [5, 1 << 33], [4]),
        ("SCMP_CMP_GT", 5, 0, [6, 1 << 33], [5]),
        ("SCMP_CMP_MASKED_EQ", 0xF0, 0x30, [0x30, 0x3F], [0x40, 0]),
    ],
)
def test_operators(op: str, value: int, two: int, yes: list[int], no: list[int]) -> None:
    rule = allow("read", args=(arg(op, value, two, index=2),))
    machine = Machine(compile_profile(profile(rule)))
    assert {number: machine.ask(READ, args=(0, 0, number)) for number in yes} == dict.fromkeys(yes, ALLOW)
    assert {number: machine.ask(READ, args=(0, 0, number)) for number in no} == dict.fromkeys(no, EPERM)


def test_conditions_on_several_arguments_hold_together() -> None:
    rule = allow("read", args=(arg("SCMP_CMP_EQ", 1, index=0), arg("SCMP_CMP_EQ", 2, index=1)))
    machine = Machine(compile_profile(profile(rule)))
    assert machine.ask(READ, args=(1, 2)) == ALLOW
    assert machine.ask(READ, args=(1, 3)) == EPERM


def test_two_conditions_on_one_argument_are_alternatives() -> None:
    """The trap of the format, kept for compatibility: "not 1 and not 2" lets everything through."""
    rule = allow("read", args=(arg("SCMP_CMP_NE", 1), arg("SCMP_CMP_NE", 2)))
    machine = Machine(compile_profile(profile(rule)))
    assert [machine.ask(READ, args=(number,)) for number in (0, 1, 2)] == [ALLOW] * 3


@pytest.mark.parametrize(
    ("action", "errno_ret", "answer"),
    [
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", None, 0x80000000),
        ("SCMP_ACT_TRAP", None, 0x00030000),
        ("SCMP_ACT_ERRNO", None, 0x00050001),
        ("SCMP_ACT_ERRNO", 13, 0x0005000D),
        ("SCMP_ACT_TRACE", 7, 0x7FF00007),
        ("SCMP_ACT_LOG", None, 0x7FFC0000),
        ("SCMP_ACT_NOTIFY", None, 0x7FC00000),
    ],
)
def test_actions_on_known_and_newer_calls(action: str, errno_ret: int | None, answer: int) -> None:
    rule = SeccompRule(names=("getpid", "mseal"), action=action, errno_ret=errno_ret)
    machine = Machine(
        compile_profile(profile(rule, default_action="SCMP_ACT_ALLOW", listener_path="/run/agent.sock"))
    )
    assert machine.ask(39) == answer
    assert machine.ask(462) == answer
    assert machine.ask(READ) == ALLOW


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_a_default_that_lets_through_also_does_so_for_new_calls(default: str) -> None:
    rule = SeccompRule(names=("getpid",), action="SCMP_ACT_ERRNO")
    machine = Machine(compile_profile(profile(rule, default_action=default)))
    assert machine.ask(9999) != ENOSYS


def test_new_calls_count_from_the_newest_in_the_profile() -> None:
    machine = Machine(compile_profile(profile(allow("read", "openat2"))))
    assert machine.ask(437) == ALLOW
    assert machine.ask(436) == EPERM
    assert machine.ask(438) == ENOSYS


def test_unknown_names_are_left_out() -> None:
    machine = Machine(compile_profile(profile(allow("read", "no_such_call_42", "chown32"))))
    assert machine.ask(READ) == ALLOW


def test_profile_without_rules_denies_everything() -> None:
    machine = Machine(compile_profile(LinuxSeccomp(default_action="SCMP_ACT_ERRNO", default_errno_ret=2)))
    assert machine.ask(READ) == 0x00050002


WRONG: list[tuple[LinuxSeccomp, str]] = [
    (profile(default_action="SCMP_ACT_DENY"), "linux.seccomp.defaultAction: 'SCMP_ACT_DENY'"),
    (profile(default_action="SCMP_ACT_NOTIFY"), "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot"),
    (profile(default_errno_ret=4096), "linux.seccomp.defaultErrnoRet: 4096 is not between"),
    (profile(SeccompRule(names=("read",), action="ALLOW")), "linux.seccomp.syscalls[0].action: 'ALLOW'"),
    (
        profile(SeccompRule(names=("read",), action="SCMP_ACT_KILL", errno_ret=1)),
        "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_KILL returns no errno",
    ),
    (profile(allow("read", args=(arg("=", 1),))), "linux.seccomp.syscalls[0].args: '=' is not an operator"),
    (profile(allow("read", args=(arg("SCMP_CMP_EQ", 1, index=6),))), "args: index 6"),
    (profile(allow("read", args=(arg("SCMP_CMP_EQ", 2**64),))), "args: 18446744073709551616 does not fit"),
    (profile(architectures=("SCMP_ARCH_Z80",)), "linux.seccomp.architectures: 'SCMP_ARCH_Z80'"),
    (profile(architectures=("SCMP_ARCH_S390X",)), "SCMP_ARCH_S390X cannot be filtered here"),
    (profile(SeccompRule(names=("read",), action="SCMP_ACT_NOTIFY")), "linux.seccomp.listenerPath: missing"),
    (
        profile(SeccompRule(names=("write",), action="SCMP_ACT_NOTIFY"), listener_path="/s"),
        "syscalls[0]: SCMP_ACT_NOTIFY cannot be used for write",
    ),
    (profile(listener_metadata="x"), "linux.seccomp.listenerMetadata: given without"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_profile_names_its_field(wrong: LinuxSeccomp, message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        compile_profile(wrong)


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libseccomp, "LIBRARY", "libseccomp.so.99")
    with pytest.raises(Unsupported, match="need libseccomp") as caught:
        compile_profile(profile())
    assert "apt-get install libseccomp2" in caught.value.hint


def test_flags() -> None:
    assert seccomp.filter_flags(profile()) == 4  # SPEC_ALLOW
    assert seccomp.filter_flags(profile(flags=())) == 0
    assert seccomp.filter_flags(profile(flags=("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"))) == 3
    notify = SeccompRule(names=("mount",), action="SCMP_ACT_NOTIFY")
    assert seccomp.filter_flags(profile(notify, flags=("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",))) == 0x28
    with pytest.raises(InvalidArgument, match=r"linux\.seccomp\.flags: 'NEW'"):
        seccomp.filter_flags(profile(flags=("NEW",)))


@pytest.fixture
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_programs", {})


@pytest.mark.usefixtures("_forget")
class TestCache:
    def test_file_is_used_instead_of_the_compiler(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = tmp_path / "seccomp"
        first = seccomp.program_for(profile(allow("read")), cache_dir=str(cache))
        (file,) = cache.iterdir()
        assert file.read_bytes() == first
        assert cache.stat().st_mode & 0o777 == 0o700
        seccomp._programs.clear()
        monkeypatch.setattr(libseccomp, "LIBRARY", "libseccomp.so.99")
        assert seccomp.program_for(profile(allow("read")), cache_dir=str(cache)) == first

    def test_memory_is_used_instead_of_the_file(self, tmp_path: Path) -> None:
        first = seccomp.program_for(profile(allow("read")), cache_dir=str(tmp_path))
        for file in tmp_path.iterdir():
            file.unlink()
        assert seccomp.program_for(profile(allow("read")), cache_dir=str(tmp_path)) is first

    def test_key_changes_with_everything_that_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = {
            seccomp.cache_key(profile(allow("read"))),
            seccomp.cache_key(profile(allow("write"))),
            seccomp.cache_key(profile(allow("read"), default_errno_ret=2)),
            seccomp.cache_key(profile(allow("read"), architectures=("SCMP_ARCH_X86",))),
        }
        monkeypatch.setattr(seccomp, "library_version", lambda: "libseccomp.so.2.99.0")
        keys.add(seccomp.cache_key(profile(allow("read"))))
        assert len(keys) == 5

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda file: file.chmod(0o666), id="others may write it"),
            pytest.param(lambda file: file.write_bytes(b"x" * 12), id="not whole instructions"),
            pytest.param(lambda file: file.write_bytes(b""), id="empty"),
            pytest.param(lambda file: (file.unlink(), file.symlink_to("/etc/passwd")), id="a link"),
        ],
    )
    def test_spoilt_file_is_compiled_again(self, tmp_path: Path, spoil: Any) -> None:
        first = seccomp.program_for(profile(allow("read")), cache_dir=str(tmp_path))
        (file,) = tmp_path.iterdir()
        spoil(file)
        seccomp._programs.clear()
        assert seccomp.program_for(profile(allow("read")), cache_dir=str(tmp_path)) == first

    def test_unwritable_cache_is_no_error(self) -> None:
        assert seccomp.program_for(profile(allow("read")), cache_dir="/proc/nowhere")

    def test_cache_does_not_grow_without_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(seccomp, "_MAX_FILES", 3)
        for number in range(7):
            seccomp.program_for(profile(allow("read"), default_errno_ret=number), cache_dir=str(tmp_path))
            assert len(list(tmp_path.iterdir())) <= 3
