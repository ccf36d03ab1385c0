"""Storage drivers: what puts a container's root together out of layers. docs/store.md, "Storage drivers".

| driver | a root is | what was changed is |
|---|---|---|
| overlay2 | the kernel's overlay of the layers and an upper directory | the upper directory |
| fuse-overlayfs | the same, put together by a program | the upper directory, less that program's own marks |
| vfs | a copy of the layers' tree | found by comparing |

Layers are the same for all of them, so a container keeps its driver while others get another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from sampan.errors import SampanError, Unavailable
from sampan.kernel import fuse_overlay
from sampan.kernel.namespaces import in_initial_user_namespace
from sampan.kernel.overlay import overlay_mount
from sampan.lean import Undo
from sampan.store.archive.attributes import is_opaque
from sampan.store.archive.walking import walk
from sampan.store.inherit import copy_attributes
from sampan.store.places import Places
from sampan.store.plain_roots import collect_changes, copy_layers
from sampan.store.trees import remove_tree

OVERLAY: Final = "overlay2"
FUSE_OVERLAY: Final = fuse_overlay.PROGRAM
PLAIN: Final = "vfs"
AUTO: Final = "auto"
NAMES: Final = (OVERLAY, FUSE_OVERLAY, PLAIN)

# Plain upper directories that can become a layer as they lie: no renames or data hidden in overlay's own
# attributes. As Docker and containerd mount them where the kernel's defaults differ.
OVERLAY_OPTIONS: Final = ("index=off", "redirect_dir=off", "metacopy=off")
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# In an opaque directory fuse-overlayfs leaves these beside the attribute, which alone means the same to it.
_OWN_MARKS: Final = (b".wh..wh..opq", b".wh..opq")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a container's root is made of; all paths are absolute. With vfs, upper is the whole root."""

    lower: tuple[str, ...]  # lowest first, the init layer last
    upper: str
    work: str
    root: str  # an empty directory to mount on
    driver: str = OVERLAY
    options: tuple[str, ...] = OVERLAY_OPTIONS


class Snapshotter(Protocol):
    """A storage driver; thread-safe."""

    def fill(self, snapshot: Snapshot) -> None:
        """Make upper and work of a new snapshot; on an error nothing is left.

        Raises:
            OSError: the disk is full.
        """
        ...

    def shown(self, snapshot: Snapshot) -> Sequence[str]:
        """Return directories in overlayfs's form, highest first: together what the container sees."""
        ...

    def changes(self, snapshot: Snapshot) -> AbstractContextManager[str]:
        """Give a directory of what differs from the layers, in overlayfs's form; it may be renamed away."""
        ...


class _Overlay:
    """Layers that the kernel puts together."""

    def fill(self, snapshot: Snapshot) -> None:
        with Undo() as undo:
            for path in (snapshot.upper, snapshot.work):
                os.mkdir(path, 0o700)
                undo.add(os.rmdir, path)
            _copy_root_attributes(snapshot.lower[-1], snapshot.upper)
            undo.commit()

    def shown(self, snapshot: Snapshot) -> Sequence[str]:
        return [snapshot.upper, *reversed(snapshot.lower)]

    @contextmanager
    def changes(self, snapshot: Snapshot) -> Iterator[str]:
        yield snapshot.upper


class _FuseOverlay(_Overlay):
    """Layers that fuse-overlayfs puts together."""

    @contextmanager
    def changes(self, snapshot: Snapshot) -> Iterator[str]:
        _remove_own_marks(snapshot.upper)
        yield snapshot.upper


class _Plain:
    """Copies of a tree; the work directory's time says when the copy was whole."""

    def __init__(self, new_temporary: Callable[[str], str]) -> None:
        self._new_temporary = new_temporary

    def fill(self, snapshot: Snapshot) -> None:
        with Undo() as undo:
            os.mkdir(snapshot.upper, 0o700)
            undo.add(remove_tree, snapshot.upper)
            copy_layers(snapshot.lower, snapshot.upper)
            os.mkdir(snapshot.work, 0o700)
            undo.commit()

    def shown(self, snapshot: Snapshot) -> Sequence[str]:
        return [snapshot.upper]

    @contextmanager
    def changes(self, snapshot: Snapshot) -> Iterator[str]:
        folder = self._new_temporary("changes")
        os.mkdir(folder, 0o700)
        try:
            made_ns = os.stat(snapshot.work).st_mtime_ns
            collect_changes(snapshot.upper, snapshot.lower, folder, made_ns=made_ns)
            yield folder
        finally:
            remove_tree(folder)


