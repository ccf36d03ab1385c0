"""Cgroups are made, entered, frozen, killed and removed, on the trees that this machine has."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.kernel.cgroup_bench import (
    end,
    exit_code,
    fork_sleeper,
    parent_path,
    private_cgroup,
    process_inside,
    remove_parent,
)
from tests.kernel.harness import fork, run_isolated, wait_until

from sampan.errors import Conflict, Unsupported
from sampan.kernel import constants as c
from sampan.kernel.cgroups import Hierarchy, detect, open_manager, place, reopen_manager
from sampan.kernel.mounts import mount

if TYPE_CHECKING:
    from sampan.kernel.cgroups import CgroupManager


@pytest.fixture
def hierarchy() -> Hierarchy:
    found = detect()
    assert found.kind != "none"
    return found


@pytest.fixture
def cgroup(hierarchy: Hierarchy) -> Iterator[CgroupManager]:
    with private_cgroup(hierarchy) as manager:
        yield manager
        manager.close()


def cgroups_of(pid: int) -> dict[str, str]:
    """Return /proc/<pid>/cgroup, keyed by the controllers; "" for v2."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}


def test_create_makes_a_directory_in_every_tree(hierarchy: Hierarchy, cgroup: CgroupManager) -> None:
    paths = cgroup.paths()
    trees = {",".join(tree.controllers) for tree in hierarchy.v1} | ({""} if hierarchy.v2 else set())
    assert set(paths) == trees
    for path in paths.values():
        assert Path(path).is_dir()
        assert path.endswith(f"{parent_path()}/c")


def test_create_twice_is_fine(cgroup: CgroupManager) -> None:
    cgroup.create()
    assert cgroup.pids() == []


def test_cpuset_of_a_parent_made_here_goes_on_by_itself(hierarchy: Hierarchy, cgroup: CgroupManager) -> None:
    path = cgroup.paths().get("cpuset")
    if path is None:
        pytest.skip("needs a v1 tree of cpuset")
    parent = Path(path).parent
    assert (parent / "cgroup.clone_children").read_text() == "1\n"
    (parent / "made").mkdir()
    try:
        for file in ("cpuset.cpus", "cpuset.mems"):
            assert (parent / "made" / file).read_text() == (parent / file).read_text() != "\n"
    finally:
        (parent / "made").rmdir()


def test_cgroup_in_use_is_not_taken_over(hierarchy: Hierarchy, cgroup: CgroupManager) -> None:
    with process_inside(cgroup, signal.pause) as pid:
        for path in (f"{parent_path()}/c", parent_path()):
            with pytest.raises(
                Conflict, match=rf"cgroup .*{path} is in use by other processes, such as {pid}"
            ):
                open_manager(hierarchy, path).create()
        assert cgroup.pids() == [pid]
    cgroup.freeze()
    with pytest.raises(Conflict, match="is frozen"):
        open_manager(hierarchy, f"{parent_path()}/c").create()
    cgroup.thaw()


def test_failed_create_leaves_what_others_made(hierarchy: Hierarchy) -> None:
    """Two containers begin below one new parent; the one that fails leaves the other's cgroup alone."""
    if hierarchy.v2 is None:
        pytest.skip("needs a v2 tree, where the number of cgroups can be limited")
    with private_cgroup(hierarchy, "shared/one") as one:
        root = Path(f"{hierarchy.v2.mount_point}{parent_path()}/shared")
        place.Place(hierarchy.v2, f"{parent_path()[1:]}/shared").withdraw()
        assert Path(root, "one").is_dir()
        one.close()


def test_delete_twice_is_fine(hierarchy: Hierarchy) -> None:
    manager = open_manager(hierarchy, f"{parent_path()}/gone")
    manager.create()
    manager.delete()
    manager.delete()
    remove_parent(hierarchy)
    assert not any(Path(path).exists() for path in manager.paths().values())
    assert manager.pids() == []


def test_child_enters_every_tree(hierarchy: Hierarchy, cgroup: CgroupManager) -> None:
    with process_inside(cgroup, signal.pause) as pid:
        want = f"{parent_path()}/c"

        def is_inside() -> bool:
            seen = cgroups_of(pid)
            return all(seen[",".join(tree.controllers)] == want for tree in hierarchy.v1)

        wait_until(is_inside, "the child is in every v1 tree")
        if hierarchy.v2 is not None:
            assert cgroups_of(pid)[""] == want
        assert cgroup.pids() == [pid]


def test_attach_moves_a_process_in_from_outside(cgroup: CgroupManager) -> None:
    pid = fork_sleeper()
    try:
        cgroup.attach(pid)
        assert cgroup.pids() == [pid]
        assert all(path.endswith(f"{parent_path()}/c") for path in cgroups_of(pid).values())
    finally:
        end(pid)


