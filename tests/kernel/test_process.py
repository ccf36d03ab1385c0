from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path

import pytest
from tests.kernel.harness import run_isolated, wait_until

from sampan.kernel import constants as c
from sampan.kernel import process
from sampan.kernel.cgroups import detect
from sampan.kernel.namespaces import clone, setns
from sampan.kernel.process import ExitStatus, close_range, list_fds, prlimit, read_status, wait_pidfd
from sampan.kernel.syscall import MACHINE, switched_off, syscall


def test_exit_code_and_signal_are_told_apart() -> None:
    def inside() -> None:
        pid, pidfd = clone(0)
        if pid == 0:
            os._exit(137)
        assert wait_pidfd(pidfd) == ExitStatus(code=137)
        pid, pidfd = clone(0)
        if pid == 0:
            while True:
                signal.pause()
        process.pidfd_send_signal(pidfd, signal.SIGKILL)
        status = wait_pidfd(pidfd)
        assert (status.code, status.signal, status.shell_code) == (0, 9, 137)
        with pytest.raises(ChildProcessError):
            wait_pidfd(pidfd)

    run_isolated(inside)


def test_start_ticks_tell_a_process_from_another_with_its_pid() -> None:
    def inside() -> None:
        pid, pidfd = clone(0)
        if pid == 0:
            process.set_name(") 1 2 (x")  # a name made to mislead readers of stat
            while True:
                signal.pause()
        wait_until(lambda: read_status(pid)["Name"] == ") 1 2 (x", "the name")
        ticks = process.start_ticks(pid)
        assert 0 < ticks <= process.start_ticks("self") + 6000
        os.close(process.open_same_process(pid, ticks))
        before = list_fds()
        with pytest.raises(ProcessLookupError, match=f"process {pid} started at tick {ticks - 1}"):
            process.open_same_process(pid, ticks - 1)
        os.kill(pid, 9)
        wait_pidfd(pidfd)
        with pytest.raises(ProcessLookupError):
            process.open_same_process(pid, ticks)
        assert list_fds() == before

    run_isolated(inside)


def test_attributes_a_process_sets_on_itself() -> None:
    def inside() -> None:
        process.set_dumpable(False)
        assert not process.is_dumpable()
        process.set_dumpable(True)
        assert process.is_dumpable()
        assert not process.no_new_privs()
        process.set_no_new_privs()
        assert read_status()["NoNewPrivs"] == "1"
        process.set_name("sixteen-bytes-and-more")
        assert read_status()["Name"] == "sixteen-bytes-a"
        process.keep_caps(True)
        assert process.prctl(c.PR_GET_KEEPCAPS) == 1
        assert process.personality(c.ADDR_NO_RANDOMIZE) == c.PER_LINUX
        assert process.personality(0xFFFFFFFF) == c.ADDR_NO_RANDOMIZE

    run_isolated(inside)


def test_parent_death_signal_and_subreaper() -> None:
    def inside() -> None:
        process.set_child_subreaper(True)
        read_end, write_end = os.pipe()
        middle, middle_fd = clone(0)
        if middle == 0:
            pid, _ = clone(0)
            if pid == 0:
                process.set_pdeathsig(signal.SIGUSR1)
                os.write(write_end, b"%d" % os.getpid())
                while True:
                    signal.pause()
            signal.pause()
        pid = int(os.read(read_end, 16))
        os.kill(middle, 9)
        wait_pidfd(middle_fd)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGUSR1  # it became ours

    run_isolated(inside)


def test_identity_of_the_calling_thread() -> None:
    def inside() -> None:
        process.setgroups([4, 70000])
        process.setresgid(1001, 1001, 1001)
        process.setresuid(1000, 1000, 1000)
        assert os.getresuid() == (1000, 1000, 1000)
        assert os.getresgid() == (1001, 1001, 1001)
        assert sorted(os.getgroups()) == [4, 70000]
        with pytest.raises(PermissionError, match="setresuid"):
            process.setresuid(0, 0, 0)
        with pytest.raises(PermissionError, match="setgroups"):
            process.setgroups([])

    run_isolated(inside)


def test_minus_one_leaves_an_id_as_it_is() -> None:
    def inside() -> None:
        process.setresuid(-1, 5, -1)
        assert os.getresuid() == (0, 5, 0)

    run_isolated(inside)


@pytest.mark.parametrize("off", [(), ("close_range",)], ids=["call", "fallback"])
def test_close_range(off: tuple[str, ...]) -> None:
    def inside() -> None:
        close_range(61)  # whatever we were started with
        ours = list_fds()
        for fd in (100, 101, 200, 300):
            os.dup2(0, fd, inheritable=True)
        with switched_off(*off):
            close_range(101, 250)
            assert list_fds() == [*ours, 100, 300]
            close_range(200, flags=c.CLOSE_RANGE_CLOEXEC)
            assert os.get_inheritable(100)
            assert not os.get_inheritable(300)
            close_range(100)
            assert list_fds() == ours

    run_isolated(inside)


@pytest.mark.parametrize("off", [(), ("close_range",)], ids=["call", "fallback"])
def test_close_range_unshared_leaves_the_others_table(off: tuple[str, ...]) -> None:
    def inside() -> None:
        os.dup2(0, 100)
        pid, pidfd = clone(c.CLONE_FILES)
        if pid == 0:
            with switched_off(*off):
                close_range(100, 100, c.CLOSE_RANGE_UNSHARE)
            os._exit(100 in list_fds())
        assert wait_pidfd(pidfd).code == 0
        assert 100 in list_fds()

    run_isolated(inside)


def test_a_wrong_range_is_an_error() -> None:
    with pytest.raises(OSError, match="close_range: Invalid argument"):
        close_range(900, 800)


