from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.harness import run_isolated

from sampan.kernel import constants as c
from sampan.kernel.namespaces import (
    CLONE_FLAGS,
    clone,
    namespace_id,
    namespace_kind,
    open_namespace,
    set_domainname,
    set_hostname,
    setns,
    unshare,
    write_id_maps,
    write_time_offsets,
)
from sampan.kernel.process import pidfd_open, read_status, thread_count, wait_pidfd
from sampan.kernel.syscall import switched_off

both_clones = pytest.mark.parametrize("off", [(), ("clone3",)], ids=["clone3", "clone"])
CGROUP2 = next(
    (p for p in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified") if os.path.exists(f"{p}/cgroup.procs")), ""
)


def child_says(flags: int, script: Any, *, off: tuple[str, ...] = (), **options: int) -> Any:
    """Return script() as run by a child that clone made."""
    read_end, write_end = os.pipe()
    with switched_off(*off):
        pid, pidfd = clone(flags, **options)
    if pid == 0:
        assert pidfd == -1
        try:
            answer = script()
        except BaseException as exc:
            answer = f"child failed: {exc!r}"
        os.write(write_end, json.dumps(answer).encode())
        os._exit(0)
    os.close(write_end)
    assert not os.get_inheritable(pidfd)
    data = os.read(read_end, 65536)
    assert wait_pidfd(pidfd).code == 0
    os.close(pidfd)
    os.close(read_end)
    return json.loads(data)


@both_clones
def test_child_is_pid_1_with_its_own_memory_and_descriptors(off: tuple[str, ...]) -> None:
    def inside() -> None:
        assert thread_count() == 1
        box = ["parent"]

        def script() -> list[Any]:
            box[0] = "child"
            return [os.getpid(), os.getppid(), box[0]]

        assert child_says(c.CLONE_NEWPID, script, off=off) == [1, 0, "child"]
        assert box == ["parent"]

    run_isolated(inside)


@both_clones
@pytest.mark.parametrize("kind", [kind for kind in CLONE_FLAGS if kind != "time"])
def test_each_namespace_is_a_new_one(kind: str, off: tuple[str, ...]) -> None:
    def inside() -> None:
        ours = namespace_id("self", kind)
        theirs = child_says(CLONE_FLAGS[kind], lambda: namespace_id("self", kind), off=off)
        assert theirs != ours
        assert namespace_id("self", kind) == ours

    run_isolated(inside)


@both_clones
def test_child_goes_on_running_python(off: tuple[str, ...]) -> None:
    """Imports, exceptions, collection of garbage, subprocesses: all of the interpreter works in the copy."""

    def script() -> list[Any]:
        import gc
        import subprocess
        import xml.dom.minidom as late

        gc.collect()
        try:
            os.stat("/nonexistent")
        except FileNotFoundError as exc:
            number = exc.errno
        text = subprocess.run(["/bin/echo", "hi"], capture_output=True, text=True, check=True).stdout
        return [late.parseString("<a/>").documentElement.tagName, number, text]

    def inside() -> None:
        assert child_says(0, script, off=off) == ["a", errno.ENOENT, "hi\n"]

    run_isolated(inside)


@both_clones
def test_two_hundred_children_leave_nothing(off: tuple[str, ...]) -> None:
    def inside() -> None:
        before = os.listdir("/proc/self/fd")
        for number in range(200):
            assert child_says(c.CLONE_NEWPID, lambda number=number: number, off=off) == number
        assert os.listdir("/proc/self/fd") == before

    run_isolated(inside)


def test_pidfd_is_the_childs() -> None:
    def inside() -> None:
        read_end, write_end = os.pipe()
        pid, pidfd = clone(0)
        if pid == 0:
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(7)
        assert f"Pid:\t{pid}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        os.close(write_end)
        assert wait_pidfd(pidfd).code == 7

    run_isolated(inside)


def test_starts_inside_a_cgroup() -> None:
    if not CGROUP2:
        pytest.skip("no cgroup v2 tree")
    name = f"sampan-test-clone-{os.getpid()}"
    os.mkdir(f"{CGROUP2}/{name}")
    try:

        def inside() -> str:
            fd = os.open(f"{CGROUP2}/{name}", os.O_PATH | os.O_DIRECTORY)
            said: str = child_says(0, lambda: Path("/proc/self/cgroup").read_text(), cgroup_fd=fd)
            with pytest.raises(OSError, match="clone3") as caught:
                child_says(0, lambda: 0, cgroup_fd=fd, off=("clone3",))
            assert caught.value.errno == errno.ENOSYS
            return said

        assert f"0::/{name}\n" in run_isolated(inside)
    finally:
        os.rmdir(f"{CGROUP2}/{name}")


def test_a_wrong_flag_is_an_error_in_the_parent_only() -> None:
    def inside() -> None:
        with pytest.raises(OSError, match="clone3: Invalid argument"):
            clone(c.CLONE_THREAD)

    run_isolated(inside)


def test_handlers_are_reset_on_demand() -> None:
    def inside() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: None)

        def caught() -> str:
            return read_status()["SigCgt"]

        mask = 1 << signal.SIGUSR1 - 1
        assert int(child_says(0, caught), 16) & mask
        assert not int(child_says(c.CLONE_CLEAR_SIGHAND, caught), 16) & mask
        with pytest.raises(OSError, match="clone3"):
            child_says(c.CLONE_CLEAR_SIGHAND, caught, off=("clone3",))

    run_isolated(inside)


