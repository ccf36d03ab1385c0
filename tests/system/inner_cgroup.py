"""What a systemd in a container does to its cgroup: it moves into one inside and hands controllers on."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.kernel.cgroups import detect


def move_inside(pid: int) -> str:
    """Do the same to a container's only process; return its cgroup in the v2 tree now, as /proc tells it.

    The container's own cgroup may hold no processes after that (cgroups(7), "no internal processes").
    """
    tree = detect().v2
    own = cgroup_of(pid)
    cgroup = Path(f"{tree.mount_point}{own}") if tree is not None else Path("/nonexistent")
    controllers = (cgroup / "cgroup.controllers").read_text().split() if cgroup.exists() else []
    if not controllers:
        pytest.skip("needs a v2 tree with controllers: run it by tools/v2")
    (cgroup / "inner").mkdir()
    (cgroup / "inner/cgroup.procs").write_text(str(pid))
    (cgroup / "cgroup.subtree_control").write_text(f"+{controllers[0]}")
    return f"{own}/inner"


def cgroup_of(pid: int) -> str:
    """Return the path of a process in the v2 tree."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next((line[3:] for line in lines if line.startswith("0::")), "")
