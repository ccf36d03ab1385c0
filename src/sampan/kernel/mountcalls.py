"""The mount system calls, one function each: mount(2) and the calls on mount descriptors (Linux 5.2).

Every descriptor returned is close-on-exec. `sampan.kernel.mounts` is the door to this module.
"""

from __future__ import annotations

import errno
import os

from sampan.kernel.constants import (
    AT_FDCWD,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FD,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MOVE_MOUNT_F_EMPTY_PATH,
    OPEN_TREE_CLOEXEC,
)
from sampan.kernel.syscall import POINTER, WORD, Call, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.kernel.syscall import StrPath

_mount = Call("mount", POINTER, POINTER, POINTER, WORD, POINTER)
_umount2 = Call("umount2", POINTER, WORD)
_pivot_root = Call("pivot_root", POINTER, POINTER)
_open_tree = Call("open_tree", WORD, POINTER, WORD)
_move_mount = Call("move_mount", WORD, POINTER, WORD, POINTER, WORD)
_fsopen = Call("fsopen", POINTER, WORD)
_fsconfig = Call("fsconfig", WORD, WORD, POINTER, POINTER, WORD)
_fsmount = Call("fsmount", WORD, WORD, WORD)
_MAX_DATA = os.sysconf("SC_PAGE_SIZE") - 1  # fs/namespace.c, copy_mount_options: one page with its NUL


def mount(
    source: StrPath | None,
    target: StrPath,
    fstype: str | None = None,
    flags: int = 0,
    data: StrPath | None = None,
) -> None:
    """Mount, remount, bind, move or change propagation, as mount(2) does; flags are `MS_*`.

    Raises:
        OSError: errno is set, filename is target, the text names source. The kernel cuts data past one page
            without a word, so longer data is refused here with EINVAL.
    """
    raw_data = encode(data)
    if raw_data is not None and len(raw_data) > _MAX_DATA:
        what = f"mount: {len(raw_data)} bytes of options, the kernel takes {_MAX_DATA}"
        raise OSError(errno.EINVAL, what, os.fspath(target))
    try:
        _mount(encode(source), encode(target), encode(fstype), flags, raw_data, path=target)
    except OSError as exc:
        if source is None:
            raise
        # Either of the two may be what is missing.
        what = f"mount {os.fsdecode(source)!r}: {os.strerror(exc.errno or 0)}"
        raise OSError(exc.errno, what, os.fspath(target)) from exc


def umount(target: StrPath, flags: int = 0) -> None:
    """Detach the mount at target, as umount2(2) does; flags are `MNT_*` and `UMOUNT_NOFOLLOW`.

    Raises:
        OSError: errno and filename are set; EINVAL means target is no mount point.
    """
    _umount2(encode(target), flags, path=target)


def pivot_root(new_root: StrPath, put_old: StrPath) -> None:
    """Make new_root the root of the calling process's mount namespace, as pivot_root(2) does.

    `pivot_root(".", ".")` stacks the old root on the new one; `umount(".", MNT_DETACH)` then drops it.
    """
    _pivot_root(encode(new_root), encode(put_old), path=new_root)


def open_tree(dirfd: int, path: StrPath, flags: int = 0) -> int:
    """Open the mount at path, with OPEN_TREE_CLONE a detached copy of it, as open_tree(2) does."""
    return _open_tree(dirfd, encode(path), flags | OPEN_TREE_CLOEXEC, path=path)


def move_mount(
    from_fd: int,
    from_path: StrPath = "",
    to_fd: int = AT_FDCWD,
    to_path: StrPath = "",
    flags: int = MOVE_MOUNT_F_EMPTY_PATH,
) -> None:
    """Attach or move a mount, as move_mount(2) does.

    The default takes the mount that from_fd is itself. To attach at what to_fd is, pass to_path ""
    and add MOVE_MOUNT_T_EMPTY_PATH.
    """
    _move_mount(from_fd, encode(from_path), to_fd, encode(to_path), flags, path=to_path or f"fd {to_fd}")


def fsopen(fstype: str) -> int:
    """Return a context descriptor to configure a new file system of this type.

    Raises:
        OSError: ENODEV, the kernel has no such file system.
    """
    return _fsopen(encode(fstype), FSOPEN_CLOEXEC, path=fstype)


def fsconfig_set(fd: int, key: str, value: StrPath | int | None = None) -> None:
    """Set one option: a flag without value, a text (at most 255 bytes), or a descriptor (int).

    Raises:
        OSError: errno is set, filename is the key, the text says what the kernel wrote about it.
    """
    if value is None:
        _configure(fd, FSCONFIG_SET_FLAG, key, None, 0)
    elif isinstance(value, int):
        _configure(fd, FSCONFIG_SET_FD, key, None, value)
    else:
        _configure(fd, FSCONFIG_SET_STRING, key, encode(value), 0)


def fsconfig_create(fd: int) -> None:
    """Make the superblock from the options set so far.

    Raises:
        OSError: errno is set, the text says what the kernel wrote about it.
    """
    _configure(fd, FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(fd: int, attr_flags: int = 0) -> int:
    """Return a detached mount of the configured file system; attr_flags are `MOUNT_ATTR_*`."""
    return _fsmount(fd, FSMOUNT_CLOEXEC, attr_flags)


def _configure(fd: int, command: int, key: str | None, value: bytes | None, number: int) -> None:
    try:
        _fsconfig(fd, command, encode(key), value, number)
    except OSError as exc:
        messages = fs_messages(fd)
        if messages:
            raise OSError(exc.errno, f"{exc.strerror}: {messages}", key) from exc
        raise OSError(exc.errno, exc.strerror, key) from exc


def fs_messages(fd: int) -> str:
    """Return what the kernel logged to a file system context ("e overlay: …"), joined by "; "."""
    messages = []
    while True:
        try:
            messages.append(os.read(fd, 4096).decode(errors="replace").strip())
        except OSError:  # ENODATA: no more
            return "; ".join(messages)
