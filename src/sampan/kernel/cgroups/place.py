"""A cgroup's directory in one tree: how it is made, found again and removed. Lean (decision 0002)."""

from __future__ import annotations

import errno
import os
import time

from sampan.errors import InvalidArgument
from sampan.kernel.cgroups.directory import Directory, clean_path, open_below, open_root
from sampan.lean import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.kernel.cgroups.hierarchy import Tree

    # Called with (parent, child) for the cgroup and for each of its parents that had to be made or mended;
    # answers whether child is ready for use.
    Prepare = Callable[[Directory, Directory], bool]

REMOVE_TIMEOUT_S = 5.0
_FIRST_PAUSE_S = 0.0002
_LONGEST_PAUSE_S = 0.02


class Place:
    """One directory below the mount point of a tree; opened when first needed."""

    __slots__ = ("_directory", "path", "tree")

    def __init__(self, tree: Tree, path: str) -> None:
        """Name the cgroup at path, relative to the mount point and clean; nothing is opened yet."""
        self.tree = tree
        self.path = path
        self._directory: Directory | None = None

    @property
    def full_path(self) -> str:
        """Return the path as seen by this process."""
        return f"{self.tree.mount_point}/{self.path}"

    def directory(self) -> Directory:
        """Return the opened directory; it stays open until `close`."""
        if self._directory is None:
            root = open_root(self.tree)
            try:
                self._directory = open_below(root, self.path)
            finally:
                root.close()
        return self._directory

    def find_directory(self) -> Directory | None:
        """Return the opened directory, or None when the cgroup does not exist."""
        try:
            return self.directory()
        except FileNotFoundError:
            return None

    def create(self, prepare: Prepare) -> list[Place]:
        """Make the cgroup and its missing parents; return those made, outermost first: none if it was there.

        The usual case, a parent that is there and ready, is tried first; else the path is walked from the
        root and every cgroup on it prepared.
        """
        root = open_root(self.tree)
        try:
            if self._create_in_ready_parent(root, prepare):
                return [self]
            return self._create_by_walk(root, prepare)
        finally:
            root.close()

    def _create_in_ready_parent(self, root: Directory, prepare: Prepare) -> bool:
        parent_path, _, name = self.path.rpartition("/")
        try:
            parent = open_below(root, parent_path)
        except FileNotFoundError:
            return False
        try:
            if not parent.make_child(name):
                return False
            with Undo() as undo:
                undo.add(parent.remove_child, name)
                child = parent.child(name)
                undo.add(child.close)
                if prepare(parent, child):
                    self._keep(child)
                    undo.commit()
                    return True
            return False
        finally:
            parent.close()

    def _create_by_walk(self, root: Directory, prepare: Prepare) -> list[Place]:
        path = ""
        made: list[Place] = []
        here = Directory(os.dup(root.fd), root.path)
        with Undo() as undo:
            for name in self.path.split("/"):
                path = f"{path}/{name}" if path else name
                try:
                    if here.make_child(name):
                        made.append(Place(self.tree, path))
                        undo.add(made[-1].withdraw)
                    child = here.child(name)
                    undo.add(child.close)
                    prepare(here, child)
                finally:
                    here.close()
                here = child
            self._keep(here)
            undo.commit()
        return made

    def _keep(self, directory: Directory) -> None:
        self.close()
        self._directory = directory

    def withdraw(self) -> None:
        """Remove a cgroup that was just made, unless somebody uses it by now: parents are shared."""
        self._remove_with(_remove_unused)

    def delete(self) -> None:
        """Remove the cgroup and those below it; accepts that it is gone.

        Raises:
            OSError: EBUSY: processes are still inside after five seconds.
        """
        self._remove_with(_remove)

    def _remove_with(self, remove: Callable[[Directory, str], None]) -> None:
        self.close()
        parent_path, _, name = self.path.rpartition("/")
        try:
            root = open_root(self.tree)
        except FileNotFoundError:
            return
        try:
            parent = open_below(root, parent_path)
        except FileNotFoundError:
            return
        finally:
            root.close()
        try:
            remove(parent, name)
        finally:
            parent.close()

    def close(self) -> None:
        """Close the directory; it is opened again when needed."""
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.close()


def _remove_unused(parent: Directory, name: str) -> None:
    try:
        parent.remove_child(name)
    except OSError as exc:
        if exc.errno != errno.EBUSY:
            raise


def _remove(parent: Directory, name: str) -> None:
    """Remove a child and all below it; a process that is just ending keeps its cgroup busy for a moment."""
    deadline = time.monotonic() + REMOVE_TIMEOUT_S
    pause = _FIRST_PAUSE_S
    while True:
        try:
            parent.remove_child(name)
            return
        except OSError as exc:
            if exc.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        try:
            child = parent.child(name)
        except FileNotFoundError:
            return
        try:
            if child.children():
                child.remove_children()
                continue
        except OSError as exc:
            if exc.errno != errno.EBUSY:
                raise
        finally:
            child.close()
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def find_place(tree: Tree, path: str, *, beside: bool) -> Place:
    """Return where a clean path lies in a tree: absolute from its mount point, else below our own cgroup.

    beside: a relative path starts at the parent of our own cgroup.
    """
    if path.startswith("/"):
        return Place(tree, path[1:])
    base = tree.own.rpartition("/")[0] if beside else tree.own
    return Place(tree, f"{base}/{path}" if base else path)


def known_place(tree: Tree, full_path: str) -> Place:
    """Return the place of a path that `Place.full_path` gave before.

    Raises:
        InvalidArgument: the path is not below the tree's mount point.
    """
    prefix = f"{tree.mount_point}/"
    if not full_path.startswith(prefix):
        raise InvalidArgument(f"cgroup path {full_path!r} is not below {tree.mount_point}")
    return Place(tree, clean_path(full_path[len(prefix) :]).lstrip("/"))
