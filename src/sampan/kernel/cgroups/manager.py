"""The contract that every cgroup driver and version keeps. Lean (decision 0002)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from sampan.fastjson import JsonValue
    from sampan.spec.runtime import LinuxDeviceCgroup, LinuxResources

    Stats = dict[str, JsonValue]

    class CgroupManager(Protocol):
        """One container's cgroup, in every tree of the machine that has to do with it.

        A value that the kernel refuses raises `InvalidArgument`, a controller that this machine lacks
        `Unsupported`; both name the field of the OCI document. Other failures are OSError, naming the file.
        """

        def create(self) -> None:
            """Make the cgroup and its missing parents; an existing one is taken as it is if it is empty.

            Raises:
                Conflict: processes are inside, or it is frozen: it belongs to something else.
            """

        def attach(self, pid: int) -> None:
            """Move a process in, from outside: about 8 ms on an idle machine (one RCU grace period)."""

        def entry_fds(self) -> tuple[int, ...]:
            r"""Return descriptors into which a single-threaded process writes b"0" to move itself in.

            They cost no grace period. Empty on v2. They belong to the manager and end with `close`.
            """

        def clone_fd(self) -> int:
            """Return the v2 directory for CLONE_INTO_CGROUP, -1 without a v2 tree; it belongs to the manager.

            Where a process cannot be cloned into it, `attach` does the same.
            """

        def apply(self, resources: LinuxResources) -> None:
            """Write every limit of resources except device rules; absent ones keep what is there."""

        def apply_devices(self, rules: Sequence[LinuxDeviceCgroup]) -> None:
            """Replace the device rules: rules are read in order, the last match wins, without one: denied."""

        def freeze(self) -> None:
            """Stop all processes and return once they have stopped."""

        def thaw(self) -> None:
            """Let all processes go on."""

        def frozen(self) -> bool:
            """Tell whether `freeze` is in force."""

        def open_frozen(self) -> int:
            """Open a file that says "1" from its start while `freeze` is in force; the caller closes it.

            Raises:
                OSError: there is none; the cgroup, or on v1 the controller freezer, is not there.
            """

        def kill(self) -> None:
            """Send SIGKILL to every process inside and return once none is left (zombies aside)."""

        def pids(self, recursive: bool = True) -> list[int]:
            """Return the processes inside, as this pid namespace numbers them; none if it is gone."""

        def stats(self) -> Stats:
            """Return usage in the shape of `data` in runc's `events --stats`."""

        def oom_kills(self) -> int:
            """Return how many processes inside the OOM killer has ended since `create`."""

        def delete(self) -> None:
            """Remove the cgroup and those below it; accepts that they are gone."""

        def paths(self) -> dict[str, str]:
            """Return the directory in each v1 tree keyed by its controllers, and the v2 one keyed by ""."""

        def close(self) -> None:
            """Close every descriptor; the manager opens them again when needed."""
