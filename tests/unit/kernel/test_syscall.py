from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sampan.kernel import syscall
from sampan.kernel.namespaces import CLONE_FLAGS
from sampan.kernel.process import ExitStatus
from sampan.kernel.syscall import POINTER, TABLES, WORD, Call, encode, fail, switched_off


def test_both_machines_have_the_same_calls() -> None:
    assert set(TABLES["x86_64"]) == set(TABLES["aarch64"])


@pytest.mark.parametrize("machine", TABLES)
def test_no_number_stands_for_two_calls(machine: str) -> None:
    numbers = list(TABLES[machine].values())
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(
    ("machine", "headers"),
    [
        pytest.param("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", id="x86_64"),
        pytest.param("aarch64", "/usr/include/asm-generic/unistd.h", id="aarch64"),
    ],
)
def test_numbers_are_those_of_the_headers(machine: str, headers: str) -> None:
    if not Path(headers).exists():
        pytest.skip(f"no {headers} (package linux-libc-dev)")
    known = {}
    for line in Path(headers).read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "#define" and words[1].startswith(("__NR_", "__NR3264_")):
            known[words[1].split("_", 3)[3] if "3264" in words[1] else words[1][5:]] = words[2]
    for name, number in TABLES[machine].items():
        if name in known and known[name].isdigit():
            assert int(known[name]) == number, name
    assert {"mount", "clone3", "openat2", "setns", "fstatfs"} <= set(known)


def test_a_call_answers_and_fails_with_its_name() -> None:
    prctl = Call("prctl", WORD, POINTER, WORD, WORD, WORD)
    name = syscall.buffer(16)
    assert prctl(16, name, 0, 0, 0) == 0  # PR_GET_NAME
    assert name.raw.rstrip(b"\0").decode() == Path("/proc/thread-self/comm").read_text().strip()
    with pytest.raises(OSError, match="prctl: Invalid argument: 'what'") as caught:
        prctl(123456, None, 0, 0, 0, path="what")
    assert caught.value.errno == errno.EINVAL


def test_text_is_no_pointer() -> None:
    umount = Call("umount2", POINTER, WORD)
    with pytest.raises(Exception, match="argument 2"):
        umount("text", 0)  # type: ignore[arg-type]  # that is what is tested


def test_switched_off_calls_answer_enosys_and_come_back() -> None:
    prctl = Call("prctl", WORD, WORD, WORD, WORD, WORD)
    with switched_off("prctl", "mount"):
        with switched_off("prctl"):
            pass
        with pytest.raises(
            OSError, match="prctl: Function not implemented"
        ):  # the inner block changed nothing
            prctl(3, 0, 0, 0, 0)
    assert prctl(3, 0, 0, 0, 0) in (0, 1, 2)


def test_a_misspelled_call_cannot_be_switched_off() -> None:
    with pytest.raises(AssertionError, match="opentree"):
        switched_off("opentree")


def test_a_call_this_machine_has_no_number_for() -> None:
    with pytest.raises(OSError, match="nosuchcall") as caught:
        Call("nosuchcall")()
    assert caught.value.errno == errno.ENOSYS


@pytest.mark.parametrize(
    ("path", "raw"),
    [(None, None), ("a/ü", "a/ü".encode()), (b"\xff", b"\xff"), ("\udcff", b"\xff"), (Path("x"), b"x")],
)
def test_paths_reach_the_kernel_byte_for_byte(path: str | bytes | Path | None, raw: bytes | None) -> None:
    assert encode(path) == raw


@pytest.mark.parametrize("path", ["a\0b", b"\0", Path("x\0")])
def test_nul_bytes_do_not(path: str | bytes | Path) -> None:
    with pytest.raises(OSError, match="NUL byte") as caught:
        encode(path)
    assert caught.value.errno == errno.EINVAL


def test_an_error_carries_errno_text_and_path() -> None:
    error = fail(errno.ENOENT, "mount", "/some/where")
    assert isinstance(error, FileNotFoundError)
    assert str(error) == "[Errno 2] mount: No such file or directory: '/some/where'"
    assert fail(errno.EPERM, "setns").filename is None


def test_namespaces_are_joined_user_first_and_mnt_last() -> None:
    assert next(iter(CLONE_FLAGS)) == "user"
    assert list(CLONE_FLAGS)[-1] == "mnt"
    assert len(CLONE_FLAGS) == 8


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (ExitStatus(code=0), 0),
        (ExitStatus(code=3), 3),
        (ExitStatus(code=0, signal=9), 137),
        (ExitStatus(code=255), 255),
    ],
)
def test_exit_codes_as_shells_report_them(status: ExitStatus, code: int) -> None:
    assert status.shell_code == code