def test_attach_of_nobody_fails(cgroup: CgroupManager) -> None:
    pid = fork_sleeper()
    end(pid)
    with pytest.raises(ProcessLookupError):
        cgroup.attach(pid)


def test_reopened_manager_sees_the_processes(hierarchy: Hierarchy, cgroup: CgroupManager) -> None:
    again = reopen_manager(hierarchy, cgroup.paths())
    with process_inside(cgroup, signal.pause) as pid:
        wait_until(lambda: again.pids() == [pid], "the process shows")
    again.close()


def test_relative_path_lies_beside_or_below_our_own(hierarchy: Hierarchy) -> None:
    manager = open_manager(hierarchy, "sampan-test-relative")
    manager.create()
    try:
        for tree in hierarchy.v1:
            own = f"/{tree.own}" if tree.own else ""
            path = manager.paths()[",".join(tree.controllers)]
            assert path == f"{tree.mount_point}{own}/sampan-test-relative"
    finally:
        manager.delete()


def test_kill_ends_a_whole_family(cgroup: CgroupManager) -> None:
    def have_children() -> None:
        for _ in range(10):
            if fork() == 0:
                break
        signal.pause()

    with process_inside(cgroup, have_children) as pid:
        wait_until(lambda: len(cgroup.pids()) == 11, "11 processes inside")
        cgroup.kill()
        assert cgroup.pids() == []
        assert exit_code(pid) == -signal.SIGKILL


def test_kill_wins_against_a_fork_bomb(cgroup: CgroupManager) -> None:
    def bomb() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            try:
                if fork() and len(os.listdir("/proc/self/fd")) == 0:
                    return
            except OSError:
                continue

    with process_inside(cgroup, lambda: (limit_processes(), bomb())) as pid:
        wait_until(lambda: len(cgroup.pids()) > 20, "the bomb goes off")
        cgroup.kill()
        assert cgroup.pids() == []
        assert exit_code(pid) == -signal.SIGKILL


def limit_processes() -> None:
    """Keep a fork bomb from hurting the machine's other users: at most 60 processes in the test's session."""
    import resource

    os.setresuid(54321, 54321, 54321)
    resource.setrlimit(resource.RLIMIT_NPROC, (60, 60))


def test_kill_reaches_cgroups_below(hierarchy: Hierarchy, cgroup: CgroupManager) -> None:
    below = open_manager(hierarchy, f"{parent_path()}/c/inner/most")
    below.create()
    with process_inside(below, signal.pause) as pid:
        wait_until(lambda: below.pids() == [pid], "the process is inside")
        assert cgroup.pids(recursive=False) == []
        assert cgroup.pids() == [pid]
        cgroup.kill()
        assert exit_code(pid) == -signal.SIGKILL
    below.close()


def test_kill_of_nothing_is_fine(hierarchy: Hierarchy) -> None:
    open_manager(hierarchy, f"{parent_path()}/never").kill()


def test_freeze_stops_and_thaw_lets_go_on(cgroup: CgroupManager) -> None:
    read_end, write_end = os.pipe()

    def count() -> None:
        while True:
            os.write(write_end, b".")

    os.set_blocking(read_end, False)
    with process_inside(cgroup, count):
        os.close(write_end)
        wait_until(lambda: _drain(read_end) > 0, "the counter runs")
        assert not cgroup.frozen()
        cgroup.freeze()
        assert cgroup.frozen()
        _drain(read_end)
        assert _drain(read_end) == 0
        cgroup.freeze()  # once more changes nothing
        assert cgroup.frozen()
        cgroup.thaw()
        assert not cgroup.frozen()
        wait_until(lambda: _drain(read_end) > 0, "the counter goes on")
    os.close(read_end)


def _drain(fd: int) -> int:
    total = 0
    try:
        while part := os.read(fd, 65536):
            total += len(part)
            if total > 10_000_000:
                break
    except BlockingIOError:
        pass
    return total


def test_a_cgroup_that_is_gone_is_no_missing_controller(cgroup: CgroupManager) -> None:
    cgroup.delete()
    for change in (cgroup.freeze, cgroup.thaw):
        with pytest.raises(FileNotFoundError):
            change()


def test_frozen_processes_can_be_killed(cgroup: CgroupManager) -> None:
    with process_inside(cgroup, signal.pause) as pid:
        wait_until(lambda: cgroup.pids() == [pid], "the process is inside")
        cgroup.freeze()
        cgroup.kill()
        assert exit_code(pid) == -signal.SIGKILL


def test_delete_refuses_while_processes_are_inside(
    hierarchy: Hierarchy, cgroup: CgroupManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "REMOVE_TIMEOUT_S", 0.05)
    with process_inside(cgroup, signal.pause) as pid:
        wait_until(lambda: cgroup.pids() == [pid], "the process is inside")
        with pytest.raises(OSError, match="busy") as caught:
            cgroup.delete()
        assert caught.value.errno == errno.EBUSY
        assert cgroup.pids() == [pid]


