"""`sampan-runtime --systemd-cgroup`: containers are scopes of a systemd, which runs in a box for this."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.bundles import Config, Runtime, both, needs_busybox, needs_root, poll, put
from tests.system.systemd_box import SystemdBox, systemd_box

pytestmark = [needs_root, needs_busybox]


@pytest.fixture(scope="module", params=["v2", "hybrid"])
def box(request: pytest.FixtureRequest) -> Iterator[SystemdBox]:
    with systemd_box(hybrid=request.param == "hybrid") as made:
        yield made


@pytest.fixture(scope="module")
def runtime(box: SystemdBox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """The runtime with systemd's cgroups, in the box."""
    made = Runtime(tmp_path_factory.mktemp("systemd"))
    made.program = (*box.words, *made.program, "--systemd-cgroup")
    yield made
    made.close()


def named(path: str) -> Any:
    return put("linux", "cgroupsPath", value=path)


def unit_cgroup(box: SystemdBox, path: str) -> Path:
    return box.folder("", path)


def has_controller(box: SystemdBox, name: str) -> bool:
    return name in ",".join(box.cgroups) or name in box.folder("", "cgroup.controllers").read_text().split()


def test_a_container_is_a_scope_in_its_slice(box: SystemdBox, runtime: Runtime) -> None:
    id = runtime.start(named("machine-test.slice:probe:one"))
    unit = "probe-one.scope"
    assert box.property(unit, "ActiveState") == "active"
    assert box.property(unit, "Slice") == "machine-test.slice"
    assert box.property(unit, "Delegate") == "yes"
    assert box.property(unit, "ControlGroup") == f"/machine.slice/machine-test.slice/{unit}"
    folder = unit_cgroup(box, f"machine.slice/machine-test.slice/{unit}")
    assert len(folder.joinpath("cgroup.procs").read_text().split()) == 1  # the keeper is gone
    assert runtime.exec(id, "cat", "/proc/self/cgroup").out.strip().endswith(unit)
    runtime.call("delete", "--force", id)
    assert box.property(unit, "LoadState") == "not-found"
    assert not folder.exists()


def test_without_a_path_the_unit_has_the_containers_name(box: SystemdBox, runtime: Runtime) -> None:
    id = runtime.start(named(""))
    assert box.property(f"sampan-{id}.scope", "ControlGroup") == f"/system.slice/sampan-{id}.scope"
    runtime.call("delete", "--force", id)


def test_pause_ps_and_resume(box: SystemdBox, runtime: Runtime) -> None:
    id = runtime.start(named("system.slice:probe:paused"))
    assert runtime.call("pause", id).code == 0
    assert runtime.state(id)["status"] == "paused"
    assert runtime.call("resume", id).code == 0
    assert runtime.state(id)["status"] == "running"
    assert len(runtime.call("ps", "--format", "json", id).out.strip("[]\n").split(",")) == 1
    assert '"pids"' in runtime.call("events", "--stats", id).out
    runtime.call("delete", "--force", id)


def test_exec_into_a_cgroup_inside_the_scope(box: SystemdBox, runtime: Runtime) -> None:
    id = runtime.start(named("system.slice:probe:below"))
    for controllers in box.cgroups:
        inner = box.folder(controllers, "system.slice/probe-below.scope/inner")
        inner.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems") if controllers == "cpuset" else ():
            (inner / file).write_text((inner.parent / file).read_text())
    done = runtime.exec(id, "cat", "/proc/self/cgroup", options=("--cgroup", "inner"))
    assert done.out.strip().endswith("probe-below.scope/inner")
    runtime.call("delete", "--force", id)


def test_the_scope_ends_with_its_container(box: SystemdBox, runtime: Runtime) -> None:
    done = runtime.run(named("system.slice:probe:short"), "true")
    assert done.code == 0, done.err
    assert box.property("probe-short.scope", "LoadState") == "not-found"
    # The same name is free again, at once.
    assert runtime.run(named("system.slice:probe:short"), "true").code == 0


def test_device_rules_are_the_units_too(box: SystemdBox, runtime: Runtime) -> None:
    id = runtime.start(named("system.slice:probe:devices"))
    assert box.property("probe-devices.scope", "DevicePolicy") == "strict"
    allowed = box.property("probe-devices.scope", "DeviceAllow")
    assert "/dev/char/1:3 rwm" in allowed
    assert runtime.exec(id, "sh", "-c", "echo x >/dev/null").code == 0
    assert runtime.exec(id, "sh", "-c", "mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg").code != 0
    runtime.call("delete", "--force", id)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param("/sampan/x", "is not slice:prefix:name", id="a path of the other driver"),
        pytest.param("machine:probe:x", "is not a slice of systemd", id="no slice"),
        pytest.param("system.slice:probe:x.slice", "a slice holds no processes", id="a slice"),
        pytest.param("system.slice:probe:a b", "cannot name a unit", id="a space"),
    ],
)
def test_wrong_paths(runtime: Runtime, path: str, text: str) -> None:
    done = runtime.run(named(path), "true")
    assert done.code == 1
    assert text in done.err


def test_a_create_that_fails_leaves_no_unit(box: SystemdBox, runtime: Runtime) -> None:
    done = runtime.run(named("system.slice:probe:failed"), "/no/such/program")
    assert done.code == 1
    assert box.property("probe-failed.scope", "LoadState") == "not-found"


def test_a_name_in_use_is_refused(box: SystemdBox, runtime: Runtime) -> None:
    id = runtime.start(named("system.slice:probe:taken"))
    done = runtime.run(named("system.slice:probe:taken"), "true")
    assert done.code == 1
    assert "probe-taken.scope is in use" in done.err
    assert runtime.state(id)["status"] == "running"
    runtime.call("delete", "--force", id)


