"""config.json, namespaces: made, joined by path, and what belongs to them, seen from inside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.system.bundles import Config, Runtime, both, check_field, mount, needs_busybox, needs_root, put

pytestmark = [needs_root, needs_busybox]


CASES = [
    pytest.param(put("hostname", value="boat"), "hostname", "boat", id="hostname"),
    pytest.param(put("domainname", value="sea"), "cat /proc/sys/kernel/domainname", "sea", id="domainname"),
    pytest.param(
        put("linux", "sysctl", value={"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}),
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced",
        "1\n1",
        id="sysctls",
    ),
    pytest.param(
        put("linux", "sysctl", value={"net/ipv4/conf/lo/forwarding": "1"}),
        "cat /proc/sys/net/ipv4/conf/lo/forwarding",
        "1",
        id="sysctl with slashes",
    ),
    pytest.param(
        lambda config: None,
        "cat /proc/1/cmdline | head -c 2; echo; set -- /proc/[0-9]*; echo $#",  # counts no process of its own
        "sh\n1",
        id="pid namespace",
    ),
    pytest.param(lambda config: None, "ls /sys/class/net", "lo", id="network namespace"),
    pytest.param(lambda config: None, "ip -o link show lo | grep -c UP", "1", id="loopback is up"),
]


@pytest.mark.parametrize(("change", "script", "wanted"), CASES)
def test_field(runtime: Runtime, change: Any, script: str, wanted: str | None) -> None:
    check_field(runtime, change, script, wanted)


CGROUP_MOUNT = mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")


def test_cgroup_mount(runtime: Runtime) -> None:
    """In the host's cgroup namespace: v1 shows the own cgroup, v2 the whole tree; both read-only."""
    on_v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    place = "/sys/fs/cgroup" + ("$(cut -d: -f3 /proc/self/cgroup)" if on_v2 else "/memory")
    done = runtime.sh(f"cat /proc/self/cgroup {place}/cgroup.procs", CGROUP_MOUNT)
    assert any(runtime.parent in line for line in done.lines)
    assert "1" in done.lines
    refused = runtime.sh(f"mkdir {place}/x 2>&1 || true", CGROUP_MOUNT)
    assert "Read-only" in refused.out


def test_cgroup_namespace(runtime: Runtime) -> None:
    change = both(CGROUP_MOUNT, lambda config: config["linux"]["namespaces"].append({"type": "cgroup"}))
    done = runtime.sh(
        "cat /proc/self/cgroup; find /sys/fs/cgroup -name cgroup.procs | head -n 1 | xargs cat", change
    )
    assert runtime.parent not in done.out
    assert all(line.endswith(":/") for line in done.lines if ":" in line)
    assert "1" in done.lines


def test_namespaces_are_joined_by_path(runtime: Runtime) -> None:
    first = runtime.start()
    pid = runtime.state(first)["pid"]

    def join(config: Config) -> None:
        config["linux"]["namespaces"] = [
            {"type": kind, "path": f"/proc/{pid}/ns/{short}"}
            for kind, short in (("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"))
        ] + [{"type": "mount"}]
        del config["hostname"]

    done = runtime.sh(
        "ps | grep -c '[s]leep 1000'; for n in pid net ipc uts; do readlink /proc/self/ns/$n; done", join
    )
    theirs = [os.readlink(f"/proc/{pid}/ns/{short}") for short in ("pid", "net", "ipc", "uts")]
    assert done.lines[0] == "1"
    assert done.lines[1:] == theirs
    runtime.call("delete", "--force", first)


MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def with_user_namespace(config: Config) -> None:
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = MAPS
    os.chmod(Path(config["root"]["path"]).parent, 0o700)  # not even search permission on the way to the root


def test_user_namespace(runtime: Runtime) -> None:
    done = runtime.sh(
        "id -u; cat /proc/self/uid_map | tr -s ' '; stat -c %u /bin/busybox; ls -l /dev/null",
        with_user_namespace,
    )
    assert done.lines[0] == "0"
    assert done.lines[1].split() == ["0", "100000", "65536"]
    assert done.lines[2] == "65534"
    assert done.lines[3].startswith("crw-rw-rw-")


def test_user_namespace_beside_a_joined_network(runtime: Runtime) -> None:
    first = runtime.start()
    pid = runtime.state(first)["pid"]

    def change(config: Config) -> None:
        with_user_namespace(config)
        config["linux"]["namespaces"][1] = {"type": "network", "path": f"/proc/{pid}/ns/net"}
        config["mounts"] = [entry for entry in config["mounts"] if entry["type"] != "sysfs"]

    done = runtime.sh("readlink /proc/self/ns/net; id -u", change)
    assert done.lines == [os.readlink(f"/proc/{pid}/ns/net"), "0"]
    runtime.call("delete", "--force", first)


def test_user_namespace_is_joined(runtime: Runtime) -> None:
    first = runtime.start(with_user_namespace)
    pid = runtime.state(first)["pid"]

    def change(config: Config) -> None:
        config["linux"]["namespaces"].append({"type": "user", "path": f"/proc/{pid}/ns/user"})

    done = runtime.sh("readlink /proc/self/ns/user; id -u; hostname", change)
    assert done.lines == [os.readlink(f"/proc/{pid}/ns/user"), "0", "probe"]
    inside = runtime.exec(first, "sh", "-c", "id -u; readlink /proc/self/ns/user")
    assert inside.lines == ["0", os.readlink(f"/proc/{pid}/ns/user")]
    runtime.call("delete", "--force", first)


def test_time_namespace(runtime: Runtime) -> None:
    def change(config: Config) -> None:
        config["linux"]["namespaces"].append({"type": "time"})
        config["linux"]["timeOffsets"] = {"monotonic": {"secs": 1000000}, "boottime": {"secs": 1000000}}

    up = float(runtime.sh("cut -d' ' -f1 /proc/uptime", change).out)
    assert up > 1000000
