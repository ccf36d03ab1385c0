"""What `sampan explain` tells: each thing done, with its time, from parent and child. Lean.

Off, it costs one test of a variable in each method. The moments of the child come with its `ready` message.
"""

from __future__ import annotations

import time

from sampan.runtime.requests import Plank

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sampan.fastjson import JsonValue
    from sampan.kernel.cgroups import CgroupManager
    from sampan.runtime.steps import Step
    from sampan.spec.runtime import LinuxResources


class Reporter:
    """Adds planks to a list, or does nothing when there is none."""

    def __init__(self, planks: list[Plank] | None) -> None:
        self.wanted = planks is not None
        self._planks = planks if planks is not None else []
        self._begun_ns = 0

    def cgroup(self, manager: CgroupManager, resources: LinuxResources, begun_ns: int) -> None:
        """Tell of a cgroup and the limits written to it."""
        if self.wanted:
            spent = time.monotonic_ns() - begun_ns
            places = ", ".join(sorted(set(manager.paths().values())))
            self._add("may", f"cgroup {places}: {_describe(resources)}", spent)

    def begin(self) -> None:
        """Mark the moment before the clone."""
        if self.wanted:
            self._begun_ns = time.monotonic_ns()

    def cloned(self, kinds: Iterable[str], pid: int) -> None:
        """Tell of the new process and its namespaces."""
        if self.wanted:
            now = time.monotonic_ns()
            text = f"process {pid} in new namespaces: {' '.join(sorted(kinds)) or 'none'}"
            self._add("process", text, now - self._begun_ns)
            self._begun_ns = now

    def child_done(self, steps: tuple[Step, ...], moments: JsonValue) -> None:
        """Tell of the child's steps; moments are its monotonic clock in ns after each."""
        if not self.wanted or not isinstance(moments, list):
            return
        before = self._begun_ns
        for step, moment in zip(steps, moments, strict=True):
            assert isinstance(moment, int)  # our own child wrote it
            if step.plank:
                self._add(step.plank, step.label, max(0, moment - before))
            before = moment

    def started(self) -> None:
        """Tell of the program, from `start` to execve."""
        if self.wanted:
            self._add("process", "start: the program runs", time.monotonic_ns() - self._begun_ns)

    def _add(self, plank: str, text: str, spent_ns: int) -> None:
        self._planks.append(Plank(plank=plank, text=text, microseconds=spent_ns // 1000))


def _describe(resources: LinuxResources) -> str:
    """Name the limits that are set, as `memory.limit=1048576`."""
    words = []
    for group in ("memory", "cpu", "pids", "block_io"):
        values = getattr(resources, group)
        for name, value in vars(values).items() if values is not None else ():
            if value not in (None, "", ()):
                words.append(f"{group}.{name}={value}")
    words += [f"{key}={value}" for key, value in resources.unified.items()]
    words.append(f"{len(resources.devices)} device rules")
    return ", ".join(words)