LIMITS = {
    "memory": {"limit": 64 << 20, "reservation": 32 << 20},
    "cpu": {"shares": 512, "quota": 55555, "period": 100000, "cpus": "0"},
    "pids": {"limit": 1},
}


def with_limits(config: Config) -> None:
    config["linux"]["resources"].update(LIMITS)


# property, what systemd shows, controller, file, what it says
V1 = [
    ("MemoryLimit", str(64 << 20), "memory", "memory.limit_in_bytes", str(64 << 20)),
    ("CPUShares", "512", "cpu", "cpu.shares", "512"),
    ("CPUQuotaPerSecUSec", "560ms", "cpu", "cpu.cfs_quota_us", "55555"),
    ("TasksMax", "1", "pids", "pids.max", "1"),
    ("AllowedCPUs", "0", "cpuset", "cpuset.cpus", "0"),
]
V2 = [
    ("MemoryMax", str(64 << 20), "memory", "memory.max", str(64 << 20)),
    ("MemoryLow", str(32 << 20), "memory", "memory.low", str(32 << 20)),
    ("CPUWeight", "59", "cpu", "cpu.weight", "59"),
    ("CPUQuotaPerSecUSec", "560ms", "cpu", "cpu.max", "55555 100000"),
    ("TasksMax", "1", "pids", "pids.max", "1"),
    ("AllowedCPUs", "0", "cpuset", "cpuset.cpus", "0"),
]


def test_limits_are_known_to_systemd_and_in_the_files(box: SystemdBox, runtime: Runtime) -> None:
    for name in ("memory", "cpu", "cpuset", "pids"):
        if not has_controller(box, name):
            pytest.skip(f"needs {name} in the v2 tree: run it by tools/v2")
    id = runtime.start(both(named("limits-nested.slice:probe:limits"), with_limits))
    unit = "probe-limits.scope"

    def read(controller: str, file: str) -> str:
        return box.folder(controller, f"limits.slice/limits-nested.slice/{unit}/{file}").read_text().strip()

    rows = V2 if len(box.cgroups) == 1 else V1
    for name, known, controller, file, written in rows:
        assert (name, box.property(unit, name)) == (name, known)
        assert (file, read(controller, file)) == (file, written)

    memory = ("memory", rows[0][3])
    quota = ("cpu", next(file for _, _, _, file, _ in rows if file in ("cpu.max", "cpu.cfs_quota_us")))
    exact = read(*quota)
    assert runtime.call("update", "--memory", str(80 << 20), "--pids-limit", "20", id).code == 0
    assert box.property(unit, rows[0][0]) == str(80 << 20)
    assert read(*memory) == str(80 << 20)
    assert box.property(unit, "TasksMax") == "20"
    assert read(*quota) == exact  # not rounded by systemd's next writing
    # What systemd was told survives its writing everything again.
    box.run("systemctl", "daemon-reload")
    assert read(*memory) == str(80 << 20)
    assert read("pids", "pids.max") == "20"
    assert runtime.exec(id, "sh", "-c", "echo x >/dev/null").code == 0
    runtime.call("delete", "--force", id)


def test_a_container_whose_process_is_killed_leaves_no_unit(box: SystemdBox, runtime: Runtime) -> None:
    id = runtime.start(named("system.slice:probe:orphan"))
    os.kill(int(unit_cgroup(box, "system.slice/probe-orphan.scope/cgroup.procs").read_text()), signal.SIGKILL)
    poll(lambda: box.property("probe-orphan.scope", "LoadState") == "not-found")
    assert runtime.call("delete", id).code == 0


def test_a_creator_that_is_killed_leaves_a_scope_that_ends(
    box: SystemdBox, runtime: Runtime, tmp_path: Path
) -> None:
    """Killed by kill -9 while a hook runs: keeper and container's process end with it."""
    marker = tmp_path / "pids"
    script = f"echo $PPID $$ >{marker}.new && mv {marker}.new {marker} && exec sleep 100"
    hook = put("hooks", value={"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]})
    id = runtime.new_id()
    bundle = runtime.bundle(both(named("system.slice:probe:half"), hook), "true")
    with subprocess.Popen(runtime.command("create", "--bundle", str(bundle), id)) as creator:
        poll(marker.exists)
        assert box.property("probe-half.scope", "ActiveState") == "active"
        pids = marker.read_text().split()
        box.run("kill", "-9", *pids)
        creator.wait(20)
    poll(lambda: box.property("probe-half.scope", "LoadState") == "not-found")
    assert runtime.call("delete", "--force", id).code == 0
    assert not unit_cgroup(box, "system.slice/probe-half.scope").exists()


def test_over_the_message_bus(box: SystemdBox, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.path.exists("/usr/bin/dbus-daemon"):
        pytest.skip("needs dbus-daemon")
    box.run("systemctl", "start", "--job-mode=ignore-dependencies", "dbus.socket", "dbus.service")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket")
    id = runtime.start(named("system.slice:probe:bus"))
    assert box.property("probe-bus.scope", "ActiveState") == "active"
    runtime.call("delete", "--force", id)
    assert box.property("probe-bus.scope", "LoadState") == "not-found"


def test_no_systemd_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    if os.path.exists("/run/systemd/private"):
        pytest.skip("this machine has a systemd")
    plain = Runtime(tmp_path)
    done = plain.call("--systemd-cgroup", "run", "--bundle", str(plain.bundle(named(""))), plain.new_id())
    assert done.code == 1
    assert "no systemd answers" in done.err
    assert "unix:path=/run/systemd/private" in done.err
    assert "--cgroup-manager cgroupfs" in done.err
    plain.close()
