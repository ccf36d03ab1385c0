"""config.json, "linux.resources": limits reach the cgroup files."""

from __future__ import annotations

from pathlib import Path

from tests.system.bundles import Runtime, needs_busybox, needs_root, put

pytestmark = [needs_root, needs_busybox]


def test_limits_are_written(runtime: Runtime) -> None:
    resources = {"memory": {"limit": 64 << 20}, "pids": {"limit": 30}, "cpu": {"shares": 512}}
    id = runtime.start(put("linux", "resources", value=resources))
    places = " ".join(runtime.container_cgroups())
    values = {
        name: Path(folder, name).read_text().strip()
        for folder in places.split()
        for name in ("memory.limit_in_bytes", "memory.max", "pids.max")
        if Path(folder, name).exists()
    }
    assert values.pop("pids.max") == "30"
    assert set(values.values()) == {str(64 << 20)}
    runtime.call("delete", "--force", id)
