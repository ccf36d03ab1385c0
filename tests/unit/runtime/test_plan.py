"""The child's steps, from the configuration alone: no privileges, nothing done."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel import constants as k
from sampan.kernel.cgroups import Hierarchy, Tree
from sampan.runtime.devices import DENY_ALL, plan_nodes, plan_rules
from sampan.runtime.mount_plan import plan_mounts
from sampan.runtime.plan import Prepared, Wishes, check_config, plan_init
from sampan.runtime.program import plan_program
from sampan.spec.config import parse_config
from sampan.spec.runtime import Device, LinuxDeviceCgroup, OciState, Spec

V2 = Hierarchy(
    kind="v2",
    v1=(),
    v2=Tree(mount_point="/sys/fs/cgroup", version=2, device=1, own="/", controllers=("cpu", "memory")),
)
V1 = Hierarchy(
    kind="v1",
    v1=(
        Tree(
            mount_point="/sys/fs/cgroup/cpu,cpuacct",
            version=1,
            device=1,
            own="/",
            controllers=("cpu", "cpuacct"),
        ),
        Tree(mount_point="/sys/fs/cgroup/memory", version=1, device=2, own="/", controllers=("memory",)),
    ),
    v2=None,
)
PATHS = {"cpu,cpuacct": "/sys/fs/cgroup/cpu,cpuacct/x", "memory": "/sys/fs/cgroup/memory/x"}
CONFIG: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "root": {"path": "rootfs", "readonly": True},
    "process": {"cwd": "/w", "args": ["sh"], "noNewPrivileges": True, "rlimits": []},
    "hostname": "h",
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("mount", "pid", "uts", "network", "cgroup")],
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "sysctl": {"net.ipv4.ip_forward": "1"},
    },
}


def spec_with(**linux: Any) -> Spec:
    document = copy.deepcopy(CONFIG)
    document["linux"].update(linux)
    return parse_config(document)


def labels(spec: Spec, **more: Any) -> list[str]:
    assert spec.process is not None
    state = OciState(oci_version="1.2.0", id="i", status="created", pid=0, bundle="/b", annotations={})
    facts: dict[str, Any] = {
        "root_fd": 5,
        "source_fds": {},
        "null_fd": 6,
        "namespace_fds": (),
        "entry_fds": (7, 8),
        "inside_ids": None,
        "staged": False,
        "has_kcore": True,
        "root_text": "root file system: /x",
        "state": state,
    }
    wishes = Wishes(id="i", pivot=True, keyring=True, console_size=None, die_with_parent=False)
    program = plan_program(spec.process, None, spec.linux.personality, setgroups=True)
    mounts = plan_mounts(spec, "/b", V2, {})
    steps = plan_init(spec, program, mounts, Prepared(**{**facts, **more}), wishes)
    return [step.label for step in steps]


def test_order() -> None:
    assert labels(spec_with()) == [
        "join the cgroups",
        "new cgroup namespace",
        "new session keyring",
        "loopback up",
        "open a private procfs",
        "root file system: /x",
        "mount proc at /proc",
        "6 device nodes",
        "links in /dev",
        "make the working directory",
        "pivot_root",
        "read-only root",
        "hostname h",
        "1 read-only paths",
        "1 masked paths",
        "sysctls net.ipv4.ip_forward=1",
        "set attributes",
        "enter the working directory",
        "place descriptors",
        "user 0:0, 0 capabilities",
        "bond to the parent",
    ]


def test_user_namespace_comes_before_what_needs_its_capabilities() -> None:
    maps = [{"containerID": 0, "hostID": 1000, "size": 1}]
    kinds = [{"type": kind} for kind in ("mount", "pid", "uts", "network", "cgroup", "user")]
    found = labels(spec_with(namespaces=kinds, uidMappings=maps, gidMappings=maps), inside_ids=(0, 0))
    assert found[:3] == ["join the cgroups", "become root inside", "new cgroup namespace"]


def test_joined_namespaces_are_left_to_a_stage() -> None:
    joined = ((9, k.CLONE_NEWIPC),)
    assert "join namespaces" in labels(spec_with(), namespace_fds=joined)
    assert "join namespaces" not in labels(spec_with(), namespace_fds=joined, staged=True)


def test_a_bound_dev_is_left_alone() -> None:
    document = copy.deepcopy(CONFIG)
    document["mounts"].append(
        {"destination": "/dev/", "type": "bind", "source": "/dev", "options": ["rbind"]}
    )
    found = labels(parse_config(document), source_fds={1: 10})
    assert "6 device nodes" not in found
    assert "bind /dev at /dev" in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"process": None}, "process: is required"),
        ({"linux": {"namespaces": [{"type": "mount"}]}}, "hostname, domainname: need a uts namespace"),
        ({"linux": {"namespaces": [{"type": "uts"}]}}, "mounts: needs a new mount namespace"),
        (
            {"linux": {"namespaces": [{"type": "uts"}, {"type": "mount", "path": "/x"}]}},
            "mounts: needs a new mount",
        ),
        (
            {"linux": {"namespaces": [{"type": "uts"}, {"type": "mount"}], "sysctl": {"net.a": "1"}}},
            "linux.sysctl.net.a: the container shares the host's network namespace",
        ),
        (
            {
                "linux": {
                    "namespaces": [{"type": "uts"}, {"type": "mount"}],
                    "devices": [{"path": "/dev/x", "type": "c"}],
                }
            },
            "linux.devices[0]: major and minor are required",
        ),
    ],
)
def test_contradictions(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_config(parse_config({**CONFIG, **change}))
    assert str(caught.value).startswith(message)


def cgroup_mounts(hierarchy: Hierarchy, *kinds: str) -> list[str]:
    document = copy.deepcopy(CONFIG)
    document["mounts"] = [
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "c", "options": ["ro"]}
    ]
    document["linux"]["namespaces"] = [{"type": kind} for kind in ("mount", *kinds)]
    document["linux"]["sysctl"] = {}
    return [mount.describe() for mount in plan_mounts(parse_config(document), "/b", hierarchy, PATHS)]


def test_cgroup_mount_on_v2() -> None:
    assert cgroup_mounts(V2) == ["mount cgroup2 at /sys/fs/cgroup (ro)"]


def test_cgroup_mount_on_v1_shows_the_own_cgroup_only() -> None:
    assert cgroup_mounts(V1) == [
        "mount tmpfs at /sys/fs/cgroup (mode=755)",
        "bind /sys/fs/cgroup/cpu,cpuacct/x at /sys/fs/cgroup/cpu,cpuacct (ro)",
        "link /sys/fs/cgroup/cpu to cpu,cpuacct",
        "link /sys/fs/cgroup/cpuacct to cpu,cpuacct",
        "bind /sys/fs/cgroup/memory/x at /sys/fs/cgroup/memory (ro)",
        "make /sys/fs/cgroup read-only",
    ]


def test_cgroup_mount_on_v1_with_a_namespace() -> None:
    assert "mount cgroup at /sys/fs/cgroup/memory (ro,memory)" in cgroup_mounts(V1, "cgroup")


def test_no_cgroups_at_all() -> None:
    with pytest.raises(Unsupported, match="no cgroup file system mounted"):
        cgroup_mounts(Hierarchy(kind="none", v1=(), v2=None))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"destination": "/", "type": "tmpfs"}, "is the root itself"),
        ({"destination": "/a/../..", "type": "tmpfs"}, "is the root itself"),
        ({"destination": "/a"}, "mounts[0].type: is required"),
        ({"destination": "/a", "type": "bind"}, "mounts[0].source: a bind mount needs one"),
        (
            {
                "destination": "/a",
                "type": "bind",
                "source": "/b",
                "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
            },
            "both are needed, or neither",
        ),
    ],
)
def test_wrong_mounts(entry: dict[str, Any], message: str) -> None:
    document = {**CONFIG, "mounts": [entry]}
    with pytest.raises(InvalidArgument) as caught:
        plan_mounts(parse_config(document), "/b", V2, {})
    assert message in str(caught.value)


def test_device_rules_begin_with_denial() -> None:
    own = (LinuxDeviceCgroup(allow=True, type="c", major=9, minor=9),)
    for rules in ((), own):
        planned = plan_rules(rules)
        assert planned[0] == DENY_ALL
        assert planned[1 : 1 + len(rules)] == rules
        assert all(rule.allow for rule in planned[1 + len(rules) :])


def test_a_device_of_the_document_replaces_a_default_one() -> None:
    nodes = {
        node.path: node for node in plan_nodes((Device(path="/dev/null", type="c", major=7, minor=8, uid=3),))
    }
    assert len(nodes) == 6
    assert (nodes["/dev/null"].uid, nodes["/dev/null"].mode & 0o7777) == (3, 0o666)