def test_delete_removes_what_was_made_below(hierarchy: Hierarchy) -> None:
    manager = open_manager(hierarchy, f"{parent_path()}/deep")
    manager.create()
    try:
        for path in manager.paths().values():
            folder = path
            for level in range(60):
                folder = f"{folder}/{level}"
                os.mkdir(folder)
                os.mkdir(f"{folder}/side")
        manager.delete()
        assert not any(Path(path).exists() for path in manager.paths().values())
    finally:
        manager.delete()
        remove_parent(hierarchy)


def test_failed_create_leaves_nothing(hierarchy: Hierarchy) -> None:
    """The last tree refuses children; those made in the others before it must be gone again."""
    if hierarchy.v2 is None:
        pytest.skip("needs a v2 tree, where the number of cgroups can be limited")
    with private_cgroup(hierarchy, "full") as parent:
        Path(parent.paths()[""], "cgroup.max.descendants").write_text("1")
        manager = open_manager(hierarchy, f"{parent_path()}/full/a/b")
        with pytest.raises(OSError, match="full/a/b"):
            manager.create()
        manager.close()
        parent.close()
        for path in parent.paths().values():
            assert not Path(path, "a").exists()


def test_nothing_is_made_below_a_foreign_mount(hierarchy: Hierarchy) -> None:
    """A file system mounted over a cgroup must not receive what is meant for the kernel."""
    with private_cgroup(hierarchy, "covered") as manager:
        covered = next(iter(manager.paths().values()))
        below = open_manager(hierarchy, f"{parent_path()}/covered/x")

        def try_it() -> str:
            mount("tmpfs", covered, "tmpfs")
            try:
                below.create()
            except OSError as exc:
                return errno.errorcode[exc.errno or 0]
            return "made"

        assert run_isolated(try_it) == "EXDEV"
        manager.close()


def test_a_tree_hidden_since_it_was_detected_is_refused(hierarchy: Hierarchy) -> None:
    def try_it() -> list[str]:
        mount("tmpfs", (hierarchy.v1 or (hierarchy.v2,))[0].mount_point, "tmpfs")  # type: ignore[union-attr]  # one of them is there
        try:
            open_manager(hierarchy, f"{parent_path()}/x").create()
        except OSError as exc:
            return [errno.errorcode[exc.errno or 0], detect().kind]
        return ["made"]

    error, kind = run_isolated(try_it)
    assert error == "ESTALE"
    assert kind == ("none" if hierarchy.kind == "v2" else hierarchy.kind)


def test_processes_of_other_pid_namespaces_are_no_targets(
    hierarchy: Hierarchy, cgroup: CgroupManager
) -> None:
    """From inside a pid namespace strangers show as 0; signalling 0 would hit the caller's own group."""
    with process_inside(cgroup, signal.pause) as pid:
        wait_until(lambda: cgroup.pids() == [pid], "the process is inside")
        paths = cgroup.paths()

        def look() -> list[int]:
            return reopen_manager(hierarchy, paths).pids()

        assert run_isolated(look, namespaces=c.CLONE_NEWPID | c.CLONE_NEWNS) == []


@pytest.mark.v2
def test_v2_parent_with_processes_hands_no_controllers_on(hierarchy: Hierarchy) -> None:
    from sampan.spec.runtime import LinuxResources, Pids

    if hierarchy.kind != "v2":
        pytest.skip("needs a v2 tree with all controllers")
    with private_cgroup(hierarchy, "busy") as parent:
        with process_inside(parent, signal.pause):
            manager = open_manager(hierarchy, f"{parent_path()}/busy/child")
            manager.create()
            with pytest.raises(
                Conflict, match=r"controller pids cannot be used .*busy has processes of its own"
            ):
                manager.apply(LinuxResources(pids=Pids(limit=5)))
            manager.apply(LinuxResources())
            manager.delete()
        parent.close()


@pytest.mark.v2
def test_v2_threaded_parent_is_refused(hierarchy: Hierarchy) -> None:
    if hierarchy.v2 is None:
        pytest.skip("needs a v2 tree")
    # Its own parent is new, and so without controllers or processes, which would forbid threaded children.
    parent = Path(f"{hierarchy.v2.mount_point}{parent_path()}/threaded")
    parent.mkdir(parents=True)
    try:
        Path(parent, "cgroup.type").write_text("threaded")
        manager = open_manager(hierarchy, f"{parent_path()}/threaded/child")
        with pytest.raises(Unsupported, match="its parent is a threaded cgroup"):
            manager.create()
        manager.close()
        assert not Path(parent, "child").exists()
    finally:
        remove_parent(hierarchy)
