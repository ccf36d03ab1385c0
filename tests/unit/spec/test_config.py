"""config.json is read into records, and a wrong field is named."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan import fastjson
from sampan.errors import InvalidArgument, SampanError, Unsupported
from sampan.spec.config import parse_config, parse_hooks, parse_process
from sampan.spec.limits import parse_resources, parse_seccomp
from sampan.spec.runtime import Capabilities, IdMap, LinuxDeviceCgroup, Mount, TimeOffset, User

SMALL = {"ociVersion": "1.2.0", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["sh"]}}
FULL: dict[str, Any] = {
    **SMALL,
    "process": {
        "cwd": "/w",
        "args": ["sh", "-c", "x"],
        "env": ["A=b"],
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3], "username": "ignored"},
        "capabilities": {"bounding": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709551615}],
        "noNewPrivileges": True,
        "oomScoreAdj": -5,
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 7},
        "scheduler": {"policy": "SCHED_FIFO", "priority": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "execCPUAffinity": {"initial": "0", "final": "0-1"},
    },
    "hostname": "h",
    "mounts": [{"destination": "/x", "type": "tmpfs", "options": None}],
    "hooks": {"createRuntime": [{"path": "/bin/true", "timeout": 3}]},
    "annotations": {"a": "b"},
    "linux": {
        "namespaces": [{"type": "user"}, {"type": "time"}, {"type": "network", "path": "/run/net"}],
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "timeOffsets": {"boottime": {"secs": -3, "nanosecs": 5}},
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 2, "fileMode": 0o20644}],
        "cgroupsPath": "/a/b",
        "resources": {
            "devices": [{"allow": True, "major": 5}],
            "memory": {"limit": 5, "swap": -1},
            "unified": {"memory.high": "9"},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
        },
        "rootfsPropagation": "rslave",
        "sysctl": {"net.x": "1"},
        "maskedPaths": ["/proc/kcore"],
        "personality": {"domain": "LINUX32", "flags": []},
    },
    "x-vendor": {"anything": [1, 2, {"y": None}]},
}


def test_full_document() -> None:
    spec = parse_config(FULL)
    assert spec.process is not None
    assert spec.process.user == User(uid=1, gid=2, umask=18, additional_gids=(3,))
    assert spec.process.capabilities == Capabilities(bounding=("CAP_KILL",))
    assert spec.process.rlimits[0].hard == 2**64 - 1
    assert spec.process.scheduler is not None
    assert spec.process.scheduler.flags == ("SCHED_FLAG_RESET_ON_FORK",)
    assert spec.mounts == (Mount(destination="/x", type="tmpfs"),)
    assert spec.linux.uid_mappings == (IdMap(container=0, host=1000, size=10),)
    assert spec.linux.time_offsets == {"boottime": TimeOffset(secs=-3, nanosecs=5)}
    assert spec.linux.devices[0].file_mode == 0o644
    assert spec.linux.resources is not None
    assert spec.linux.resources.devices == (LinuxDeviceCgroup(allow=True, major=5),)
    assert (spec.linux.resources.memory.limit, spec.linux.resources.memory.swap) == (5, -1)
    assert spec.linux.resources.memory.reservation is None
    assert spec.hooks.create_runtime[0].timeout == 3


def test_absent_and_null_are_the_same() -> None:
    with_nulls = {
        **SMALL,
        "hostname": None,
        "mounts": None,
        "linux": None,
        "hooks": None,
        "annotations": None,
    }
    assert parse_config(with_nulls) == parse_config(SMALL)


WRONG = [
    ((), 5, "must be an object, not a number"),
    (("ociVersion",), None, "ociVersion: is required"),
    (("root", "path"), "", "root.path: must not be empty"),
    (("process", "cwd"), "w", "process.cwd: must be an absolute path, not 'w'"),
    (("process", "args"), "sh", "process.args: must be an array, not a string"),
    (("process", "args"), ["a", 5], "process.args[1]: must be a string, not a number"),
    (("process", "args"), ["a\0b"], "process.args[0]: must not contain a NUL character"),
    (("process", "args"), [], "process.args: must name a program"),
    (("process", "env"), ["A=1", "=x"], "process.env[1]: '=x' is not NAME=value"),
    (("process", "user", "uid"), -1, "process.user.uid: -1 is outside 0 to 4294967295"),
    (("process", "user", "uid"), 2**32, "process.user.uid: 4294967296 is outside"),
    (("process", "user", "uid"), True, "process.user.uid: must be a whole number, not a boolean"),
    (("process", "user", "uid"), "0", "process.user.uid: must be a whole number, not a string"),
    (("process", "user", "uid"), 1.0, "process.user.uid: must be a whole number, not a fraction"),
    (("process", "user", "umask"), 0o1000, "process.user.umask: 512 is outside 0 to 511"),
    (("process", "terminal"), 1, "process.terminal: must be true or false, not a number"),
    (
        ("process", "rlimits", 0, "type"),
        "NOFILE",
        "process.rlimits[0].type: 'NOFILE' does not start with RLIMIT_",
    ),
    (("process", "rlimits", 0, "hard"), -1, "process.rlimits[0].hard: -1 is outside"),
    (("process", "oomScoreAdj"), 1001, "process.oomScoreAdj: 1001 is outside -1000 to 1000"),
    (("process", "ioPriority", "class"), "RT", "process.ioPriority.class: 'RT' is none of IOPRIO_CLASS_BE"),
    (("process", "scheduler", "policy"), "FIFO", "process.scheduler.policy: 'FIFO' is none of"),
    (("mounts", 0, "destination"), None, "mounts[0].destination: is required"),
    (("mounts", 0), "x", "mounts[0]: must be an object, not a string"),
    (("hooks", "createRuntime", 0, "path"), "true", "hooks.createRuntime[0].path: must be an absolute path"),
    (("hooks", "createRuntime", 0, "timeout"), 0, "hooks.createRuntime[0].timeout: 0 is outside 1"),
    (("linux", "namespaces", 1, "type"), "net", "linux.namespaces[1].type: 'net' is none of"),
    (("linux", "namespaces", 1, "type"), "user", "linux.namespaces[1]: user is listed twice"),
    (("linux", "uidMappings", 0, "size"), 0, "linux.uidMappings[0].size: must not be 0"),
    (("linux", "uidMappings", 0, "size"), 2**32 - 1, "linux.uidMappings[0]: runs past 2^32"),
    (("linux", "gidMappings"), [], "linux.uidMappings, linux.gidMappings: a new user namespace needs both"),
    (
        ("linux", "timeOffsets", "realtime"),
        {"secs": 1},
        "linux.timeOffsets.realtime: is neither boottime nor",
    ),
    (("linux", "devices", 0, "type"), "x", "linux.devices[0].type: 'x' is none of b, c, p, u"),
    (
        ("linux", "resources", "devices", 0, "access"),
        "x",
        "linux.resources.devices[0].access: 'x' is not made of",
    ),
    (("linux", "resources", "devices", 0, "allow"), None, "linux.resources.devices[0].allow: is required"),
    (
        ("linux", "resources", "memory", "limit"),
        2**63,
        "linux.resources.memory.limit: 9223372036854775808 is outside",
    ),
    (
        ("linux", "resources", "hugepageLimits", 0, "pageSize"),
        "2M",
        "hugepageLimits[0].pageSize: '2M' is not a page",
    ),
    (("linux", "rootfsPropagation"), "private,x", "linux.rootfsPropagation: 'private,x' is none of"),
    (("linux", "maskedPaths"), ["proc"], "linux.maskedPaths[0]: must be an absolute path, not 'proc'"),
    (("linux", "personality", "flags"), ["X"], "linux.personality.flags: the specification defines no flags"),
    (("annotations", "a"), 5, "annotations.a: must be a string, not a number"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_wrong_field_is_named(path: tuple[str | int, ...], value: Any, message: str) -> None:
    document: Any = copy.deepcopy(FULL)
    if not path:
        document = value
    here = document
    for step in path[:-1]:
        here = here[step]
    if path:
        here[path[-1]] = value
    with pytest.raises(InvalidArgument) as caught:
        parse_config(document)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ociVersion": "2.0.0"}, "ociVersion: '2.0.0' is not 1.x"),
        ({"windows": {"x": 1}}, "windows: this is not a Linux container"),
        ({"linux": {"intelRdt": {"closID": "x"}}}, "linux.intelRdt: sampan does not manage Intel RDT"),
        ({"linux": {"netDevices": {"eth0": {}}}}, "linux.netDevices"),
        ({"linux": {"memoryPolicy": {"mode": "MPOL_BIND"}}}, "linux.memoryPolicy"),
    ],
)
def test_unsupported_field_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Unsupported, match=message.replace(".", r"\.")):
        parse_config({**SMALL, **change})


@pytest.mark.parametrize(
    "maps",
    [
        [(0, 0, 10), (5, 100, 10)],  # overlaps inside
        [(0, 0, 10), (100, 5, 10)],  # overlaps outside
        [(0, 0, 10), (0, 100, 1)],
    ],
)
def test_overlapping_maps(maps: list[tuple[int, int, int]]) -> None:
    lines = [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in maps]
    linux = {"namespaces": [{"type": "user"}], "uidMappings": lines, "gidMappings": lines}
    with pytest.raises(InvalidArgument, match=r"linux\.uidMappings\[1\]: overlaps an earlier line"):
        parse_config({**SMALL, "linux": linux})


def test_the_other_documents() -> None:
    assert parse_process({"cwd": "/", "args": ["x"]}).args == ("x",)
    assert parse_resources({"pids": {"limit": -1}}).pids is not None
    assert parse_hooks({"poststop": [{"path": "/x"}]}).poststop[0].path == "/x"
    assert parse_seccomp({"defaultAction": "SCMP_ACT_ALLOW"}).syscalls == ()
    with pytest.raises(InvalidArgument, match=r"^pids\.limit: is required"):
        parse_resources({"pids": {}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in _paths(item, (*path, key)))]


@given(path=st.sampled_from(_paths(FULL)[1:]), value=JSON)
def test_any_value_anywhere_is_read_or_refused(path: tuple[Any, ...], value: Any) -> None:
    document: Any = copy.deepcopy(FULL)
    here = document
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    with contextlib.suppress(SampanError):  # any other error is a mistake of the reader
        parse_config(document)


def test_what_runc_writes_is_read() -> None:
    text = (
        '{"ociVersion":"1.0.2-dev","root":{"path":"r"},"process":{"user":{"uid":0},"args":["sh"],"cwd":"/"}}'
    )
    assert parse_config(fastjson.loads(text)).root.path == "r"
