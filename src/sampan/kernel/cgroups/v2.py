"""The manager on a v2 tree. Lean (decision 0002)."""

from __future__ import annotations

import os

from sampan.kernel import bpf
from sampan.kernel.cgroups import stats_v2
from sampan.kernel.cgroups.devices import parse_rules
from sampan.kernel.cgroups.limits import setting, write_plan
from sampan.kernel.cgroups.limits_v2 import plan_v2
from sampan.kernel.cgroups.unified import UnifiedPart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.kernel.cgroups.limits import Setting
    from sampan.kernel.cgroups.manager import Stats
    from sampan.kernel.cgroups.place import Place
    from sampan.spec.runtime import LinuxDeviceCgroup, LinuxResources

# What a container's cgroup gets when the machine has it; the rest (misc, perf_event, …) has no OCI field.
_CONTROLLERS = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma")


class V2Manager:
    """See `CgroupManager`."""

    def __init__(self, place: Place) -> None:
        """Manage the cgroup at place."""
        self._part = UnifiedPart(place)
        self._controllers = [name for name in _CONTROLLERS if name in place.tree.controllers]

    def create(self, *, shared: bool = False) -> None:
        """See `CgroupManager`. shared: one with processes inside, made by systemd for us, is taken."""
        self._part.create(controllers=self._controllers, shared=shared)

    def attach(self, pid: int) -> None:
        self._part.attach(pid)

    def entry_fds(self) -> tuple[int, ...]:
        return ()

    def clone_fd(self) -> int:
        return self._part.clone_fd()

    def check(self, resources: LinuxResources) -> list[Setting]:
        """Refuse what `apply` would refuse before it writes anything; return what it would write."""
        if resources.memory.check_before_update and resources.memory.limit:
            stats_v2.check_usage(self._part.open_directory(), resources.memory.limit)
        return plan_v2(resources)

    def apply(self, resources: LinuxResources) -> None:
        write_plan(self.check(resources), self._part.find_directory)

    def quota(self) -> list[Setting]:
        """Return what stands in the file of the processor quota; nothing without a quota."""
        directory = self._part.find_directory("cpu")
        text = (directory.find("cpu.max") if directory else None) or "max"
        return [] if text.startswith("max") else [setting("cpu.quota", "cpu.max", text.strip())]

    def write(self, plan: Sequence[Setting]) -> None:
        """Write what `quota` returned."""
        write_plan(plan, self._part.find_directory)

    def apply_devices(self, rules: Sequence[LinuxDeviceCgroup]) -> None:
        program = bpf.load_device_program(bpf.device_program(parse_rules(rules)))
        try:
            bpf.attach_device_program(self._part.open_directory().fd, program)
        finally:
            os.close(program)

    def freeze(self) -> None:
        self._part.freeze()

    def thaw(self) -> None:
        self._part.thaw()

    def frozen(self) -> bool:
        return self._part.frozen()

    def open_frozen(self) -> int:
        return self._part.open_frozen()

    def kill(self) -> None:
        self._part.kill()

    def pids(self, recursive: bool = True) -> list[int]:
        return self._part.pids(recursive=recursive)

    def stats(self) -> Stats:
        return stats_v2.read_stats(self._part.open_directory())

    def oom_kills(self) -> int:
        return self._part.oom_kills()

    def delete(self) -> None:
        self._part.delete()

    def paths(self) -> dict[str, str]:
        return {"": self._part.full_path}

    def close(self) -> None:
        self._part.close()
