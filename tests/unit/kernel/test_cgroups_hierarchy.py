"""The cgroup trees of a machine, from the two files of /proc."""

from __future__ import annotations

import os

import pytest

from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel.cgroups import Hierarchy, Tree, open_manager, reopen_manager
from sampan.kernel.cgroups.directory import clean_path
from sampan.kernel.cgroups.hierarchy import classify, parse_trees

V2_ONLY = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
CO_MOUNTED = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs ro,mode=755
33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
34 31 0:30 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory,release_agent=/x
35 31 0:31 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
"""
UNIFIED = "36 31 0:32 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n"


def points(trees: list[Tree]) -> list[tuple[str, tuple[str, ...]]]:
    return [(tree.mount_point, tree.controllers) for tree in trees]


def test_v1_controllers_may_share_a_tree() -> None:
    trees = parse_trees(CO_MOUNTED, "2:cpu,cpuacct:/a\n1:name=systemd:/\n3:memory:/b/c\n")
    assert points(trees) == [
        ("/sys/fs/cgroup/cpu,cpuacct", ("cpu", "cpuacct")),
        ("/sys/fs/cgroup/memory", ("memory",)),
        ("/sys/fs/cgroup/systemd", ("name=systemd",)),
    ]
    assert [tree.own for tree in trees] == ["a", "b/c", ""]
    assert trees[0].device == os.makedev(0, 29)
    assert classify(trees).kind == "v1"


def test_v1_with_a_v2_tree_beside_is_hybrid() -> None:
    hierarchy = classify(parse_trees(CO_MOUNTED + UNIFIED, "0::/x\n"))
    assert hierarchy.kind == "hybrid"
    assert hierarchy.v2 is not None
    assert hierarchy.v2.own == "x"
    assert set(hierarchy.controllers) == {"cpu", "cpuacct", "memory", "name=systemd"}


def test_v2_alone() -> None:
    hierarchy = classify(parse_trees(V2_ONLY, "0::/user.slice/a.scope\n"))
    assert hierarchy.kind == "v2"
    assert hierarchy.v1 == ()
    assert hierarchy.v2 is not None
    assert hierarchy.v2.own == "user.slice/a.scope"


def test_v2_with_only_a_named_v1_tree_is_v2() -> None:
    named = "35 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    assert classify(parse_trees(named + UNIFIED, "")).kind == "v2"


def test_nothing_mounted() -> None:
    hierarchy = classify(parse_trees("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "0::/\n"))
    assert hierarchy.kind == "none"
    with pytest.raises(Unsupported, match="no cgroup file system is mounted"):
        open_manager(hierarchy, "/a")


def test_a_tree_mounted_twice_is_used_once() -> None:
    again = "40 1 0:30 / /mnt/memory rw - cgroup cgroup rw,memory\n"
    hierarchy = classify(parse_trees(CO_MOUNTED + again, ""))
    assert hierarchy.controllers["memory"] == "/sys/fs/cgroup/memory"
    assert len(hierarchy.v1) == 3


@pytest.mark.parametrize(
    ("root", "path", "own"),
    [
        pytest.param("/docker/x", "/docker/x", "", id="a container sees its own part"),
        pytest.param("/docker/x", "/docker/x/sub", "sub", id="below its part"),
        pytest.param("/docker/x", "/docker/xy", "", id="a neighbour with a longer name"),
        pytest.param("/docker/x", "/other", "", id="outside of its part"),
        pytest.param("/", "/../..", "", id="outside of the cgroup namespace"),
        pytest.param("/", "/a/b", "a/b", id="the whole tree"),
    ],
)
def test_own_place_below_the_mount(root: str, path: str, own: str) -> None:
    line = f"30 23 0:26 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    assert [tree.own for tree in parse_trees(line, f"0::{path}\n")] == [own]


def test_escaped_mount_point() -> None:
    line = r"30 23 0:26 / /mnt/a\040b\134c rw - cgroup2 cgroup2 rw" + "\n"
    assert [tree.mount_point for tree in parse_trees(line, "")] == ["/mnt/a b\\c"]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [("/a//b/", "/a/b"), ("a/./b", "a/b"), ("/sampan/ab", "/sampan/ab"), ("x", "x")],
)
def test_clean_path(raw: str, clean: str) -> None:
    assert clean_path(raw) == clean


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param("", "names no cgroup below the root", id="empty"),
        pytest.param("/", "names no cgroup below the root", id="root"),
        pytest.param("/./", "names no cgroup below the root", id="root, disguised"),
        pytest.param("/a/../../b", "must not contain", id="upwards"),
        pytest.param("..", "must not contain", id="parent"),
        pytest.param("/a\nb", "newline", id="newline"),
        pytest.param("/a\0b", "NUL", id="nul"),
        pytest.param("/" + "a" * 256, "too long", id="long name"),
        pytest.param("/a" * 65, "too long", id="deep"),
    ],
)
def test_wrong_path_is_refused(raw: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        clean_path(raw)


def hierarchy_v2(own: str) -> Hierarchy:
    return classify(parse_trees(V2_ONLY, f"0::{own}\n"))


@pytest.mark.parametrize(
    ("own", "path", "want"),
    [
        pytest.param("/user.slice/a.scope", "/sampan/x", "/sys/fs/cgroup/sampan/x", id="absolute"),
        pytest.param("/user.slice/a.scope", "x", "/sys/fs/cgroup/user.slice/x", id="relative: beside ours"),
        pytest.param("/", "x", "/sys/fs/cgroup/x", id="relative, from the root"),
    ],
)
def test_v2_place(own: str, path: str, want: str) -> None:
    assert open_manager(hierarchy_v2(own), path).paths() == {"": want}


def test_v1_place_is_below_the_own_cgroup_of_each_tree() -> None:
    hierarchy = classify(parse_trees(CO_MOUNTED, "2:cpu,cpuacct:/a\n1:name=systemd:/\n3:memory:/b/c\n"))
    assert open_manager(hierarchy, "x").paths() == {
        "cpu,cpuacct": "/sys/fs/cgroup/cpu,cpuacct/a/x",
        "memory": "/sys/fs/cgroup/memory/b/c/x",
        "name=systemd": "/sys/fs/cgroup/systemd/x",
    }


def test_reopened_manager_has_the_same_paths() -> None:
    made = open_manager(hierarchy_v2("/a/b"), "x").paths()
    assert reopen_manager(hierarchy_v2("/elsewhere"), made).paths() == made


@pytest.mark.parametrize("path", ["/etc/x", "/sys/fs/cgroup", "/sys/fs/cgroup/../../etc"])
def test_reopening_outside_of_the_tree_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match="cgroup path"):
        reopen_manager(hierarchy_v2("/"), {"": path})


def test_unknown_driver() -> None:
    with pytest.raises(InvalidArgument, match="'upstart' is not known"):
        open_manager(hierarchy_v2("/"), "/x", "upstart")
