"""The driver that has systemd make the cgroup, as a scope. Lean (decision 0002); docs/cgroups.md, "systemd".

systemd makes no scope without a process, and removes one whose last process ends. So `create` puts a keeper
into it: a fork that only waits. Once the container's own process is inside, `close` ends the keeper. It dies
with its parent: a creator killed by kill -9 leaves a scope without processes, which systemd removes.
"""

from __future__ import annotations

import os

from sampan.errors import Conflict, Unavailable
from sampan.kernel import process
from sampan.kernel.cgroups import open_files
from sampan.kernel.cgroups.devices import parse_rules
from sampan.kernel.cgroups.systemd_bus import Systemd
from sampan.kernel.cgroups.unit_properties import plan_device_properties, plan_properties
from sampan.kernel.cgroups.units import UnitPath, parse_unit_path
from sampan.lean import Undo, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from signal import SIGKILL, pause

    from sampan.kernel.cgroups import CgroupManager, FilesManager, Hierarchy
    from sampan.kernel.cgroups.manager import Stats
    from sampan.kernel.cgroups.unit_properties import Property
    from sampan.spec.runtime import LinuxDeviceCgroup, LinuxResources
else:
    from _signal import SIGKILL, pause  # `signal` imports enum


def open_unit(hierarchy: Hierarchy, raw_path: str) -> CgroupManager:
    """Return the manager of the scope at `slice:prefix:name`; of a cgroup inside it for `…/below`.

    Root's containers are units of the machine's systemd, in system.slice unless the path says another. A
    user's are units of the user's own systemd, in its user.slice.

    Raises:
        InvalidArgument: the path is wrong. Unavailable: a user's systemd does not answer.
    """
    is_root = os.geteuid() == 0
    path = parse_unit_path(raw_path, default_slice="system.slice" if is_root else "user.slice")
    systemd = Systemd()
    base = "" if is_root else systemd.root()
    files = open_files(hierarchy, f"/{base}/{path.cgroup}" if base else f"/{path.cgroup}")
    if path.below:
        systemd.close()
        return files  # delegated: ours to manage
    return SystemdManager(files, path, systemd, v2=hierarchy.kind == "v2")


class SystemdManager:
    """See `CgroupManager`. systemd is told every limit that it has a property for; then the files follow."""

    def __init__(self, files: FilesManager, path: UnitPath, systemd: Systemd, *, v2: bool) -> None:
        """Manage the scope at path, whose files the manager files writes."""
        self._files = files
        self._path = path
        self._systemd = systemd
        self._v2 = v2
        self._keeper = 0
        self._postponed: LinuxResources | None = None

    def create(self) -> None:
        if any(os.path.isdir(path) for path in self._files.paths().values()) and self._files.pids():
            raise Conflict(
                f"unit {self._path.unit} is in use by other processes", hint="choose another cgroupsPath"
            )
        with Undo() as undo:
            self._keeper = _fork_keeper()
            undo.add(self._systemd.close)
            undo.add(self._end_keeper)
            self._systemd.start_scope(self._path.unit, self._start_properties())
            undo.add(self._systemd.stop, self._path.unit)
            self._files.create(shared=True)
            if not self._v2:
                # In v1 trees that its properties do not need, systemd removes what is empty.
                self._files.attach(self._keeper)
            undo.commit()

    def _start_properties(self) -> list[Property]:
        accounting = ("Memory", "CPU", "Tasks", "IO" if self._v2 else "BlockIO")
        return [
            ("Description", ("s", f"sampan container {self._path.unit}")),
            ("Slice", ("s", self._path.slice)),
            ("Delegate", ("b", True)),
            ("PIDs", ("au", [self._keeper])),
            *((f"{name}Accounting", ("b", True)) for name in accounting),
            ("DefaultDependencies", ("b", False)),
        ]

    def _end_keeper(self) -> None:
        keeper, self._keeper = self._keeper, 0
        self._postponed = None
        if keeper:
            os.kill(keeper, SIGKILL)
            try:
                os.waitpid(keeper, 0)
            except ChildProcessError:
                pass  # somebody who waits for any child was sooner

    def attach(self, pid: int) -> None:
        self._files.attach(pid)

    def entry_fds(self) -> tuple[int, ...]:
        return self._files.entry_fds()

    def clone_fd(self) -> int:
        return self._files.clone_fd()

    def apply(self, resources: LinuxResources) -> None:
        if self._keeper and resources.pids is not None and resources.pids.limit > 0:
            # The keeper counts while it is there; `close` sets what was asked for.
            self._postponed = type(resources)(pids=resources.pids)
            resources = replace(resources, pids=replace(resources.pids, limit=resources.pids.limit + 1))
        self._apply(resources)

    def _apply(self, resources: LinuxResources) -> None:
        self._files.check(resources)
        cpu = resources.cpu
        by_version = any((cpu.idle, cpu.quota, cpu.period, cpu.cpus, cpu.mems, resources.unified))
        version = self._systemd.version() if by_version else 0  # the question costs a round trip
        self._set(plan_properties(resources, v2=self._v2, version=version))
        self._files.apply(resources)

    def apply_devices(self, rules: Sequence[LinuxDeviceCgroup]) -> None:
        with open("/proc/devices", encoding="ascii") as file:
            drivers = file.read()
        self._set(plan_device_properties(parse_rules(rules), drivers))
        self._files.apply_devices(rules)

    def _set(self, properties: Sequence[Property]) -> None:
        """Change the unit; on v1 systemd denies every device for a moment, which nobody inside may meet.

        Whatever is changed, systemd may write a quota again, as it keeps it: in whole percent.
        """
        if not properties:
            return
        quota = self._files.quota()
        pause_it = not self._v2 and not self._keeper and not self._files.frozen()
        if pause_it:
            self._files.freeze()
        try:
            self._systemd.set_properties(self._path.unit, properties)
        finally:
            if pause_it:
                self._files.thaw()
        self._files.write(quota)

    def freeze(self) -> None:
        self._files.freeze()

    def thaw(self) -> None:
        self._files.thaw()

    def frozen(self) -> bool:
        return self._files.frozen()

    def open_frozen(self) -> int:
        return self._files.open_frozen()

    def kill(self) -> None:
        self._files.kill()

    def pids(self, recursive: bool = True) -> list[int]:
        return [pid for pid in self._files.pids(recursive=recursive) if pid != self._keeper]

    def stats(self) -> Stats:
        return self._files.stats()

    def oom_kills(self) -> int:
        return self._files.oom_kills()

    def delete(self) -> None:
        self._end_keeper()
        with Undo() as steps:  # the directories that systemd did not make go in any case
            steps.add(self._files.delete)
            try:
                self._systemd.stop(self._path.unit)
            except Unavailable:
                if self._files.pids():
                    raise
                # Without processes there is nothing to stop, and no systemd that could keep a unit.

    def paths(self) -> dict[str, str]:
        return self._files.paths()

    def close(self) -> None:
        try:
            if self._postponed is not None:
                postponed = self._postponed
                self._end_keeper()
                self._apply(postponed)
            self._end_keeper()
        finally:
            self._files.close()
            self._systemd.close()


def _fork_keeper() -> int:
    """Fork a process that waits until it is killed or we end; return its pid. We have one thread."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        process.set_pdeathsig(SIGKILL)
        process.close_range(0)
        os.setsid()
        while os.getppid() == parent:
            pause()
    finally:
        os._exit(0)