@pytest.mark.parametrize(("userns", "right"), [(False, 0x80000), (True, 0x8)])
def test_session_keyring_is_new_named_and_searchable(userns: bool, right: int) -> None:
    def inside() -> None:
        before = process._keyctl(0, -3, 0, 0, 0)  # KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING
        ring = process.join_session_keyring("_ses.test", user_namespace=userns)
        assert ring > 0
        assert ring != before
        assert process._keyctl(0, -3, 0, 0, 0) == ring
        assert process._keyring_permission(ring) & right
        assert f"{ring:08x}" in Path("/proc/keys").read_text()

    run_isolated(inside)


def test_key_quota_is_named() -> None:
    """A user with no keys left: made by using up the quota of an id nobody has."""

    def inside() -> str:
        process.setresgid(54321, 54321, 54321)
        process.setresuid(54321, 54321, 54321)
        fill_key_quota()
        with pytest.raises(OSError, match="key quota is used up") as caught:
            process.join_session_keyring("_ses.full" + "n" * 500)
        assert caught.value.errno == errno.EDQUOT
        return str(caught.value)

    text = run_isolated(inside)
    assert "kernel.keys.maxkeys" in text
    assert "_ses.full" in text


def fill_key_quota() -> None:
    """Put keys in the user keyring until the quota ends, in large steps and then in small ones."""
    number = 248 if MACHINE == "x86_64" else 217  # add_key(2)
    for size in (4000, 100):
        for count in range(1000):
            try:
                syscall(
                    number, b"user", f"{size}-{count}".encode(), bytes(size), size, -4
                )  # the user keyring
            except OSError as exc:
                if exc.errno != errno.EDQUOT:
                    raise
                break


def test_limits_are_read_and_set() -> None:
    def inside() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert prlimit(0, "RLIMIT_NOFILE") == (soft, hard)
        assert prlimit(0, "RLIMIT_NOFILE", (64, 128)) == (soft, hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (64, 128)
        prlimit(0, resource.RLIMIT_CORE, (0, 0))
        assert prlimit(0, 4) == (0, 0)
        assert prlimit(0, "RLIMIT_CPU")[0] == c.RLIM_INFINITY
        with pytest.raises(OSError, match="prlimit64: Invalid argument: 'RLIMIT_NOFILE'"):
            prlimit(0, "RLIMIT_NOFILE", (2, 1))

    run_isolated(inside)


def test_limits_of_another_process() -> None:
    def inside() -> None:
        pid, pidfd = clone(0)
        if pid == 0:
            while True:
                signal.pause()
        prlimit(pid, "RLIMIT_NOFILE", (77, 88))
        assert "77                   88" in Path(f"/proc/{pid}/limits").read_text()
        os.kill(pid, 9)
        wait_pidfd(pidfd)

    run_isolated(inside)


def test_oom_score_is_clamped_and_told() -> None:
    def inside() -> None:
        assert process.set_oom_score_adj("self", 300) == 300
        assert process.set_oom_score_adj(os.getpid(), 5000) == 1000
        os.setresuid(1000, 1000, 1000)  # without CAP_SYS_RESOURCE it does not go below the floor
        process.set_dumpable(True)
        stuck = process.set_oom_score_adj("self", -1000)
        assert stuck == int(Path("/proc/self/oom_score_adj").read_text())
        assert stuck > -1000

    run_isolated(inside)


def test_scheduling() -> None:
    def inside() -> None:
        process.sched_setattr(0, policy=c.SCHED_BATCH, nice=7)
        assert os.sched_getscheduler(0) == os.SCHED_BATCH
        assert os.getpriority(os.PRIO_PROCESS, 0) == 7
        with pytest.raises(OSError, match="sched_setattr: Invalid argument"):
            process.sched_setattr(0, policy=c.SCHED_FIFO, priority=1000)
        process.ioprio_set(c.IOPRIO_CLASS_IDLE, 0)
        with pytest.raises(OSError, match="ioprio_set: Invalid argument"):
            process.ioprio_set(7, 0)

    run_isolated(inside)


def test_real_time_scheduling() -> None:
    def inside() -> None:
        try:
            process.sched_setattr(0, policy=c.SCHED_FIFO, priority=3, flags=c.SCHED_FLAG_RESET_ON_FORK)
        except PermissionError:
            for tree in detect().v1:
                runtime = Path(tree.mount_point, tree.own.lstrip("/"), "cpu.rt_runtime_us")
                if "cpu" in tree.controllers and runtime.exists() and runtime.read_text() == "0\n":
                    pytest.skip("needs a cgroup with real time: our cpu.rt_runtime_us is 0")
            raise
        assert os.sched_getparam(0).sched_priority == 3

    run_isolated(inside)


def test_descriptor_of_another_process() -> None:
    def inside() -> None:
        read_end, write_end = os.pipe()
        go_read, go_write = os.pipe()
        pid, pidfd = clone(0)
        if pid == 0:
            fd = os.memfd_create("theirs")
            os.write(fd, b"content")
            os.write(write_end, b"%d" % fd)
            os.read(go_read, 1)
            os._exit(0)
        fd = process.pidfd_getfd(pidfd, int(os.read(read_end, 9)))
        assert os.pread(fd, 99, 0) == b"content"
        os.write(go_write, b"x")
        wait_pidfd(pidfd)

    run_isolated(inside)


def test_joining_needs_the_right_to() -> None:
    def inside() -> None:
        fd = os.open("/proc/self/ns/net", os.O_RDONLY)
        process.setresuid(1000, 1000, 1000)
        with pytest.raises(PermissionError, match="setns"):
            setns(fd, c.CLONE_NEWNET)

    run_isolated(inside)
