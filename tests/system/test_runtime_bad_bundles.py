"""A bundle with a wrong field: one line that names it, exit code 1, and nothing left behind."""

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.system.bundles import Runtime, mount, needs_busybox, needs_root, put

pytestmark = [needs_root, needs_busybox]


BAD = [
    pytest.param(
        put("process", "args", value=["nosuch"]),
        'exec: "nosuch": executable file not found in $PATH',
        id="name",
    ),
    pytest.param(
        put("process", "args", value=["/no/such"]),
        'exec: "/no/such": stat /no/such: no such file or directory',
        id="path",
    ),
    pytest.param(
        put("process", "args", value=["/etc/passwd"]), 'exec: "/etc/passwd": permission denied', id="no x bit"
    ),
    pytest.param(put("process", "args", value=["/etc"]), 'exec: "/etc": is a directory', id="directory"),
    pytest.param(put("process", "args", value=[]), "process.args: must name a program", id="no args"),
    pytest.param(
        put("process", "cwd", value="tmp"), "process.cwd: must be an absolute path", id="relative cwd"
    ),
    pytest.param(put("process", "cwd", value="/etc/passwd"), "/etc/passwd", id="cwd is a file"),
    pytest.param(
        put("process", "capabilities", "bounding", value=["CAP_FLY"]),
        "unknown capability 'CAP_FLY'",
        id="capability",
    ),
    pytest.param(
        put("process", "rlimits", value=[{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
        "no limit 'RLIMIT_X'",
        id="limit",
    ),
    pytest.param(
        put("process", "env", value=["NOVALUE"]), "process.env[0]: 'NOVALUE' is not NAME=value", id="env"
    ),
    pytest.param(put("root", "path", value="/no/such/root"), "root.path", id="root"),
    pytest.param(
        put("linux", "sysctl", value={"kernel.core_pattern": "|/x"}),
        "belongs to no namespace",
        id="sysctl of the host",
    ),
    pytest.param(
        put("linux", "sysctl", value={"net.ipv4.nothing": "1"}),
        "linux.sysctl.net.ipv4.nothing",
        id="no such sysctl",
    ),
    pytest.param(
        mount("/mnt", "bind", "/no/such/source", "bind"),
        "'/no/such/source' of /mnt does not exist",
        id="source",
    ),
    pytest.param(
        mount("/mnt", "bind", "/tmp", "bind", "size=3"),
        "mounts[6].options: a bind mount cannot have 'size=3'",
        id="option",
    ),
    pytest.param(mount("/mnt", "nosuchfs", "x"), "nosuchfs", id="file system"),
    pytest.param(mount("/mnt", "tmpfs", "x", "size=banana"), "size", id="file system option"),
    pytest.param(mount("/proc/sys", "tmpfs", "x"), "inside a procfs", id="mount in proc"),
    pytest.param(mount("/proc", "bind", "/tmp", "bind"), "/proc", id="volume over proc"),
    pytest.param(put("linux", "mountLabel", value="x"), "linux.mountLabel", id="mount label"),
    pytest.param(put("linux", "intelRdt", value={"closID": "x"}), "linux.intelRdt", id="intel rdt"),
    pytest.param(put("process", "selinuxLabel", value="a:b:c"), "process.selinuxLabel", id="selinux"),
    pytest.param(
        put("linux", "resources", value={"memory": {"limit": "1"}}),
        "linux.resources.memory.limit: must be a whole number",
        id="type",
    ),
    pytest.param(
        put("linux", "namespaces", value=[{"type": "mount"}, {"type": "net"}]),
        "linux.namespaces[1].type",
        id="namespace",
    ),
    pytest.param(put("ociVersion", value="2.0"), "ociVersion", id="version"),
    pytest.param(
        put("linux", "seccomp", value={"defaultAction": "SCMP_ACT_MAYBE"}),
        "linux.seccomp.defaultAction",
        id="seccomp",
    ),
    pytest.param(put("hostname", value="x" * 65), "hostname", id="long hostname"),
    pytest.param(put("linux", "cgroupsPath", value="/sampan/../../etc"), "cgroup path", id="cgroup path"),
    pytest.param(
        put("linux", "resources", value={"cpu": {"cpus": "0-9223372036854775807"}}),
        "cpus",
        id="CVE-2018-20699",
    ),
]


@pytest.mark.parametrize(("change", "text"), BAD)
def test_wrong_bundle_is_named_and_leaves_nothing(runtime: Runtime, change: Any, text: str) -> None:
    before = left_behind(runtime)
    done = runtime.run(change)
    assert done.code == 1
    assert text in done.err
    assert len(done.err.splitlines()) <= 2
    assert left_behind(runtime) == before


def left_behind(runtime: Runtime) -> tuple[list[str], list[str]]:
    state = runtime.folder / "state"
    return runtime.container_cgroups(), sorted(os.listdir(state)) if state.exists() else []
