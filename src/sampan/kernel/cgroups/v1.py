"""The manager on v1 trees, with the v2 tree beside them where there is one (hybrid). Lean (decision 0002)."""

from __future__ import annotations

import errno
import os

from sampan.errors import Unsupported
from sampan.kernel.cgroups import processes
from sampan.kernel.cgroups.devices import parse_rules, v1_writes
from sampan.kernel.cgroups.limits import setting, write_plan
from sampan.kernel.cgroups.limits_v1 import plan_v1
from sampan.kernel.cgroups.unified import UnifiedPart
from sampan.lean import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.kernel.cgroups.directory import Directory
    from sampan.kernel.cgroups.limits import Setting
    from sampan.kernel.cgroups.manager import Stats
    from sampan.kernel.cgroups.place import Place
    from sampan.spec.runtime import LinuxDeviceCgroup, LinuxResources

FREEZE_TIMEOUT_S = 10.0
KILL_TIMEOUT_S = 10.0
# The tree that answers for the others when processes are listed, best first.
_LISTING = ("freezer", "pids", "memory", "devices", "cpu")
_CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")


class V1Manager:
    """See `CgroupManager`."""

    def __init__(self, places: Sequence[Place], unified: UnifiedPart | None) -> None:
        """Manage a cgroup with a place in each v1 tree, and in the v2 tree of a hybrid machine."""
        self._places = tuple(places)
        self._unified = unified
        self._by_controller = {name: place for place in places for name in place.tree.controllers}
        self._entry_fds: tuple[int, ...] = ()

    def create(self, *, shared: bool = False) -> None:
        """See `CgroupManager`. shared: one with processes inside, made by systemd for us, is taken."""
        with Undo() as undo:
            undo.add(self.close)
            for place in self._places:
                prepare = _inherit_cpuset if "cpuset" in place.tree.controllers else _nothing_to_prepare
                made = place.create(prepare)
                for new in made:
                    undo.add(new.withdraw)
                if "cpuset" in place.tree.controllers:
                    for parent in made[:-1]:
                        parent.directory().write("cgroup.clone_children", "1")
                        parent.close()
                if not made and not shared:
                    processes.check_unused(place.directory())
            if self._unified is not None:
                self._unified.create(controllers=(), shared=shared)
            undo.commit()

    def attach(self, pid: int) -> None:
        for place in self._places:
            processes.attach(place.directory(), pid)
        if self._unified is not None:
            self._unified.attach(pid)

    def entry_fds(self) -> tuple[int, ...]:
        if not self._entry_fds:
            opened: list[int] = []
            with Undo() as undo:
                for place in self._places:
                    fd = place.directory().open("tasks", os.O_WRONLY)
                    undo.add(os.close, fd)
                    opened.append(fd)
                undo.commit()
            self._entry_fds = tuple(opened)
        return self._entry_fds

    def clone_fd(self) -> int:
        return -1 if self._unified is None else self._unified.clone_fd()

    def check(self, resources: LinuxResources) -> list[Setting]:
        """Refuse what `apply` would refuse before it writes anything; return what it would write."""
        return plan_v1(resources)

    def apply(self, resources: LinuxResources) -> None:
        plan = self.check(resources)
        if resources.hugepage_limits and "hugetlb" not in self._by_controller and self._unified is not None:
            plan = [wanted for wanted in plan if wanted.controller != "hugetlb"]
            write_plan(plan, self._find_directory)
            self._unified.enable("hugetlb")
            from sampan.kernel.cgroups.limits_v2 import plan_hugetlb

            write_plan(plan_hugetlb(resources), self._unified.find_directory)
            return
        write_plan(plan, self._find_directory)

    def _find_directory(self, controller: str) -> Directory | None:
        place = self._by_controller.get(controller)
        return None if place is None else place.directory()

    def quota(self) -> list[Setting]:
        """Return what stands in the files of the processor quota; nothing without a quota."""
        directory = self._find_directory("cpu")
        quota = ((directory.find("cpu.cfs_quota_us") if directory else None) or "-1").strip()
        if directory is None or quota == "-1":
            return []
        period = directory.read("cpu.cfs_period_us").strip()
        return [
            setting("cpu.period", "cpu.cfs_period_us", period, again=True),
            setting("cpu.quota", "cpu.cfs_quota_us", quota, again=True),
        ]

    def write(self, plan: Sequence[Setting]) -> None:
        """Write what `quota` returned."""
        write_plan(plan, self._find_directory)

    def apply_devices(self, rules: Sequence[LinuxDeviceCgroup]) -> None:
        parsed = parse_rules(rules)
        directory = self._find_directory("devices")
        if directory is None:
            raise Unsupported(
                "linux.resources.devices: the cgroup controller devices is not mounted",
                hint="mount it, or boot with cgroup v2: without it a container could open every device",
            )
        for file, lines in v1_writes(directory.read("devices.list"), parsed):
            directory.write_lines(file, lines)

    def freeze(self) -> None:
        directory = self._freezer()
        tries = 0

        def is_frozen() -> bool:
            nonlocal tries
            tries += 1
            if tries % 50 == 0:
                # A process that is being moved or traced can keep the cgroup FREEZING for ever; letting go
                # for a moment helps (kernel admin-guide/cgroup-v1/freezer-subsystem; runc issue 2609).
                directory.write("freezer.state", "THAWED")
            directory.write("freezer.state", "FROZEN")
            return directory.read("freezer.state").strip() == "FROZEN"

        try:
            processes.wait_until(is_frozen, timeout_s=FREEZE_TIMEOUT_S, what="freeze", path=directory.path)
        except OSError:
            directory.write("freezer.state", "THAWED")
            raise

    def thaw(self) -> None:
        self._freezer().write("freezer.state", "THAWED")

    def frozen(self) -> bool:
        directory = self._find_freezer()
        if directory is None:
            return False
        own = directory.find("freezer.self_freezing")
        return own is not None and own.strip() == "1"

    def open_frozen(self) -> int:
        directory = self._find_freezer()
        if directory is None:
            raise FileNotFoundError(errno.ENOENT, "the cgroup controller freezer is not there")
        return directory.open("freezer.self_freezing", os.O_RDONLY)

    def _freezer(self) -> Directory:
        if "freezer" not in self._by_controller:
            raise Unsupported("cannot pause: the cgroup controller freezer is not mounted")
        directory = self._find_freezer()
        if directory is None:
            raise FileNotFoundError(
                errno.ENOENT, "the cgroup is gone", self._by_controller["freezer"].full_path
            )
        return directory

    def _find_freezer(self) -> Directory | None:
        place = self._by_controller.get("freezer")
        return None if place is None else place.find_directory()

    def kill(self) -> None:
        def is_empty() -> bool:
            if not self.pids():
                return True
            self._kill_once()
            return not self.pids()

        path = self._listing().full_path
        processes.wait_until(is_empty, timeout_s=KILL_TIMEOUT_S, what="kill", path=path)

    def _kill_once(self) -> None:
        """Signal everything inside while it is frozen, so that it cannot fork away; it dies when thawed."""
        directory = self._find_freezer()
        if directory is not None:
            directory.write("freezer.state", "FROZEN")
        try:
            if self._unified is not None:
                self._unified.kill_once()
            processes.kill_listed(self.pids)
        finally:
            if directory is not None:
                directory.write("freezer.state", "THAWED")

    def pids(self, recursive: bool = True) -> list[int]:
        directory = self._listing().find_directory()
        return [] if directory is None else processes.read_pids(directory, recursive=recursive)

    def _listing(self) -> Place:
        for controller in _LISTING:
            if controller in self._by_controller:
                return self._by_controller[controller]
        return self._places[0]

    def stats(self) -> Stats:
        from sampan.kernel.cgroups import stats_v1, stats_v2

        stats = stats_v1.read_stats(self._find_directory)
        if self._unified is not None and "hugetlb" not in self._by_controller:
            stats["hugetlb"] = stats_v2.read_hugetlb(self._unified.open_directory())
        return stats

    def oom_kills(self) -> int:
        place = self._by_controller.get("memory")
        directory = None if place is None else place.find_directory()
        if directory is None:
            return 0
        from sampan.kernel.cgroups import stats_v1

        total = stats_v1.oom_kills_of(directory)
        for below in directory.walk():
            total += stats_v1.oom_kills_of(below)
        return total

    def delete(self) -> None:
        self.close()
        with Undo() as steps:  # each is tried, whatever becomes of the others
            for place in self._places:
                steps.add(place.delete)
            if self._unified is not None:
                steps.add(self._unified.delete)

    def paths(self) -> dict[str, str]:
        paths = {",".join(place.tree.controllers): place.full_path for place in self._places}
        if self._unified is not None:
            paths[""] = self._unified.full_path
        return paths

    def close(self) -> None:
        entry_fds, self._entry_fds = self._entry_fds, ()
        for fd in entry_fds:
            os.close(fd)
        for place in self._places:
            place.close()
        if self._unified is not None:
            self._unified.close()


def _nothing_to_prepare(parent: Directory, child: Directory) -> bool:
    return True


def _inherit_cpuset(parent: Directory, child: Directory) -> bool:
    """Copy processors and memory nodes from the parent where child has none: without, no process may enter.

    The kernel has done so already below a parent with `cgroup.clone_children`, as those have that we make.
    Answers False when the parent has none itself, and must be prepared first.
    Source: kernel admin-guide/cgroup-v1/cpusets.
    """
    for file in _CPUSET_FILES:
        if child.read(file).strip():
            continue
        inherited = parent.read(file).strip()
        if not inherited:
            return False
        child.write(file, inherited)
    return True