class Snapshotters:
    """The storage drivers of a data root, and the one that new containers get."""

    def __init__(self, places: Places, wanted: str) -> None:
        self._places = places
        self._wanted = wanted
        self._chosen = ""
        self._known: dict[str, Snapshotter] = {
            OVERLAY: _Overlay(),
            FUSE_OVERLAY: _FuseOverlay(),
            PLAIN: _Plain(places.new_temporary),
        }

    def of(self, snapshot: Snapshot) -> Snapshotter:
        """Return the driver that a snapshot was made with."""
        try:
            return self._known[snapshot.driver]
        except KeyError:
            raise SampanError(f"storage driver {snapshot.driver!r} is unknown") from None

    def choose(self) -> str:
        """Return the driver for new containers: the wanted one, or the first that works here.

        Raises:
            Unavailable: the wanted one does not work on this machine and data root.
        """
        if not self._chosen:
            self._chosen = self._choose()
        return self._chosen

    def _choose(self) -> str:
        if self._wanted == PLAIN:
            return PLAIN
        reasons = {}
        for name, find_obstacle in ((OVERLAY, self._try_overlay), (FUSE_OVERLAY, self._try_fuse)):
            if self._wanted in (AUTO, name):
                reasons[name] = find_obstacle()
                if not reasons[name]:
                    return name
        if self._wanted == AUTO:
            return PLAIN
        raise Unavailable(
            f"storage driver {self._wanted} cannot be used: {reasons[self._wanted]}",
            hint="--storage-driver auto takes the first that works here",
        )

    def _try_overlay(self) -> str:
        return self._try(
            lambda lower, upper, work: overlay_mount(
                lower=[lower], upper=upper, work=work, options=overlay_options()
            )
        )

    def _try_fuse(self) -> str:
        if not fuse_overlay.find_program():
            return "the program fuse-overlayfs is not installed (apt-get install fuse-overlayfs)"
        try:
            os.close(os.open(fuse_overlay.DEVICE, os.O_RDWR | os.O_CLOEXEC))
        except OSError as exc:
            return f"{fuse_overlay.DEVICE}: {exc.strerror} (modprobe fuse)"
        return ""

    def _try(self, mount: Callable[[str, str, str], int]) -> str:
        """Mount a small overlay and remove a file in it; return what the kernel has against it."""
        folder = self._places.new_temporary("try")
        try:
            os.mkdir(folder, 0o700)
            for name in ("lower", "upper", "work"):
                os.mkdir(f"{folder}/{name}", 0o700)
            os.close(os.open(f"{folder}/lower/file", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            base = os.open(folder, _DIRECTORY)
            try:  # by a short way, whatever the data root's path: see `overlay_mount`
                short = f"/proc/self/fd/{base}"
                fd = mount(f"{short}/lower", f"{short}/upper", f"{short}/work")
            finally:
                os.close(base)
            try:
                os.unlink(f"/proc/self/fd/{fd}/file")
            finally:
                os.close(fd)
        except OSError as exc:
            return str(exc)
        finally:
            remove_tree(folder)
        return ""


def overlay_options() -> tuple[str, ...]:
    """Return overlayfs's options for us: in a user namespace it keeps its marks in attributes of users.

    It has neither redirects nor metacopy then, and refuses to be told.
    """
    return OVERLAY_OPTIONS if in_initial_user_namespace() else ("index=off", "userxattr")


def _copy_root_attributes(source: str, target: str) -> None:
    """The root of an overlay shows its upper directory's attributes: give it those of the layer below."""
    source_fd = os.open(source, _DIRECTORY)
    try:
        target_fd = os.open(target, _DIRECTORY)
        try:
            copy_attributes(source_fd, target_fd)
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


def _remove_own_marks(upper: str) -> None:
    fd = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for found in walk(fd, shown=b""):
            if found.leaving and is_opaque(found.fd):
                status = os.fstat(found.fd)
                for name in _OWN_MARKS:
                    try:
                        os.unlink(name, dir_fd=found.fd)
                    except FileNotFoundError:
                        continue
                os.utime(found.fd, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(fd)
