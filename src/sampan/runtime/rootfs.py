"""The root file system, as the child builds it: root, mounts, pivot. Lean.

Nothing is mounted by path. A mount is made detached, its target is opened inside the container's root
(`RESOLVE_IN_ROOT`), and the one is attached to the other by descriptors, so a link that a running neighbour
swaps in a shared volume cannot lead a mount out of the root (CVE-2021-30465, CVE-2024-45310).
"""

from __future__ import annotations

import errno
import os
from _stat import S_ISDIR

from sampan.errors import InvalidArgument, SampanError
from sampan.kernel import constants as k
from sampan.kernel import files, mountattrs, mountcalls, mountinfo, namespaces, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from sampan.runtime.mount_options import MountOptions
    from sampan.runtime.steps import Child

    class HasRoot(Protocol):
        """Who builds a root: a container's child, or a view of one that does not run."""

        root_fd: int


_ATTACH = k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH
# Files of procfs that emulators such as lxcfs bind over; any other mount below /proc is refused, since it
# could stand in for what the runtime writes labels and sysctls to. Source: runc, libcontainer/rootfs_linux.go
_PROC_FILES = frozenset(
    (
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
        "/proc/loadavg",
        "/proc/slabinfo",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/crypto/fips_enabled",
    )
)
_FSCONFIG_VALUE = 255  # fs/fsopen.c: strndup_user(_value, 256)


def attach_root(child: HasRoot, root_mount_fd: int, propagation: int) -> None:
    """Cut this mount namespace off the host's and lay the container's root over its "/".

    propagation: what every mount becomes; 0 leaves them peers of the host's (rootfsPropagation "shared"), all
    but "/" itself, or the new root would appear on the host.

    Over "/" because a user namespace may be unable to reach the bundle's path; absolute paths of the host go
    on working, since a process's own "/" is not crossed. The fd is that of the detached root mount.
    """
    mountattrs.mount_setattr(
        k.AT_FDCWD, "/", k.AT_RECURSIVE if propagation else 0, propagation=propagation or k.MS_PRIVATE
    )
    # pivot_root refuses a shared root; linux.rootfsPropagation is applied after it.
    mountattrs.mount_setattr(root_mount_fd, "", k.AT_EMPTY_PATH, propagation=k.MS_PRIVATE)
    mountcalls.move_mount(root_mount_fd, "", k.AT_FDCWD, "/", k.MOVE_MOUNT_F_EMPTY_PATH)
    child.root_fd = root_mount_fd


def mount_file_system(
    child: Child,
    fstype: str,
    source: str,
    destination: str,
    options: MountOptions,
    fill: Callable[[int, int], None] | None,
) -> None:
    """Make a file system and attach it in the root; a missing mount point is made.

    fill(target, mount) copies what the mount will cover into it (`tmpcopyup`).
    """
    target = _open_directory_target(child.root_fd, destination, ordinary=fstype in ("proc", "sysfs"))
    try:
        _check_target(target, destination, is_proc=fstype == "proc")
        fd = make_file_system(fstype, source, options)
        try:
            if fill is not None:
                fill(target, fd)
            _finish_mount(fd, options)
            mountcalls.move_mount(fd, "", target, "", _ATTACH)
        finally:
            os.close(fd)
    finally:
        os.close(target)


def make_file_system(fstype: str, source: str, options: MountOptions) -> int:
    """Return a new detached mount; read-only is left for later where its content is still to come."""
    context = mountcalls.fsopen(fstype)
    try:
        mountcalls.fsconfig_set(context, "source", source or fstype)
        for option in options.data:
            key, equals, value = option.partition("=")
            if len(value) > _FSCONFIG_VALUE:
                raise InvalidArgument(
                    f"mount option {key} of {fstype} is longer than {_FSCONFIG_VALUE} bytes"
                )
            mountcalls.fsconfig_set(context, key, value if equals else None)
        attributes = options.attr_set
        if options.copy_up:
            attributes &= ~k.MOUNT_ATTR_RDONLY
        elif attributes & k.MOUNT_ATTR_RDONLY:
            mountcalls.fsconfig_set(context, "ro")
        mountcalls.fsconfig_create(context)
        return mountcalls.fsmount(context, attributes)
    finally:
        os.close(context)


def attach_bind(child: HasRoot, source_fd: int, destination: str, options: MountOptions) -> None:
    """Attach the detached clone of a bind mount's source; the mount point is made as what the source is."""
    if S_ISDIR(os.fstat(source_fd).st_mode):
        target = _open_directory_target(child.root_fd, destination, ordinary=False)
    else:
        target = files.touch_in_root(child.root_fd, destination)
    try:
        _check_target(target, destination, is_proc=files.file_system_type(source_fd) == k.PROC_SUPER_MAGIC)
        _finish_mount(source_fd, options)
        mountcalls.move_mount(source_fd, "", target, "", _ATTACH)
    finally:
        os.close(target)


def _finish_mount(fd: int, options: MountOptions) -> None:
    """Set attributes and propagation of a detached mount."""
    if options.tree_set or options.tree_clear:
        mountattrs.mount_setattr(
            fd, "", k.AT_EMPTY_PATH | k.AT_RECURSIVE, attr_set=options.tree_set, attr_clr=options.tree_clear
        )
    if options.attr_set or options.attr_clear:
        mountattrs.mount_setattr(
            fd, "", k.AT_EMPTY_PATH, attr_set=options.attr_set, attr_clr=options.attr_clear
        )
    for kind, recursive in options.propagation:
        mountattrs.mount_setattr(
            fd, "", k.AT_EMPTY_PATH | (k.AT_RECURSIVE if recursive else 0), propagation=kind
        )


