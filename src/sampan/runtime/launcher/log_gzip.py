"""Rotated json-file logs as gzip files, `path.gz`. Lean.

The header's extra field holds JSON, as Docker's: `{"lastTime": …, "inode": …}`. lastTime lets a reader pass
over the file, inode tells one that follows which file this was. Source: RFC 1952; moby,
daemon/logger/loggerutils/logfile.go.
"""

from __future__ import annotations

import os
import struct
import time
import zlib

from sampan import fastjson
from sampan.errors import InvalidArgument

_LEVEL = 1
_SLICE = 256 * 1024
_HEAD = struct.Struct("<HBBIBB")  # magic, method, flags, mtime, extra flags, system
_MAGIC = 0x8B1F
_DEFLATE = 8
_FEXTRA = 4
_UNIX = 3


def compress_file(path: str) -> None:
    """Replace path by `path.gz`: written beside it, renamed, then path removed. On an error path stays."""
    unfinished = f"{path}.gz.tmp"
    try:
        _write_compressed(path, unfinished)
        os.rename(unfinished, f"{path}.gz")
        os.unlink(path)
    except OSError:
        try:
            os.unlink(unfinished)
        except OSError:
            pass


def _write_compressed(path: str, target: str) -> None:
    source_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        target_fd = os.open(target, flags, 0o640)
        try:
            _pour(source_fd, target_fd)
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


def _pour(source_fd: int, target_fd: int) -> None:
    _write_all(target_fd, _header(os.fstat(source_fd)))
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    check, length = 0, 0
    while data := os.read(source_fd, _SLICE):
        check = zlib.crc32(data, check)
        length += len(data)
        _write_all(target_fd, packer.compress(data))
    _write_all(target_fd, packer.flush() + struct.pack("<II", check, length & 0xFFFFFFFF))


def _header(status: os.stat_result) -> bytes:
    seconds, fraction = divmod(status.st_mtime_ns, 1_000_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    extra = fastjson.dumps({"lastTime": f"{stamp}.{fraction:09d}Z", "inode": status.st_ino}).encode()
    head = _HEAD.pack(_MAGIC, _DEFLATE, _FEXTRA, seconds & 0xFFFFFFFF, 0, _UNIX)
    return head + struct.pack("<H", len(extra)) + extra


def read_extra(fd: int) -> dict[str, object]:
    """Return what the header of a compressed log says; nothing where it says nothing."""
    head = os.pread(fd, _HEAD.size + 2, 0)
    if len(head) < _HEAD.size + 2:
        return {}
    magic, _, flags, *_ = _HEAD.unpack_from(head)
    if magic != _MAGIC or not flags & _FEXTRA:
        return {}
    (length,) = struct.unpack_from("<H", head, _HEAD.size)
    try:
        extra = fastjson.loads(os.pread(fd, length, len(head)))
    except InvalidArgument:
        return {}
    return dict(extra) if isinstance(extra, dict) else {}


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
