"""Files: paths resolved inside a root, durable writes, sealed copies, read-only views, file system checks.

`unsafe_` paths come from a container or an image. They are resolved with the container's root as "/", and
the answer is a descriptor: nothing is ever joined as text and opened again. `resolve` has the walk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from sampan.kernel.constants import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    F_ADD_SEALS,
    F_SEAL_EXEC,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    MFD_ALLOW_SEALING,
    MFD_CLOEXEC,
    MFD_EXEC,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    OPEN_TREE_CLONE,
)
from sampan.kernel.mountattrs import mount_setattr
from sampan.kernel.mountcalls import open_tree
from sampan.kernel.resolve import mkdir_in_root, open_in_root, openat2, touch_in_root
from sampan.kernel.syscall import POINTER, WORD, Call, buffer, encode, fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.kernel.syscall import StrPath

__all__ = [
    "fchmod_path",
    "file_system_type",
    "memfd_sealed",
    "mkdir_in_root",
    "open_in_root",
    "openat2",
    "read_file",
    "readonly_clone",
    "reopen",
    "sync_file_system",
    "touch_in_root",
    "write_all",
    "write_atomic",
    "write_file",
]

_fstatfs = Call("fstatfs", WORD, POINTER)
_syncfs = Call("syncfs", WORD)
_fchmodat2 = Call("fchmodat2", WORD, POINTER, WORD, WORD)


def read_file(path: StrPath, *, limit_bytes: int = 1 << 20, dir_fd: int | None = None) -> bytes:
    """Return the content of a small file of ours (or of /proc, /sys).

    Raises:
        OSError: EFBIG, it is longer than limit_bytes.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        parts = []
        left = limit_bytes + 1
        while left > 0 and (part := os.read(fd, min(left, 65536))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(fd)
    if left <= 0:
        raise fail(errno.EFBIG, f"read: over {limit_bytes} bytes", path)
    return b"".join(parts)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of data, in as many writes as it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_file(path: StrPath, data: bytes, *, dir_fd: int | None = None) -> None:
    """Write to an existing file, such as one of /proc or a cgroup, in one write; nothing is made or cut.

    Raises:
        OSError: errno and filename are set; the text shows a short value that the kernel refused.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.write(fd, data)
    except OSError as exc:
        shown = f"write {data[:64]!r}: {exc.strerror}"
        raise OSError(exc.errno, shown, os.fspath(path)) from exc
    finally:
        os.close(fd)


def write_atomic(path: StrPath, data: bytes, mode: int = 0o600) -> None:
    """Replace a file of ours so that a reader, and a crash, meet the old content or the new, never a mixture.

    New file, fsync, rename, fsync of the folder. The mode is exact whatever the umask.

    Raises:
        OSError: errno is set; the old file is untouched and the new one is gone.
    """
    target = os.fsdecode(path)
    folder, _, name = target.rpartition("/")
    folder_fd = os.open(
        folder or ("/" if target.startswith("/") else "."), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    )
    try:
        temporary = f".{name}.{os.urandom(6).hex()}.new"
        _write_new(folder_fd, temporary, data, mode)
        try:
            os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        except BaseException:
            os.unlink(temporary, dir_fd=folder_fd)
            raise
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def _write_new(folder_fd: int, name: str, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=folder_fd)
    try:
        write_all(fd, data)
        os.fchmod(fd, mode)
        os.fsync(fd)
    except BaseException:
        os.unlink(name, dir_fd=folder_fd)
        raise
    finally:
        os.close(fd)


def sync_file_system(fd: int) -> None:
    """Write out all of the file system that fd lies on, as syncfs(2) does, and report its write errors."""
    _syncfs(fd)


def memfd_sealed(name: str, data: bytes, *, executable: bool = False) -> int:
    """Return a descriptor of an anonymous file with this content that nobody can change any more.

    Raises:
        OSError: errno is set.
    """
    fd = _memfd(name, executable=executable)
    try:
        write_all(fd, data)
        seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
        try:
            fcntl.fcntl(fd, F_ADD_SEALS, seals | F_SEAL_EXEC | F_SEAL_SEAL)
        except OSError as exc:
            if exc.errno != errno.EINVAL:  # F_SEAL_EXEC is of Linux 6.3
                raise
            fcntl.fcntl(fd, F_ADD_SEALS, seals | F_SEAL_SEAL)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _memfd(name: str, *, executable: bool) -> int:
    flags = MFD_CLOEXEC | MFD_ALLOW_SEALING
    try:
        # Linux 6.3 asks to be told; with the sysctl vm.memfd_noexec at 2 an executable one is refused.
        return os.memfd_create(name, flags | (MFD_EXEC if executable else 0))
    except OSError as exc:
        if not executable or exc.errno != errno.EINVAL:
            raise
        return os.memfd_create(name, flags)


def readonly_clone(path: StrPath, *, dirfd: int = AT_FDCWD) -> int:
    """Return a descriptor of a file (or directory) through a detached read-only mount of only that.

    A program executed through it (`os.execve(fd, …)`) has a /proc/<pid>/exe that leads to this mount, so
    not even root can open that for writing: EROFS (CVE-2019-5736). The mount is in no mount namespace and
    cannot be remounted; it goes with its last user.

    Raises:
        OSError: errno and filename are set.
    """
    fd = open_tree(dirfd, path, OPEN_TREE_CLONE)
    try:
        mount_setattr(
            fd, "", AT_EMPTY_PATH, attr_set=MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
        )
    except BaseException:
        os.close(fd)
        raise
    return fd


def reopen(fd: int, flags: int) -> int:
    """Open what an O_PATH descriptor is, whatever its name leads to by now; checks permissions anew."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)


def file_system_type(fd: int) -> int:
    """Return the magic number (`*_MAGIC`) of the file system that fd lies on; fd may be O_PATH."""
    data = buffer(256)  # struct statfs is 120 bytes on 64-bit machines, f_type first
    _fstatfs(fd, data, path=f"fd {fd}")
    kind: int = struct.unpack_from("=q", data.raw)[0]
    return kind & 0xFFFFFFFF


def fchmod_path(fd: int, mode: int) -> None:
    """Change the mode of what an O_PATH descriptor is, without following anything.

    fchmodat2 is of Linux 6.6; before it /proc/self/fd leads to the same inode.
    """
    try:
        _fchmodat2(fd, encode(""), mode, AT_EMPTY_PATH, path=f"fd {fd}")
    except OSError as exc:
        if exc.errno != errno.ENOSYS:
            raise
        os.chmod(f"/proc/self/fd/{fd}", mode)
