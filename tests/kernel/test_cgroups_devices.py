"""Device rules in force: what a process in the cgroup may open and make, on v1 and v2 alike."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.kernel.cgroup_bench import exit_code, parent_path, private_cgroup, process_inside

from sampan.kernel.cgroups import Hierarchy, detect, open_manager
from sampan.spec.runtime import LinuxDeviceCgroup

if TYPE_CHECKING:
    from sampan.kernel.cgroups import CgroupManager

DENY_ALL = LinuxDeviceCgroup(allow=False)


@pytest.fixture
def hierarchy() -> Hierarchy:
    return detect()


@pytest.fixture
def cgroup(hierarchy: Hierarchy) -> Iterator[CgroupManager]:
    with private_cgroup(hierarchy) as manager:
        yield manager
        manager.close()


def allow(kind: str, major: int, minor: int = -1, access: str = "rwm") -> LinuxDeviceCgroup:
    return LinuxDeviceCgroup(allow=True, type=kind, major=major, minor=minor, access=access)


def deny(kind: str, major: int, minor: int = -1, access: str = "rwm") -> LinuxDeviceCgroup:
    return LinuxDeviceCgroup(allow=False, type=kind, major=major, minor=minor, access=access)


def inside(cgroup: CgroupManager, function: Callable[[], Any]) -> Any:
    """Return function() as run by a process in the cgroup."""
    read_end, write_end = os.pipe()
    try:
        with process_inside(cgroup, lambda: os.write(write_end, json.dumps(function()).encode())) as pid:
            assert exit_code(pid) == 0
            return json.loads(os.read(read_end, 4096))
    finally:
        os.close(read_end)
        os.close(write_end)


def attempt(path: str, flags: int) -> str:
    try:
        os.close(os.open(path, flags))
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return "ok"


def opens(cgroup: CgroupManager, *tries: tuple[str, int]) -> list[str]:
    return list(inside(cgroup, lambda: [attempt(path, flags) for path, flags in tries]))


def test_no_rule_denies_everything(cgroup: CgroupManager) -> None:
    cgroup.apply_devices([])
    assert opens(cgroup, ("/dev/null", os.O_RDONLY), ("/dev/zero", os.O_RDONLY), ("/dev/tty", os.O_RDWR)) == [
        "EPERM",
        "EPERM",
        "EPERM",
    ]


def test_single_devices_and_accesses(cgroup: CgroupManager) -> None:
    cgroup.apply_devices([DENY_ALL, allow("c", 1, 3), allow("c", 1, 5, "r")])
    tries = (
        ("/dev/null", os.O_RDWR),
        ("/dev/zero", os.O_RDONLY),
        ("/dev/zero", os.O_WRONLY),
        ("/dev/zero", os.O_RDWR),
        ("/dev/full", os.O_RDONLY),
    )
    assert opens(cgroup, *tries) == ["ok", "ok", "EPERM", "EPERM", "EPERM"]


def test_accesses_of_several_rules_add_up(cgroup: CgroupManager) -> None:
    cgroup.apply_devices([DENY_ALL, allow("c", 1, 3, "r"), allow("c", 1, 3, "w")])
    assert opens(cgroup, ("/dev/null", os.O_RDWR)) == ["ok"]


def test_a_later_rule_takes_away(cgroup: CgroupManager) -> None:
    cgroup.apply_devices([DENY_ALL, allow("c", 1, 3), allow("c", 1, 5), deny("c", 1)])
    assert opens(cgroup, ("/dev/null", os.O_RDONLY), ("/dev/zero", os.O_RDONLY)) == ["EPERM", "EPERM"]


def test_allow_all_but_one(cgroup: CgroupManager) -> None:
    cgroup.apply_devices([LinuxDeviceCgroup(allow=True), deny("c", 1, 5, "w")])
    tries = (
        ("/dev/zero", os.O_RDONLY),
        ("/dev/zero", os.O_WRONLY),
        ("/dev/zero", os.O_RDWR),
        ("/dev/null", os.O_RDWR),
    )
    assert opens(cgroup, *tries) == ["ok", "EPERM", "EPERM", "ok"]


def test_making_a_node_without_opening_it(cgroup: CgroupManager, tmp_path: Path) -> None:
    cgroup.apply_devices([DENY_ALL, allow("c", -1, -1, "m"), allow("b", -1, -1, "m")])
    node = str(tmp_path / "node")

    def make_and_open() -> list[str]:
        os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        return [attempt(node, os.O_RDONLY)]

    assert inside(cgroup, make_and_open)[0] in ("EPERM", "EACCES")  # EACCES where tmp_path is nodev

    def make() -> str:
        try:
            os.mknod(f"{node}2", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        except PermissionError:
            return "EPERM"
        return "ok"

    cgroup.apply_devices([DENY_ALL])
    assert inside(cgroup, make) == "EPERM"


def test_rules_are_replaced_for_processes_that_run(cgroup: CgroupManager) -> None:
    go_read, go_write = os.pipe()
    answer_read, answer_write = os.pipe()

    def open_each_time() -> None:
        while os.read(go_read, 1):
            os.write(answer_write, attempt("/dev/zero", os.O_RDONLY).ljust(8).encode())

    cgroup.apply_devices([DENY_ALL, allow("c", 1, 5)])
    answers = []
    with process_inside(cgroup, open_each_time):
        for rules in (
            [DENY_ALL],
            [LinuxDeviceCgroup(allow=True)],
            [DENY_ALL, allow("c", 1, 3)],
            [DENY_ALL, allow("c", 1)],
        ):
            cgroup.apply_devices(rules)
            os.write(go_write, b".")
            answers.append(os.read(answer_read, 8).decode().strip())
    assert answers == ["EPERM", "ok", "EPERM", "ok"]
    for fd in (go_read, go_write, answer_read, answer_write):
        os.close(fd)


def test_child_cgroup_cannot_lift_the_rules(hierarchy: Hierarchy, cgroup: CgroupManager) -> None:
    cgroup.apply_devices([DENY_ALL, allow("c", 1, 3)])
    child = open_manager(hierarchy, f"{parent_path()}/c/child")
    child.create()
    try:
        if hierarchy.kind == "v2":
            child.apply_devices([LinuxDeviceCgroup(allow=True)])
        else:
            with pytest.raises(PermissionError):
                child.apply_devices([LinuxDeviceCgroup(allow=True)])
        assert opens(child, ("/dev/null", os.O_RDONLY), ("/dev/zero", os.O_RDONLY)) == ["ok", "EPERM"]
    finally:
        child.delete()