def _open_directory_target(root_fd: int, destination: str, *, ordinary: bool) -> int:
    """Open, or make, a directory to mount on; ordinary refuses links on the way (CVE-2019-19921)."""
    target = files.mkdir_in_root(root_fd, destination)
    if not ordinary:
        return target
    os.close(target)
    try:
        return files.open_in_root(
            root_fd, destination, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=k.RESOLVE_NO_SYMLINKS
        )
    except OSError as exc:
        if exc.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise SampanError(
            f"cannot mount on {destination}: it must be an ordinary directory, not a link"
        ) from exc


def _check_target(target: int, destination: str, *, is_proc: bool) -> None:
    """Refuse to cover part of a procfs (CVE-2019-16884); another procfs may cover one as a whole."""
    if files.file_system_type(target) != k.PROC_SUPER_MAGIC:
        if destination == "/proc" and not is_proc:
            raise SampanError("cannot mount on /proc: only a procfs may be mounted there")
        return
    is_root = os.fstat(target).st_ino == k.PROC_ROOT_INO
    if not (is_root and is_proc) and destination not in _PROC_FILES:
        raise SampanError(f"cannot mount on {destination}: it is inside a procfs")


def make_link(child: Child, path: str, target: str) -> None:
    """Make a symbolic link in the root; one that is there stays."""
    folder, _, name = path.rpartition("/")
    parent = files.mkdir_in_root(child.root_fd, folder or "/")
    try:
        os.symlink(target, name, dir_fd=parent)
    except FileExistsError:
        pass
    finally:
        os.close(parent)


def make_mount_readonly(child: Child, path: str) -> None:
    """Make the mount at path read-only, without what is mounted below it."""
    fd = files.open_in_root(child.root_fd, path, os.O_PATH)
    try:
        mountattrs.mount_setattr(fd, "", k.AT_EMPTY_PATH, attr_set=k.MOUNT_ATTR_RDONLY)
    finally:
        os.close(fd)


def make_directory(child: Child, path: str) -> None:
    """Make a directory in the root, as for a working directory that the image lacks.

    Raises:
        InvalidArgument: something else is there; in Docker's words.
    """
    try:
        os.close(files.mkdir_in_root(child.root_fd, path))
    except (NotADirectoryError, FileExistsError) as exc:
        raise InvalidArgument(f"cannot mkdir: {path} is not a directory") from exc


def pivot(child: HasRoot) -> None:
    """Make the attached root this namespace's root and let go of all the host had (pivot_root(2), NOTES).

    pivot_root moves the caller's root. In a chroot that is not the namespace's, which would stay the host's:
    where setns(2) puts every exec, and where a broken chroot ends.
    """
    old_root = _open_root()
    if _enter_namespace_root(child):
        os.fchdir(old_root)  # below the attached root, where pivot_root takes it from
        os.chroot(".")
    else:
        os.close(old_root)
        old_root = _open_root()
    os.fchdir(child.root_fd)
    mountcalls.pivot_root(".", ".")
    # The old root now lies on the new one. Slave: its end must not reach the host.
    mountattrs.mount_setattr(old_root, "", k.AT_EMPTY_PATH | k.AT_RECURSIVE, propagation=k.MS_SLAVE)
    os.close(old_root)
    mountcalls.umount(".", k.MNT_DETACH)
    os.chdir("/")


def _open_root() -> int:
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _enter_namespace_root(child: HasRoot) -> bool:
    """Go to this mount namespace's own root (setns(2)); tell whether that is the attached root.

    It is, since that lies over "/", unless the caller is in a chroot.
    """
    pidfd = process.pidfd_open(os.getpid())
    try:
        namespaces.setns(pidfd, k.CLONE_NEWNS)
    finally:
        os.close(pidfd)
    return os.path.samestat(os.stat("/"), os.fstat(child.root_fd))  # no /proc to ask for mount ids here


def enter_covering_root(child: Child) -> None:
    """Enter the root that lies over the host's, for `--no-pivot`."""
    if not _enter_namespace_root(child):
        raise SampanError(
            "cannot start without pivot_root from inside a chroot: the container could leave its root",
            hint="leave --no-pivot out",
        )
    os.chdir("/")


def change_root(child: Child) -> None:
    """Enter the root by chroot, for a container without a mount namespace of its own."""
    os.fchdir(child.root_fd)
    os.chroot(".")
    os.chdir("/")


def hide_host_mounts(child: Child) -> None:
    """Before a chroot: unmount the host's procfs and sysfs, which would show through a broken chroot."""
    everything = mountinfo.read_mountinfo("self")
    parents = {info.mount_id: info.parent_id for info in everything}
    own = mountattrs.mount_id(child.root_fd)
    for info in reversed(everything):
        if info.fstype in ("proc", "sysfs") and not _is_below(info.mount_id, own, parents):
            mountcalls.umount(info.mount_point, k.MNT_DETACH | k.UMOUNT_NOFOLLOW)


def _is_below(mount_id: int, ancestor: int, parents: dict[int, int]) -> bool:
    while mount_id != ancestor:
        if mount_id not in parents:
            return False
        mount_id = parents[mount_id]
    return True


def set_root_propagation(child: Child, kind: int, recursive: bool) -> None:
    """Apply linux.rootfsPropagation."""
    mountattrs.mount_setattr(k.AT_FDCWD, "/", k.AT_RECURSIVE if recursive else 0, propagation=kind)


def make_root_readonly(child: HasRoot) -> None:
    """Make the root mount read-only; what is mounted below stays as it is."""
    mountattrs.mount_setattr(k.AT_FDCWD, "/", 0, attr_set=k.MOUNT_ATTR_RDONLY)