def test_time_namespace_at_once() -> None:
    def inside() -> None:
        ours = namespace_id("self", "time")
        assert child_says(c.CLONE_NEWTIME, lambda: namespace_id("self", "time")) != ours
        with pytest.raises(OSError, match="clone3") as caught:
            child_says(c.CLONE_NEWTIME, lambda: 0, off=("clone3",))
        assert caught.value.errno == errno.ENOSYS

    run_isolated(inside)


def test_time_namespace_with_offsets() -> None:
    def inside() -> None:
        outside = open_namespace("self", "time")
        unshare(c.CLONE_NEWTIME)
        write_time_offsets([("monotonic", 86400, 0), ("boottime", 7 * 86400, 500)])
        now = time.monotonic()
        assert 86400 <= child_says(0, time.monotonic) - now < 86500
        setns(outside, c.CLONE_NEWTIME)
        assert child_says(0, time.monotonic) - now < 100
        with pytest.raises(OSError, match="'monotonic -99999999999 0"):
            unshare(c.CLONE_NEWTIME)
            write_time_offsets([("monotonic", -99999999999, 0)])

    run_isolated(inside)


def test_joins_by_namespace_and_by_pidfd() -> None:
    def inside() -> None:
        read_end, write_end = os.pipe()
        pid, pidfd = clone(c.CLONE_NEWUTS | c.CLONE_NEWNET)
        if pid == 0:
            set_hostname("of-the-child")
            os.write(write_end, b"x")
            os.close(write_end)
            signal.pause()
        os.read(read_end, 1)
        fd = open_namespace(pid, "uts")
        assert namespace_kind(fd) == "uts"
        setns(fd, c.CLONE_NEWUTS)
        assert os.uname().nodename == "of-the-child"
        setns(pidfd, c.CLONE_NEWNET)
        assert namespace_id("self", "net") == namespace_id(pid, "net")
        with pytest.raises(OSError, match="setns: Invalid argument"):
            setns(fd, c.CLONE_NEWNET)
        os.kill(pid, 9)
        assert wait_pidfd(pidfd).signal == 9

    run_isolated(inside)


def test_kind_of_something_else() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Inappropriate ioctl"):
            namespace_kind(fd)
    finally:
        os.close(fd)


def test_names_of_the_host() -> None:
    def inside() -> list[str]:
        set_hostname("a-name")
        set_domainname("a.domain")
        with pytest.raises(OSError, match="sethostname: Invalid argument: '" + "x" * 65):
            set_hostname("x" * 65)
        return [os.uname().nodename, Path("/proc/sys/kernel/domainname").read_text().strip()]

    before = os.uname().nodename
    assert run_isolated(inside, namespaces=c.CLONE_NEWUTS) == ["a-name", "a.domain"]
    assert os.uname().nodename == before


def waiting_child(flags: int) -> tuple[int, int, int]:
    """Return pid, pidfd and a descriptor whose closing lets the child end."""
    read_end, write_end = os.pipe()
    pid, pidfd = clone(flags)
    if pid == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    os.close(read_end)
    return pid, pidfd, write_end


def test_id_maps() -> None:
    def inside() -> None:
        pid, pidfd, end = waiting_child(c.CLONE_NEWUSER)
        write_id_maps(pid, [(0, 100000, 1000), (1000, 0, 1)], [(0, 200000, 65536)], deny_setgroups=True)
        assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "100000", "1000", "1000", "0", "1"]
        assert Path(f"/proc/{pid}/gid_map").read_text().split() == ["0", "200000", "65536"]
        assert Path(f"/proc/{pid}/setgroups").read_text() == "deny\n"
        with pytest.raises(PermissionError, match="write '0 1 1"):
            write_id_maps(pid, [(0, 1, 1)], [(0, 1, 1)])
        os.close(end)
        wait_pidfd(pidfd)

    run_isolated(inside)


def test_a_map_may_be_left_out() -> None:
    def inside() -> None:
        pid, pidfd, end = waiting_child(c.CLONE_NEWUSER)
        write_id_maps(pid, [(0, 0, 1)], [])
        assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "0", "1"]
        assert Path(f"/proc/{pid}/gid_map").read_text() == ""
        os.close(end)
        wait_pidfd(pidfd)

    run_isolated(inside)


def test_overlapping_id_maps_are_shown() -> None:
    def inside() -> None:
        pid, pidfd, end = waiting_child(c.CLONE_NEWUSER)
        with pytest.raises(OSError, match="write '0 100000 10") as caught:
            write_id_maps(pid, [(0, 1, 1)], [(0, 100000, 10), (5, 200000, 10)])
        assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, f"/proc/{pid}/gid_map")
        os.close(end)
        wait_pidfd(pidfd)

    run_isolated(inside)


def test_pidfd_open_has_no_fallback() -> None:
    with switched_off("pidfd_open"), pytest.raises(OSError, match="pidfd_open") as caught:
        pidfd_open(os.getpid())
    assert caught.value.errno == errno.ENOSYS
