"""Undo the compression of a stream, recognised by its first bytes: gzip, zstd, bzip2, xz or none."""

from __future__ import annotations

import bz2
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, cast

from isal import igzip, isal_zlib

from sampan.errors import InvalidArgument
from sampan.store.archive.limits import DEFAULT_LIMITS, Limits
from sampan.store.archive.readable import Readable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK_BYTES: Final = 1 << 20
_XZ_MEMORY_BYTES = 128 << 20  # `xz -9` needs 65 MiB to read
_MAGIC_BYTES = 6
_DAMAGED: tuple[type[Exception], ...] = (
    EOFError,
    zlib.error,
    cast(type[Exception], isal_zlib.error),  # its stub calls it an instance
    igzip.BadGzipFile,
    lzma.LZMAError,
    zstd.ZstdError,
)


def chunks_of(stream: Readable) -> Iterator[bytes]:
    """Yield a stream in pieces of up to 1 MiB."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


class PlainStream:
    """The inflated bytes of a stream, with a guard against bombs. Does not close the stream."""

    def __init__(self, stream: Readable, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._input = _Counted(stream)
        self._limits = limits
        self.compression, opener = _recognise(self._input.peek(_MAGIC_BYTES))
        self._plain: Readable = opener(self._input) if opener else self._input
        self._is_compressed = opener is not None
        self._output_bytes = 0

    def read(self, size: int, /) -> bytes:
        """Return up to size bytes, b"" at the end.

        Raises:
            InvalidArgument: the data is damaged, or inflates beyond the limits.
        """
        try:
            data = self._plain.read(size)
        except _DAMAGED as exc:
            raise InvalidArgument(f"archive: {self.compression} data is damaged: {exc}") from exc
        except OSError as exc:
            if exc.errno is not None:
                raise
            raise InvalidArgument(f"archive: {self.compression} data is damaged: {exc}") from exc
        if self._is_compressed:
            self._output_bytes += len(data)
            self._check_inflation()
        return data

    def _check_inflation(self) -> None:
        limits = self._limits
        if self._output_bytes <= limits.inflated_free_bytes:
            return
        if self._output_bytes > self._input.count * limits.inflation_ratio:
            raise InvalidArgument(
                f"archive: {self._input.count} bytes inflate to over {self._output_bytes}: refused as a bomb"
            )


class _Counted(io.RawIOBase):
    """A stream with look-ahead that counts what was taken; the decompressors want a file object."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._ahead = b""
        self.count = 0

    def peek(self, size: int) -> bytes:
        while len(self._ahead) < size:
            more = self._stream.read(size - len(self._ahead))
            if not more:
                break
            self._ahead += more
        return self._ahead

    def read(self, size: int = -1, /) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead, b""
            if 0 <= size < len(data):
                data, self._ahead = data[:size], data[size:]
        else:
            data = self._stream.read(CHUNK_BYTES if size < 0 else size)
        self.count += len(data)
        return data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # a plain buffer
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Xz:
    """An xz stream (or several, joined) with bounded memory; `lzma.LZMAFile` takes no memory limit."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._decoder = self._new_decoder()
        self._started = False

    @staticmethod
    def _new_decoder() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)

    def read(self, size: int, /) -> bytes:
        while True:
            if self._decoder.eof:
                rest = self._decoder.unused_data.lstrip(b"\0") or self._stream.read(CHUNK_BYTES).lstrip(b"\0")
                if not rest:
                    return b""
                self._decoder = self._new_decoder()
            else:
                rest = self._stream.read(CHUNK_BYTES) if self._decoder.needs_input else b""
                if not rest and self._decoder.needs_input:
                    raise EOFError("compressed data ends too early")
            data = self._decoder.decompress(rest, size)
            if data:
                return data


Opener = Callable[[_Counted], Readable]


def _open_gzip(stream: _Counted) -> Readable:
    opened: Readable = igzip.IGzipFile(fileobj=stream, mode="rb")  # type: ignore[no-untyped-call]  # isal's
    return opened


def _open_zstd(stream: _Counted) -> Readable:
    return zstd.ZstdFile(cast(BinaryIO, stream), "rb")  # it only reads


def _open_bzip2(stream: _Counted) -> Readable:
    return bz2.BZ2File(cast(BinaryIO, stream), "rb")  # it only reads


_BY_MAGIC: tuple[tuple[bytes, str, Opener], ...] = (
    (b"\x1f\x8b", "gzip", _open_gzip),
    (b"\x28\xb5\x2f\xfd", "zstd", _open_zstd),
    (b"BZh", "bzip2", _open_bzip2),
    (b"\xfd7zXZ\0", "xz", _Xz),
)


def _recognise(start: bytes) -> tuple[str, Opener | None]:
    for magic, name, opener in _BY_MAGIC:
        if start.startswith(magic):
            return name, opener
    if len(start) >= 4 and start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50:  # zstd skippable frame
        return "zstd", _open_zstd
    return "none", None
