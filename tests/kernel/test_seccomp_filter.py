"""The compiled default profile in force: what the kernel answers to a process under it."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.harness import run_isolated

from sampan.kernel import constants as c
from sampan.kernel.process import read_status, set_no_new_privs
from sampan.kernel.seccomp import load_filter
from sampan.kernel.syscall import NUMBERS, syscall
from sampan.runtime import seccomp
from sampan.spec.runtime import LinuxSeccomp, SeccompArg, SeccompRule

DEFAULT_CAPS = frozenset({"CAP_CHOWN", "CAP_KILL", "CAP_SYS_CHROOT"})
CLONE_NEWUSER = 0x10000000
AF_ALG, AF_VSOCK = 38, 40

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="needs a machine whose numbers of calls are known"
)


def answer(call: Callable[[], object]) -> str:
    """Return "ok" or the name of the errno."""
    try:
        call()
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return "ok"


def under(profile: LinuxSeccomp, probe: Callable[[], Any]) -> Any:
    """Return probe() as run by a process that has loaded the filter of profile."""
    program = seccomp.program_for(profile, cache_dir=None)
    flags = seccomp.filter_flags(profile)

    def inside() -> Any:
        set_no_new_privs()
        load_filter(program, flags)
        assert read_status()["Seccomp"] == "2"
        return probe()

    return run_isolated(inside)


@pytest.mark.parametrize(
    ("call", "want"),
    [
        pytest.param(lambda: socket.socket(AF_ALG, socket.SOCK_SEQPACKET), "EPERM", id="socket AF_ALG"),
        pytest.param(lambda: socket.socket(AF_VSOCK, socket.SOCK_STREAM), "EPERM", id="socket AF_VSOCK"),
        pytest.param(lambda: socket.socket().close(), "ok", id="socket AF_INET"),
        pytest.param(lambda: syscall(NUMBERS["clone3"], 0, 0), "ENOSYS", id="clone3"),
        pytest.param(
            lambda: syscall(NUMBERS["clone"], CLONE_NEWUSER, 0, 0, 0, 0), "EPERM", id="clone, new user"
        ),
        pytest.param(lambda: syscall(NUMBERS["unshare"], CLONE_NEWUSER), "EPERM", id="unshare"),
        pytest.param(lambda: syscall(NUMBERS["keyctl"], 0, 0, 0, 0, 0), "EPERM", id="keyctl"),
        pytest.param(lambda: syscall(NUMBERS["mount"], 0, 0, 0, 0, 0), "EPERM", id="mount"),
        pytest.param(lambda: syscall(NUMBERS["bpf"], 0, 0, 0), "EPERM", id="bpf"),
        pytest.param(lambda: syscall(425, 1, 0), "EPERM", id="io_uring_setup"),
        pytest.param(lambda: syscall(NUMBERS["personality"], 0xFFFFFFFF), "ok", id="personality, asked"),
        pytest.param(
            lambda: syscall(NUMBERS["personality"], 0x0040000), "EPERM", id="personality, no randomness"
        ),
        pytest.param(lambda: syscall(9999), "ENOSYS", id="a call that nobody knows"),
        pytest.param(lambda: syscall(462, 0, 0, 0), "ok", id="mseal of nothing"),
        pytest.param(lambda: os.stat("/"), "ok", id="stat"),
    ],
)
def test_default_profile(call: Callable[[], object], want: str) -> None:
    got = under(seccomp.default_profile(DEFAULT_CAPS), lambda: answer(call))
    if want == "ok" and got == "ENOSYS":
        pytest.skip("this kernel does not have the call itself")
    assert got == want


def test_forking_works_under_the_default_profile() -> None:
    def fork_and_wait() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert under(seccomp.default_profile(DEFAULT_CAPS), fork_and_wait) == 7


def test_programs_run_under_the_default_profile() -> None:
    """libc starts threads and processes by calls whose refusal it must understand."""
    code = "import threading; t = threading.Thread(target=print, args=('hi',)); t.start(); t.join()"

    def run() -> str:
        read_end, write_end = os.pipe()
        pid = os.posix_spawn(
            "/usr/bin/python3",
            ["python3", "-I", "-S", "-c", code],
            {},
            file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)],
        )
        os.close(write_end)
        os.waitpid(pid, 0)
        return os.read(read_end, 100).decode()

    assert under(seccomp.default_profile(DEFAULT_CAPS), run) == "hi\n"


def test_capability_opens_its_calls() -> None:
    profile = seccomp.default_profile(DEFAULT_CAPS | {"CAP_SYS_ADMIN"})
    assert under(profile, lambda: answer(lambda: syscall(NUMBERS["unshare"], c.CLONE_NEWUTS))) == "ok"


def test_foreign_architecture_is_killed(tmp_path: Path) -> None:
    """A 32-bit call by a filter that names 64 bits alone: int 0x80, getpid."""
    if platform.machine() != "x86_64":
        pytest.skip("int 0x80 is of x86")
    code = bytes.fromhex("b814000000cd80c3")  # mov eax, 20; int 0x80; ret
    rules = (
        SeccompRule(
            names=tuple(seccomp.default_profile(DEFAULT_CAPS).syscalls[0].names), action="SCMP_ACT_ALLOW"
        ),
    )
    profile = LinuxSeccomp(default_action="SCMP_ACT_ERRNO", syscalls=rules)
    program = seccomp.program_for(profile, cache_dir=None)

    def call_32_bit() -> None:
        import mmap

        area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        area.write(code)
        function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(area)))
        function()

    def ends_with(load: bool) -> int:
        pid = os.fork()
        if pid == 0:
            if load:
                set_no_new_privs()
                load_filter(program)
            call_32_bit()
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def inside() -> list[int]:
        return [ends_with(load=False), ends_with(load=True)]

    free, filtered = run_isolated(inside)
    if free != 0:
        pytest.skip("this kernel runs no 32-bit calls")
    assert filtered == -signal.SIGSYS


def test_conditions_in_force() -> None:
    rule = SeccompRule(
        names=("dup3",),
        action="SCMP_ACT_ERRNO",
        errno_ret=errno.EXDEV,
        args=(SeccompArg(index=1, op="SCMP_CMP_MASKED_EQ", value=0xFF00, value_two=0x1200),),
    )
    profile = LinuxSeccomp(default_action="SCMP_ACT_ALLOW", syscalls=(rule,))

    def probe() -> list[str]:
        return [
            answer(lambda: os.dup2(1, 0x1234, inheritable=False)),
            answer(lambda: os.dup2(1, 0x0134, inheritable=False)),
        ]

    assert under(profile, probe) == ["EXDEV", "ok"]


def test_logging_and_newer_flags_are_taken() -> None:
    profile = LinuxSeccomp(
        default_action="SCMP_ACT_ALLOW",
        flags=("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"),
        syscalls=(SeccompRule(names=("sethostname",), action="SCMP_ACT_LOG"),),
    )
    assert under(profile, lambda: answer(lambda: os.getpid())) == "ok"
