from __future__ import annotations

import errno
import fcntl
import os
import signal
import termios
from pathlib import Path

import pytest
from tests.kernel.harness import run_isolated

from sampan.kernel import constants as c
from sampan.kernel import tty
from sampan.kernel.mounts import fsconfig_create, fsconfig_set, fsmount, fsopen, mount
from sampan.kernel.process import list_fds


def test_both_ends_of_the_hosts_devpts() -> None:
    def inside() -> None:
        master, slave = tty.open_pty()
        assert not os.get_inheritable(master)
        assert not os.get_inheritable(slave)
        assert os.isatty(slave)
        os.write(master, b"in\n")
        assert os.read(slave, 99) == b"in\n"
        os.write(slave, b"out\n")
        echoed = b""
        while len(echoed) < 9:
            echoed += os.read(master, 99)
        assert echoed == b"in\r\nout\r\n"

    run_isolated(inside)


def test_container_devpts_by_its_descriptor(tmp_path: Path) -> None:
    def inside() -> None:
        mount("devpts", tmp_path, "devpts", 0, "newinstance,ptmxmode=0666,mode=0620,gid=5,max=2")
        fd = os.open(tmp_path, os.O_PATH)
        master, slave = tty.open_pty(fd)
        status = os.fstat(slave)
        assert os.path.samestat(status, os.stat(tmp_path / "0"))
        assert (status.st_gid, status.st_mode & 0o777) == (5, 0o620)
        tty.open_pty(fd)
        before = list_fds()
        with pytest.raises(OSError, match="No space left") as caught:
            tty.open_pty(fd)
        assert caught.value.errno == errno.ENOSPC
        assert list_fds() == before
        os.close(master)

    run_isolated(inside)


def test_devpts_attached_nowhere() -> None:
    def inside() -> None:
        context = fsopen("devpts")
        fsconfig_set(context, "ptmxmode", "0666")
        fsconfig_create(context)
        _, slave = tty.open_pty(fsmount(context))
        assert os.isatty(slave)

    run_isolated(inside)


def test_a_name_swapped_for_a_link_is_never_used(tmp_path: Path) -> None:
    """CVE-2025-52565: the slave comes from the master, so what /dev/pts/0 is by name does not matter."""

    def inside() -> None:
        pts, trap = tmp_path / "pts", tmp_path / "trap"
        pts.mkdir()
        trap.touch()
        mount("devpts", pts, "devpts", 0, "newinstance,ptmxmode=0666")
        fd = os.open(pts, os.O_PATH)
        mount("t", pts, "tmpfs")
        (pts / "0").symlink_to(trap)
        (pts / "ptmx").symlink_to(trap)
        _, slave = tty.open_pty(fd)
        assert os.isatty(slave)
        with pytest.raises(OSError, match="symbolic links"):
            tty.open_pty(os.open(pts, os.O_PATH))

    run_isolated(inside)


def test_size_reaches_the_other_end_with_a_signal() -> None:
    def inside() -> None:
        master, slave = tty.open_pty()
        os.setsid()
        tty.set_controlling_terminal(slave)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
        tty.set_size(master, 50, 132)
        assert tty.get_size(slave) == (50, 132)
        assert signal.SIGWINCH in signal.sigpending()
        os.close(os.open("/dev/tty", os.O_RDWR))  # there is none without a controlling terminal

    run_isolated(inside)


def test_second_controlling_terminal_is_refused() -> None:
    def inside() -> None:
        os.setsid()
        tty.set_controlling_terminal(tty.open_pty()[1])
        with pytest.raises(PermissionError):
            tty.set_controlling_terminal(tty.open_pty()[1])

    run_isolated(inside)


def test_raw_hands_every_byte_through_and_restore_ends_it() -> None:
    def inside() -> None:
        master, slave = tty.open_pty()
        before = termios.tcgetattr(slave)
        saved = tty.make_raw(slave)
        assert saved == before
        every = bytes(range(256))
        for writer, reader in ((master, slave), (slave, master)):
            os.write(writer, every)
            got = b""
            while len(got) < 256:
                got += os.read(reader, 999)
            assert got == every
        tty.restore(slave, saved)
        assert termios.tcgetattr(slave) == before

    run_isolated(inside)


def test_a_pipe_is_no_terminal() -> None:
    def inside() -> None:
        with pytest.raises(OSError, match="Inappropriate ioctl"):
            tty.set_size(os.pipe()[0], 1, 1)
        assert fcntl.fcntl(0, fcntl.F_GETFD) >= 0

    run_isolated(inside, namespaces=c.CLONE_NEWUTS)
