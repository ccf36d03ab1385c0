"""Writes a tar archive as a stream: ustar headers, and pax headers where a number or name is too big.

Times are whole seconds and no user names are written, as in Docker's archives: the same tree gives the same
bytes. Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header".
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Mapping
from typing import Final, Protocol

from sampan.store.archive.headers import (
    BLOCK,
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    PAX,
    REGULAR,
    SYMLINK,
)
from sampan.store.archive.pax import XATTR_PREFIX

KINDS: Final = {
    stat.S_IFREG: REGULAR,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
}

_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s64s8s8s155s12x")
_MAGIC: Final = b"ustar\x0000"
_NO_SUM: Final = b" " * 8
_NAME_BYTES: Final = 100
_MAX_ID: Final = 0o7777777
_MAX_SIZE: Final = 0o77777777777
_PADDING: Final = bytes(BLOCK)
_GATHER_BYTES: Final = 256 * 1024  # small files go out together
_SMALL_BYTES: Final = 64 * 1024
_PIECE: Final = 1 << 20


class Sink(Protocol):
    """Takes the bytes of an archive in order."""

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take all of data, which may change afterwards."""
        ...

    def copy(self, fd: int, size: int, /) -> None:
        """Take size bytes of an open file from its start; zeros for what it does not have any more."""
        ...


def write_pieces(sink: Sink, fd: int, size: int) -> None:
    """Do what `Sink.copy` asks for by `Sink.write`, for sinks that look at every byte."""
    offset = 0
    while offset < size:
        piece = os.pread(fd, min(_PIECE, size - offset), offset)
        piece = piece or bytes(min(_PIECE, size - offset))  # it has shrunk
        sink.write(piece)
        offset += len(piece)


class TarWriter:
    """Writes entries to a sink; `finish` writes the end. Small pieces are gathered."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._gathered = bytearray()

    def entry(
        self,
        name: bytes,
        status: os.stat_result,
        *,
        linkname: bytes = b"",
        hard: bool = False,
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Write the header of a file; for a regular one that is no hard link its data follows by `data`."""
        kind = HARD_LINK if hard else KINDS[stat.S_IFMT(status.st_mode)]
        self.header(
            name + b"/" if kind == DIRECTORY and not name.endswith(b"/") else name,
            kind,
            mode=stat.S_IMODE(status.st_mode),
            owner=(status.st_uid, status.st_gid),
            size=status.st_size if kind == REGULAR else 0,
            mtime=status.st_mtime_ns // 1_000_000_000,
            linkname=linkname,
            device=status.st_rdev if kind in (CHARACTER, BLOCK_DEVICE) else 0,
            xattrs=xattrs,
        )

    def header(
        self,
        name: bytes,
        kind: bytes,
        *,
        mode: int,
        owner: tuple[int, int] = (0, 0),
        size: int = 0,
        mtime: int = 0,
        linkname: bytes = b"",
        device: int = 0,
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Write one header, and a pax header before it if it does not fit."""
        uid, gid = owner
        if (
            xattrs
            or len(name) > _NAME_BYTES
            or len(linkname) > _NAME_BYTES
            or max(owner) > _MAX_ID
            or size > _MAX_SIZE
            or not 0 <= mtime <= _MAX_SIZE
        ):
            records = _extra_records(name, uid, gid, size, mtime, linkname)
            records += b"".join(_record(XATTR_PREFIX + key, value) for key, value in (xattrs or {}).items())
            self._gathered += _pack(b"PaxHeaders", PAX, 0o644, 0, 0, len(records), 0, b"", 0)
            self._gathered += records
            self._pad(len(records))
        self._gathered += _pack(
            name[:_NAME_BYTES],
            kind,
            mode,
            min(uid, _MAX_ID),
            min(gid, _MAX_ID),
            min(size, _MAX_SIZE),
            mtime if 0 <= mtime <= _MAX_SIZE else 0,
            linkname[:_NAME_BYTES],
            device,
        )
        if len(self._gathered) >= _GATHER_BYTES:
            self.flush()

    def data(self, fd: int, size: int) -> None:
        """Write the content of the regular file whose header was written: size bytes from its start."""
        if size <= _SMALL_BYTES:
            piece = os.pread(fd, size, 0) if size else b""
            self._gathered += piece
            if len(piece) < size:  # it has shrunk since its header was written
                self._gathered += bytes(size - len(piece))
        else:
            self.flush()
            self._sink.copy(fd, size)
        self._pad(size)

    def finish(self) -> None:
        """Write the end of the archive: two blocks of zeros."""
        self._gathered += _PADDING + _PADDING
        self.flush()

    def flush(self) -> None:
        """Send what was gathered."""
        if self._gathered:
            self._sink.write(self._gathered)
            self._gathered.clear()

    def _pad(self, size: int) -> None:
        self._gathered += _PADDING[: -size % BLOCK]


def _pack(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    linkname: bytes,
    device: int,
) -> bytes:
    """Return one header; the checksum counts its own field as spaces."""
    major = minor = b""
    if device:
        major, minor = b"%07o" % os.major(device), b"%07o" % os.minor(device)
    fields = (
        name, b"%07o" % mode, b"%07o" % uid, b"%07o" % gid, b"%011o" % size, b"%011o" % mtime,
        _NO_SUM, kind, linkname, _MAGIC, b"", major, minor, b"",
    )  # fmt: skip
    block = bytearray(_HEADER.pack(*fields))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _extra_records(name: bytes, uid: int, gid: int, size: int, mtime: int, linkname: bytes) -> bytes:
    records = b""
    if len(name) > _NAME_BYTES:
        records += _record(b"path", name)
    if len(linkname) > _NAME_BYTES:
        records += _record(b"linkpath", linkname)
    for key, value, limit in ((b"uid", uid, _MAX_ID), (b"gid", gid, _MAX_ID), (b"size", size, _MAX_SIZE)):
        if value > limit:
            records += _record(key, b"%d" % value)
    if not 0 <= mtime <= _MAX_SIZE:
        records += _record(b"mtime", b"%d" % mtime)
    return records


def _record(key: bytes, value: bytes) -> bytes:
    """Return `length key=value newline`; the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
