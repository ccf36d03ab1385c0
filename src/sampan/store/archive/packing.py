"""Packs a tree into a tar stream, as Docker does: hard links, devices, capabilities; no sockets.

Differs: `user.*` attributes are kept, which Docker leaves out.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from typing import Final

from sampan import log
from sampan.kernel.files import reopen
from sampan.store.archive.attributes import is_opaque
from sampan.store.archive.directories import is_whiteout
from sampan.store.archive.headers import REGULAR
from sampan.store.archive.names import OPAQUE, WHITEOUT
from sampan.store.archive.walking import Enters, Found, walk
from sampan.store.archive.writer import TarWriter

_CAPABILITY: Final = "security.capability"
_VFS_CAP_REVISION_MASK: Final = 0xFF000000  # include/uapi/linux/capability.h
_VFS_CAP_REVISION_2: Final = 0x02000000
_VFS_CAP_REVISION_3: Final = 0x03000000
_VFS_CAP_2_BYTES: Final = 20
_NO_ATTRIBUTES: Final = frozenset({errno.ENOTSUP, errno.ENODATA})

Inode = tuple[int, int]


class Packer:
    """Writes trees to one archive; hard links between them are kept.

    enters: see `walk`. layer: the tree is an upper directory of overlayfs, which becomes a layer (OCI
    image-spec, layer.md, "Whiteouts"). entries: how many were written.
    """

    def __init__(self, writer: TarWriter, *, enters: Enters | None = None, layer: bool = False) -> None:
        self._writer = writer
        self._enters = enters
        self._layer = layer
        self._linked: dict[Inode, bytes] = {}
        self.entries = 0

    def add(self, fd: int, *, shown: bytes) -> None:
        """Pack what fd (O_PATH) is and all below it, under the name shown; b"" leaves the top itself out.

        Raises:
            OSError: something in it cannot be read.
        """
        for found in walk(fd, shown=shown, enters=self._enters):
            if not found.leaving and found.path:
                self.entries += 1
                if not self._layer or not self._add_to_layer(found):
                    self._add_one(found)
                    if self._layer and stat.S_ISDIR(found.status.st_mode) and is_opaque(found.fd):
                        self._add_mark(found.path + b"/" + OPAQUE, found.status)

    def _add_to_layer(self, found: Found) -> bool:
        """Write what has another form in a layer, and leave out what would be misread there."""
        if is_whiteout(found.status):
            folder = found.path[: len(found.path) - len(found.name)]
            self._add_mark(folder + WHITEOUT + found.name, found.status)
            return True
        if found.name.startswith(WHITEOUT):
            log.warning("a file cannot be part of a layer by its name", path=os.fsdecode(found.path))
            return True
        return False

    def _add_mark(self, path: bytes, status: os.stat_result) -> None:
        self._writer.header(path, REGULAR, mode=0o600, mtime=status.st_mtime_ns // 1_000_000_000)

    def _add_one(self, found: Found) -> None:
        status = found.status
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            if status.st_nlink > 1 and self._add_link(found):
                return
            self._add_file(found)
        elif kind == stat.S_IFLNK:
            if status.st_nlink == 1 or not self._add_link(found):
                self._add_symlink(found)
        elif kind == stat.S_IFDIR:
            self._writer.entry(found.path, status, xattrs=read_xattrs(f"/proc/self/fd/{found.fd}"))
        elif kind != stat.S_IFSOCK and (status.st_nlink == 1 or not self._add_link(found)):
            self._writer.entry(found.path, status)

    def _add_link(self, found: Found) -> bool:
        """Write a hard link if another name of the file was packed; else remember this one."""
        inode = (found.status.st_dev, found.status.st_ino)
        first = self._linked.setdefault(inode, found.path)
        if first is found.path:
            return False
        self._writer.entry(found.path, found.status, linkname=first, hard=True)
        return True

    def _add_symlink(self, found: Found) -> None:
        try:
            target = os.readlink(b"", dir_fd=found.fd)
        except FileNotFoundError:
            return  # leads nowhere for us: /proc/self of another pid namespace
        self._writer.entry(found.path, found.status, linkname=target)

    def _add_file(self, found: Found) -> None:
        fd = reopen(found.fd, os.O_RDONLY)
        try:
            self._writer.entry(found.path, found.status, xattrs=read_xattrs(fd))
            self._writer.data(fd, found.status.st_size)
        finally:
            os.close(fd)


def read_xattrs(target: int | str) -> dict[bytes, bytes] | None:
    """Return the extended attributes that an archive keeps (`user.*`, capabilities), None if there are none.

    A capability that is bound to a user namespace's root loses that binding, which means nothing elsewhere.
    """
    try:
        names = os.listxattr(target)
        if not names:
            return None
        found = {
            os.fsencode(name): os.getxattr(target, name)
            for name in names
            if name == _CAPABILITY or (name.startswith("user.") and not name.startswith("user.overlay."))
        }
    except OSError as exc:
        if exc.errno not in _NO_ATTRIBUTES:
            raise
        return None
    raw = found.get(_CAPABILITY.encode())
    if raw is not None:
        found[_CAPABILITY.encode()] = _without_root_id(raw)
    return found or None


def _without_root_id(raw: bytes) -> bytes:
    (magic,) = struct.unpack_from("<I", raw)
    if magic & _VFS_CAP_REVISION_MASK != _VFS_CAP_REVISION_3:
        return raw
    magic = magic & ~_VFS_CAP_REVISION_MASK | _VFS_CAP_REVISION_2
    return struct.pack("<I", magic) + raw[4:_VFS_CAP_2_BYTES]
