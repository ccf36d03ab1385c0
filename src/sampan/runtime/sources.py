"""What the parent opens for the child: detached mounts of root and bind sources, namespaces, null. Lean.

In the parent, because only it may reach every path of the host when the child is in a user namespace, and
because a clone made here keeps its peer group, so that `rshared` means what it says.
"""

from __future__ import annotations

import os

from sampan.errors import InvalidArgument, SampanError
from sampan.kernel import constants as k
from sampan.kernel import files, mountattrs, mountcalls, namespaces, process
from sampan.runtime.restrictions import check_null_device
from sampan.runtime.root_mounts import open_root_mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sampan.runtime.mount_plan import PlannedMount
    from sampan.runtime.requests import RootMount
    from sampan.spec.runtime import IdMap, Namespace, Spec

    Maps = tuple[tuple[IdMap, ...], tuple[IdMap, ...]]

SHORT_KINDS = {
    "mount": "mnt",
    "pid": "pid",
    "network": "net",
    "uts": "uts",
    "ipc": "ipc",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}


class Descriptors:
    """Descriptors that are all closed at the end of the block."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def add(self, fd: int) -> int:
        """Take over a descriptor and return it."""
        self._fds.append(fd)
        return fd

    def __enter__(self) -> Descriptors:
        return self

    def __exit__(self, *_error: object) -> None:
        while self._fds:
            os.close(self._fds.pop())


def open_root(path: str, root_mount: RootMount | None, *, own_mounts: bool) -> int:
    """Return the detached root mount: of layers, or a clone of path's tree; without own mounts the directory.

    Raises:
        SampanError: the directory is not there, or the layers do not fit together.
    """
    try:
        if root_mount is not None:
            return open_root_mount(root_mount)
        if not own_mounts:
            return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        fd = mountcalls.open_tree(k.AT_FDCWD, path, k.OPEN_TREE_CLONE | k.AT_RECURSIVE)
    except OSError as exc:
        raise SampanError(f"root.path: cannot use {exc.filename or path!r}: {exc.strerror}") from exc
    if not os.path.isdir(path):
        os.close(fd)
        raise InvalidArgument(f"root.path: {path!r} is not a directory")
    return fd


def open_bind(mount: PlannedMount, *, propagation: int, container_maps: Maps, fds: Descriptors) -> int:
    """Return a detached clone of a bind mount's source, idmapped if asked.

    propagation is what it gets before its own options are applied: a slave hears of the host's mounts.

    Raises:
        InvalidArgument: the source does not exist. SampanError: its file system cannot be idmapped.
    """
    fd = fds.add(_clone_source(mount, k.OPEN_TREE_CLONE | (k.AT_RECURSIVE if mount.options.bind else 0)))
    if propagation:
        mountattrs.mount_setattr(fd, "", k.AT_EMPTY_PATH | k.AT_RECURSIVE, propagation=propagation)
    if mount.maps is not None:
        _idmap(fd, mount, container_maps)
    return fd


def _clone_source(mount: PlannedMount, flags: int) -> int:
    """Clone the source, or what lies below it: resolved inside it, a container may change what is there."""
    other = _other_containers_memory(mount, flags)
    if other is not None:
        return other
    subdir = mount.options.subdir
    try:
        if not subdir:
            return mountcalls.open_tree(k.AT_FDCWD, mount.source, flags)
        with Descriptors() as fds:
            source = fds.add(os.open(mount.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            inside = fds.add(files.open_in_root(source, subdir, os.O_PATH))
            return mountcalls.open_tree(inside, "", flags | k.AT_EMPTY_PATH)
    except FileNotFoundError as exc:
        shown = f"{subdir!r} in {mount.source!r}" if subdir else f"{mount.source!r}"
        raise InvalidArgument(f"mounts: source {shown} of {mount.destination} does not exist") from exc


def _other_containers_memory(mount: PlannedMount, flags: int) -> int | None:
    """Return a clone of the /dev/shm of another process, made where it is mounted; None for other sources.

    By its path alone a link that the other container put there would lead to a place of the host.
    """
    if mount.destination != "/dev/shm":  # noqa: S108 -- inside the container
        return None
    from sampan.runtime.other_mounts import clone_from_process, split_process_path

    place = split_process_path(mount.source)
    return None if place is None else clone_from_process(*place, recursive=bool(flags & k.AT_RECURSIVE))


def open_overlay(mount: PlannedMount, fds: Descriptors) -> int:
    """Return a detached overlay with the options of one entry of `mounts`."""
    from sampan.kernel.overlay import overlay_mount

    values = dict(option.split("=", 1) for option in mount.options.data if "=" in option)
    own = ("lowerdir", "upperdir", "workdir")
    return fds.add(
        overlay_mount(
            lower=[path for path in reversed(values.get("lowerdir", "").split(":")) if path],
            upper=values.get("upperdir"),
            work=values.get("workdir"),
            options=[option for option in mount.options.data if option.partition("=")[0] not in own],
        )
    )


def _idmap(fd: int, mount: PlannedMount, container_maps: Maps) -> None:
    uid_maps, gid_maps = mount.maps if mount.maps and mount.maps[0] else container_maps
    if not uid_maps:
        raise InvalidArgument(f"mounts: {mount.destination}: idmap needs mappings, or a new user namespace")
    userns = open_user_namespace(uid_maps, gid_maps)
    try:
        flags = k.AT_EMPTY_PATH | (k.AT_RECURSIVE if mount.options.idmap else 0)
        mountattrs.mount_setattr(fd, "", flags, userns_fd=userns)
    except OSError as exc:
        raise SampanError(
            f"mounts: {mount.destination}: {mount.source!r} cannot be idmapped: {exc.strerror}"
        ) from exc
    finally:
        os.close(userns)


def open_user_namespace(uid_maps: Iterable[IdMap], gid_maps: Iterable[IdMap]) -> int:
    """Return a new user namespace with these maps; the process it takes to make one is gone again."""
    pid, pidfd = namespaces.clone(k.CLONE_NEWUSER)
    if pid == 0:
        try:
            os.read(_wait_forever(), 1)
        finally:
            os._exit(0)
    try:
        namespaces.write_id_maps(pid, triples(uid_maps), triples(gid_maps))
        return namespaces.open_namespace(pid, "user")
    finally:
        process.pidfd_send_signal(pidfd, 9)
        process.wait_pidfd(pidfd)
        os.close(pidfd)


def _wait_forever() -> int:
    """Return a descriptor whose reading never ends; the process ends with its parent."""
    process.set_pdeathsig(9)
    ours, _theirs = os.pipe()
    return ours


def triples(maps: Iterable[IdMap]) -> list[tuple[int, int, int]]:
    """Return maps as `namespaces.write_id_maps` takes them."""
    return [(line.container, line.host, line.size) for line in maps]


def open_null(fds: Descriptors) -> int:
    """Return a detached mount of the host's null device, checked: the container's own could be anything.

    It is read-only (which a device does not mind), or a chmod of a masked file would change the host's node.
    """
    fd = fds.add(mountcalls.open_tree(k.AT_FDCWD, "/dev/null", k.OPEN_TREE_CLONE))
    check_null_device(fd)
    mountattrs.mount_setattr(fd, attr_set=k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NOEXEC)
    return fd


def open_joined(spec: Spec, fds: Descriptors) -> dict[str, int]:
    """Open the namespaces that are joined by path; keyed by their type in config.json.

    Raises:
        InvalidArgument: the path is no namespace, or one of another type.
    """
    return {
        namespace.type: fds.add(_open_namespace(namespace, index))
        for index, namespace in enumerate(spec.linux.namespaces)
        if namespace.path
    }


def _open_namespace(namespace: Namespace, index: int) -> int:
    where = f"linux.namespaces[{index}].path: {namespace.path!r}"
    try:
        fd = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        raise InvalidArgument(f"{where}: {exc.strerror}") from exc
    try:
        kind = namespaces.namespace_kind(fd)
    except OSError as exc:
        os.close(fd)
        raise InvalidArgument(f"{where}: is not a namespace") from exc
    if kind != SHORT_KINDS[namespace.type]:
        os.close(fd)
        raise InvalidArgument(f"{where}: is a namespace of kind {kind}, not {namespace.type}")
    return fd
