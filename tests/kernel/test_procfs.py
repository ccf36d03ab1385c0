from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from tests.kernel.harness import run_isolated

from sampan.kernel import constants as c
from sampan.kernel import procfs
from sampan.kernel.mounts import mount, read_mountinfo, umount
from sampan.kernel.namespaces import unshare, write_id_maps
from sampan.kernel.process import list_fds
from sampan.kernel.syscall import switched_off

ways = pytest.mark.parametrize(
    "off", [(), ("fsopen",), ("fsopen", "open_tree"), ("fsopen", "open_tree", "openat2")], ids=repr
)
NEW = c.CLONE_NEWNS | c.CLONE_NEWNET | c.CLONE_NEWUTS


@ways
def test_sysctls_are_written(off: tuple[str, ...]) -> None:
    def inside() -> None:
        with switched_off(*off):
            fd = procfs.open_private_proc()
            assert not os.get_inheritable(fd)
            procfs.write_sysctl(fd, "net.ipv4.ip_forward", "1")
            procfs.write_sysctl(fd, "net/ipv4/ip_default_ttl", "77")
            assert procfs.read_proc_file(fd, "sys/net/ipv4/ip_forward") == b"1\n"
        assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text() == "77\n"

    run_isolated(inside, namespaces=NEW)


def test_in_a_user_namespace_whose_proc_is_partly_covered() -> None:
    """There no new procfs may be made, since it would show what was covered."""

    def inside() -> str:
        mount("t", "/proc/bus", "tmpfs")
        unshare(NEW | c.CLONE_NEWUSER)
        write_id_maps("self", [(0, 0, 1)], [(0, 0, 1)], deny_setgroups=True)
        with pytest.raises(PermissionError):
            procfs._new_proc()
        fd = procfs.open_private_proc()
        procfs.write_sysctl(fd, "net.ipv4.ip_default_ttl", "78")
        return Path("/proc/sys/net/ipv4/ip_default_ttl").read_text()

    assert run_isolated(inside) == "78\n"


def test_nothing_leads_to_it() -> None:
    def inside() -> None:
        before = read_mountinfo()
        procfs.open_private_proc()
        assert read_mountinfo() == before

    run_isolated(inside)


@pytest.mark.parametrize("off", [(), ("fsopen",)], ids=repr)
def test_what_is_mounted_over_proc_does_not_matter(tmp_path: Path, off: tuple[str, ...]) -> None:
    """CVE-2025-52881: a tmpfs over a proc file made writes land elsewhere."""

    def inside() -> None:
        with switched_off(*off):
            fd = procfs.open_private_proc()
        (tmp_path / "trap").touch()
        mount(tmp_path / "trap", "/proc/sys/net/ipv4/ip_forward", None, c.MS_BIND)
        mount("t", "/proc/sys/kernel", "tmpfs")
        procfs.write_sysctl(fd, "net.ipv4.ip_forward", "1")
        procfs.write_sysctl(fd, "kernel.domainname", "a.domain")
        assert (tmp_path / "trap").read_bytes() == b""
        umount("/proc/sys/net/ipv4/ip_forward")
        assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "1\n"

    run_isolated(inside, namespaces=NEW)


@pytest.mark.parametrize("off", [(), ("openat2",)], ids=repr)
def test_the_last_resort_refuses_mounts_over_it(tmp_path: Path, off: tuple[str, ...]) -> None:
    def inside() -> None:
        (tmp_path / "trap").touch()
        with switched_off("fsopen", "open_tree"):
            fd = procfs.open_private_proc()
        mount(tmp_path / "trap", "/proc/sys/net/ipv4/ip_forward", None, c.MS_BIND)
        mount("t", "/proc/sys/kernel", "tmpfs")
        before = list_fds()
        for name in ("net.ipv4.ip_forward", "kernel.domainname"):
            with switched_off(*off), pytest.raises(OSError, match="openat2") as caught:
                procfs.write_sysctl(fd, name, "1")
            assert caught.value.errno == errno.EXDEV
        assert list_fds() == before

    run_isolated(inside, namespaces=NEW)


def test_something_else_at_proc_is_refused(tmp_path: Path) -> None:
    def inside() -> None:
        for fstype in ("tmpfs", "sysfs"):
            mount("t", "/proc", fstype)
            with switched_off("fsopen"), pytest.raises(PermissionError, match="not the root of a procfs"):
                procfs.open_private_proc()
            umount("/proc")
        mount("/proc/self", "/proc", None, c.MS_BIND)
        with switched_off("fsopen"), pytest.raises(PermissionError, match="not the root of a procfs"):
            procfs.open_private_proc()

    run_isolated(inside)


def test_files_of_this_thread_and_no_others() -> None:
    def inside() -> None:
        fd = procfs.open_private_proc()
        assert procfs.read_proc_file(fd, "thread-self/comm") == Path("/proc/thread-self/comm").read_bytes()
        procfs.write_proc_file(fd, "thread-self/comm", b"renamed")
        assert Path("/proc/self/comm").read_text() == "renamed\n"
        for path, number in {
            "self/exe": errno.ELOOP,
            "self/root/etc/passwd": errno.ELOOP,
            "../etc/passwd": errno.EXDEV,
            "/etc/passwd": errno.EXDEV,
            "sys/kernel": errno.EPERM,
            "sys/no/such": errno.ENOENT,
        }.items():
            before = list_fds()
            with pytest.raises(OSError, match=path.split("/")[-1]) as caught:
                procfs.open_proc_file(fd, path, os.O_RDONLY)
            assert caught.value.errno == number, path
            assert list_fds() == before

    run_isolated(inside)


def test_a_refused_value_is_shown() -> None:
    def inside() -> None:
        fd = procfs.open_private_proc()
        with pytest.raises(OSError, match="write b'many': Invalid argument: '/proc/sys/net/ipv4/ip_forward'"):
            procfs.write_sysctl(fd, "net.ipv4.ip_forward", "many")

    run_isolated(inside, namespaces=NEW)


def test_it_shows_the_callers_pid_namespace() -> None:
    def inside() -> None:
        fd = procfs.open_private_proc()
        assert procfs.read_proc_file(fd, "self/stat").startswith(b"1 ")

    run_isolated(inside, namespaces=c.CLONE_NEWNS | c.CLONE_NEWPID)
