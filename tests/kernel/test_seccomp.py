from __future__ import annotations

import errno
import os
import struct

import pytest
from tests.kernel.harness import run_isolated

from sampan.kernel import constants as c
from sampan.kernel.process import read_status, set_no_new_privs, setresuid
from sampan.kernel.seccomp import load_filter
from sampan.kernel.syscall import NUMBERS

ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def refusing(name: str, answer: int) -> bytes:
    """Return a filter that answers one call with an errno and allows all others."""
    steps = [
        (0x20, 0, 0, 0),  # load the call's number
        (0x15, 0, 1, NUMBERS[name]),  # equal: next, else skip one
        (0x06, 0, 0, ERRNO | answer),
        (0x06, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def test_filter_is_in_force() -> None:
    def inside() -> None:
        set_no_new_privs()
        setresuid(1000, 1000, 1000)
        assert load_filter(refusing("sethostname", errno.EXDEV)) == -1
        assert read_status()["Seccomp"] == "2"
        with pytest.raises(OSError, match="Invalid cross-device") as caught:
            from sampan.kernel.namespaces import set_hostname

            set_hostname("x")
        assert caught.value.errno == errno.EXDEV

    run_isolated(inside, namespaces=c.CLONE_NEWUTS)


def test_needs_a_right_or_no_new_privs() -> None:
    def inside() -> None:
        setresuid(1000, 1000, 1000)
        with pytest.raises(PermissionError, match="seccomp"):
            load_filter(refusing("mount", errno.EPERM))

    run_isolated(inside)


def test_listener_descriptor() -> None:
    def inside() -> None:
        fd = load_filter(refusing("sethostname", 1), c.SECCOMP_FILTER_FLAG_NEW_LISTENER)
        assert os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:seccomp notify"
        assert not os.get_inheritable(fd)

    run_isolated(inside)


@pytest.mark.parametrize("program", [b"", b"short", bytes(8 * 4097)], ids=["empty", "cut", "too long"])
def test_no_program(program: bytes) -> None:
    with pytest.raises(OSError, match=f"seccomp filter of {len(program)} bytes"):
        load_filter(program)
