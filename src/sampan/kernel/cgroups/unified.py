"""A cgroup in a v2 tree: what the managers of v2 and of hybrid machines share. Lean (decision 0002)."""

from __future__ import annotations

import errno
import os

from sampan.errors import Conflict, Unsupported
from sampan.kernel.cgroups import processes
from sampan.kernel.cgroups.values import keyed
from sampan.lean import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.kernel.cgroups.directory import Directory
    from sampan.kernel.cgroups.place import Place

FREEZE_TIMEOUT_S = 10.0
KILL_TIMEOUT_S = 10.0
_NO_INTERNAL_PROCESSES = "its children have controllers, so it may hold no processes itself (cgroups(7))"


class UnifiedPart:
    """A cgroup in the v2 tree, with the controllers that were asked for where they can be had."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._refused = ""

    @property
    def full_path(self) -> str:
        """Return the path of the cgroup as seen by this process."""
        return self._place.full_path

    def create(self, *, controllers: Sequence[str], shared: bool = False) -> None:
        """Make the cgroup with controllers, as far as its parents give them.

        A controller that cannot be had is no error here: one is raised when a limit of it is asked for.
        shared: one with processes inside is taken, too.

        Raises:
            Conflict: the cgroup is there already, with processes inside.
            Unsupported: the parent is a threaded cgroup, which takes single threads only.
        """
        made = self._make(controllers)
        with Undo() as undo:
            undo.add(self.close)
            for new in made:
                undo.add(new.withdraw)
            directory = self._place.directory()
            if not made and not shared:
                processes.check_unused(directory)
            kind = directory.read("cgroup.type").strip()
            if kind not in ("domain", "domain threaded"):
                raise Unsupported(
                    f"cgroup {self.full_path} would be {kind!r}: its parent is a threaded cgroup",
                    hint="choose a cgroup path whose parents are not threaded (cgroups(7), thread mode)",
                )
            undo.commit()

    def _make(self, controllers: Sequence[str]) -> list[Place]:
        wanted = frozenset(controllers)

        def prepare(parent: Directory, child: Directory) -> bool:
            if wanted and not wanted.issubset(child.read("cgroup.controllers").split()):
                self._enable(parent, wanted)
                return wanted.issubset(child.read("cgroup.controllers").split())
            return True

        return self._place.create(prepare)

    def enable(self, controller: str) -> None:
        """Turn on one more controller on the way down to the cgroup, as far as possible."""
        self._make((controller,))

    def _enable(self, parent: Directory, controllers: frozenset[str]) -> None:
        """Hand controllers of parent on to its children: all in one write, else one by one.

        A parent with processes would refuse some of them and be made a threaded cgroup by the others, for
        good: it is left alone. The root, which has no cgroup.type, may have both.
        """
        if parent.find("cgroup.type") is not None and (parent.find("cgroup.procs") or "").strip():
            self._refused = f"{parent.path} has processes of its own, and then it cannot hand controllers on"
            return
        have = sorted(controllers.intersection(parent.read("cgroup.controllers").split()))
        try:
            if have:
                parent.write("cgroup.subtree_control", " ".join(f"+{name}" for name in have))
            return
        except OSError:
            pass  # one that is refused refuses the whole line
        for name in have:
            try:
                parent.write("cgroup.subtree_control", f"+{name}")
            except OSError as exc:
                if exc.errno not in (errno.EBUSY, errno.EOPNOTSUPP, errno.ENOENT, errno.EINVAL, errno.EACCES):
                    raise
                self._refused = _why_refused(parent, exc)

    def find_directory(self, controller: str) -> Directory | None:
        """Return the directory if the cgroup has the controller, else None.

        Raises:
            Conflict: the machine has the controller, but a parent cannot hand it on.
        """
        directory = self._place.directory()
        if controller == "cgroup" or controller in directory.read("cgroup.controllers").split():
            return directory
        if self._refused and controller in self._place.tree.controllers:
            raise Conflict(
                f"the cgroup controller {controller} cannot be used in {self.full_path}: {self._refused}",
                hint="choose a cgroup path below a cgroup without processes of its own",
            )
        return None

    def open_directory(self) -> Directory:
        """Return the opened directory; it belongs to this object."""
        return self._place.directory()

    def attach(self, pid: int) -> None:
        """Move a process in.

        Raises:
            Conflict: the cgroup has children with controllers, so it may hold no processes itself.
        """
        try:
            processes.attach(self._place.directory(), pid)
        except OSError as exc:
            if exc.errno != errno.EBUSY:
                raise
            raise Conflict(f"cannot move a process into {self.full_path}: {_NO_INTERNAL_PROCESSES}") from exc

    def clone_fd(self) -> int:
        """Return the directory for CLONE_INTO_CGROUP."""
        return self._place.directory().fd

    def freeze(self) -> None:
        """Stop everything inside and return once it has stopped; after ten seconds let it go on and fail."""
        directory = self._place.directory()
        directory.write("cgroup.freeze", "1")
        try:
            processes.wait_until(
                lambda: _events(directory).get("frozen") == "1",
                timeout_s=FREEZE_TIMEOUT_S,
                what="freeze",
                path=directory.path,
            )
        except OSError:
            directory.write("cgroup.freeze", "0")
            raise

    def thaw(self) -> None:
        """Let everything inside go on."""
        self._place.directory().write("cgroup.freeze", "0")

    def frozen(self) -> bool:
        """Tell whether this cgroup itself is to be frozen."""
        directory = self._place.find_directory()
        return directory is not None and (directory.find("cgroup.freeze") or "").strip() == "1"

    def open_frozen(self) -> int:
        """Open the file that says whether it is to be frozen."""
        return self._place.directory().open("cgroup.freeze", os.O_RDONLY)

    def kill(self) -> None:
        """Kill everything inside, however often, and return once nothing is left."""
        directory = self._place.find_directory()
        if directory is None:
            return

        def is_empty() -> bool:
            if _events(directory).get("populated", "0") == "0":
                return True
            if not self.kill_once():
                processes.kill_listed(self.pids)
            return False

        processes.wait_until(is_empty, timeout_s=KILL_TIMEOUT_S, what="kill", path=directory.path)

    def kill_once(self) -> bool:
        """Send SIGKILL to everything inside, forks included; answer False where the kernel cannot.

        That is before Linux 5.14, and for threaded cgroups.
        """
        directory = self._place.find_directory()
        if directory is None:
            return True
        try:
            directory.write("cgroup.kill", "1")
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
                raise
            return False
        return True

    def pids(self, *, recursive: bool = True) -> list[int]:
        """Return the processes inside."""
        directory = self._place.find_directory()
        return [] if directory is None else processes.read_pids(directory, recursive=recursive)

    def oom_kills(self) -> int:
        """Return how many processes inside the OOM killer has ended."""
        directory = self._place.find_directory()
        return 0 if directory is None else keyed(directory.find("memory.events")).get("oom_kill", 0)

    def delete(self) -> None:
        """Remove the cgroup and those below it."""
        self._place.delete()

    def close(self) -> None:
        """Close the directory."""
        self._place.close()


def _events(directory: Directory) -> dict[str, str]:
    """Return cgroup.events; of a cgroup that is gone, nothing."""
    text = directory.find("cgroup.events") or ""
    return dict(line.split(" ", 1) for line in text.splitlines())


def _why_refused(parent: Directory, exc: OSError) -> str:
    if exc.errno == errno.EOPNOTSUPP:
        return f"{parent.path} is a threaded cgroup"
    return f"{parent.path} refuses it: {exc.strerror}"
