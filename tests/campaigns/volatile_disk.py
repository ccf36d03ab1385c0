"""A disk with a write cache that a power cut empties: an NBD server for qemu.

What was written since the last flush is in memory only. `cut` keeps some of it, sector by sector and in no
order, and forgets the rest, as a disk may that loses power; a flush, or a write with FUA, is on the disk.
Source: the NBD protocol (doc/proto.md of the reference implementation), fixed newstyle, simple replies.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from pathlib import Path
from typing import Final

_SECTOR: Final = 512
_OPTION_MAGIC: Final = b"IHAVEOPT"
_OPTION_REPLY: Final = 0x3E889045565A9
_REQUEST_MAGIC: Final = 0x25609513
_REPLY_MAGIC: Final = 0x67446698
_EXPORT_NAME, _ABORT, _INFO, _GO = 1, 2, 6, 7
_ACK, _INFORMATION, _UNSUPPORTED = 1, 3, 0x80000001
_READ, _WRITE, _DISCONNECT, _FLUSH = 0, 1, 2, 3
_FUA: Final = 1  # of a command
_ABILITIES: Final = 1 | 4 | 8  # flags are meant, flush, FUA
_REQUEST: Final = struct.Struct(">IHHQQI")
_EINVAL: Final = 22


class VolatileDisk:
    """One disk in a file; serves one client at a time on a unix socket until `close`."""

    def __init__(self, image: Path, place: Path) -> None:
        self.place = place
        self._fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        self._size = os.fstat(self._fd).st_size
        self._cached: dict[int, bytes] = {}  # sector → content, not on the disk yet
        self._lock = threading.Lock()
        self.flushes = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        self._listener.listen(1)
        threading.Thread(target=self._serve, name="volatile disk", daemon=True).start()

    def cut(self, dice: random.Random) -> tuple[int, int]:
        """Lose power: keep a random part of the cache. Return how many sectors were kept and lost.

        The machine has been killed before, and the disk may be used by the next one.
        """
        with self._lock:
            counts = self._keep_some(dice, self._fd)
            self._cached.clear()
            return counts

    def cut_copy(self, dice: random.Random, path: Path) -> tuple[int, int]:
        """Write what the disk would be if power were lost now to a file; the machine goes on. As `cut`."""
        with self._lock, open(path, "wb") as file:
            at = 0
            while at < self._size:
                at += os.sendfile(file.fileno(), self._fd, at, self._size - at)
            file.truncate(self._size)
            return self._keep_some(dice, file.fileno())

    def close(self) -> None:
        """Stop serving."""
        self._listener.close()
        os.close(self._fd)

    def _keep_some(self, dice: random.Random, fd: int) -> tuple[int, int]:
        share = dice.choice((0.0, 1.0, dice.random()))
        kept = [sector for sector in self._cached if dice.random() < share]
        for sector in kept:
            os.pwrite(fd, self._cached[sector], sector * _SECTOR)
        return len(kept), len(self._cached) - len(kept)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                try:
                    if self._greet(client):
                        self._answer(client)
                except (EOFError, OSError):
                    continue  # the machine was killed

    def _greet(self, client: socket.socket) -> bool:
        """Agree on the one export; False if the client goes away again."""
        client.sendall(b"NBDMAGIC" + _OPTION_MAGIC + struct.pack(">H", 3))
        without_zeroes = bool(struct.unpack(">I", _receive(client, 4))[0] & 2)
        while True:
            magic, option, size = struct.unpack(">8sII", _receive(client, 16))
            assert magic == _OPTION_MAGIC, magic
            _receive(client, size)
            if option == _EXPORT_NAME:
                zeroes = b"" if without_zeroes else bytes(124)
                client.sendall(struct.pack(">QH", self._size, _ABILITIES) + zeroes)
                return True
            if option in (_INFO, _GO):
                _reply_to_option(client, option, _INFORMATION, struct.pack(">HQH", 0, self._size, _ABILITIES))
            known = option in (_INFO, _GO, _ABORT)
            _reply_to_option(client, option, _ACK if known else _UNSUPPORTED)
            if option in (_GO, _ABORT):
                return option == _GO

    def _answer(self, client: socket.socket) -> None:
        while True:
            magic, flags, kind, handle, offset, size = _REQUEST.unpack(_receive(client, _REQUEST.size))
            assert magic == _REQUEST_MAGIC, magic
            data, error = b"", 0
            with self._lock:
                if kind == _READ:
                    data = self._read(offset, size)
                elif kind == _WRITE:
                    self._write(offset, _receive(client, size), durable=bool(flags & _FUA))
                elif kind == _FLUSH:
                    self._flush()
                elif kind == _DISCONNECT:
                    return
                else:
                    error = _EINVAL
            client.sendall(struct.pack(">IIQ", _REPLY_MAGIC, error, handle) + data)

    def _read(self, offset: int, size: int) -> bytes:
        content = bytearray(os.pread(self._fd, size, offset))
        if self._cached:
            for sector in range(offset // _SECTOR, (offset + size) // _SECTOR):
                cached = self._cached.get(sector)
                if cached is not None:
                    at = sector * _SECTOR - offset
                    content[at : at + _SECTOR] = cached
        return bytes(content)

    def _write(self, offset: int, data: bytes, *, durable: bool) -> None:
        first = offset // _SECTOR
        for index in range(len(data) // _SECTOR):
            if durable:
                self._cached.pop(first + index, None)
            else:
                self._cached[first + index] = data[index * _SECTOR : (index + 1) * _SECTOR]
        if durable:
            os.pwrite(self._fd, data, offset)

    def _flush(self) -> None:
        self.flushes += 1
        for sector, content in self._cached.items():
            os.pwrite(self._fd, content, sector * _SECTOR)
        self._cached.clear()


def _reply_to_option(client: socket.socket, option: int, kind: int, data: bytes = b"") -> None:
    client.sendall(struct.pack(">QIII", _OPTION_REPLY, option, kind, len(data)) + data)


def _receive(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = client.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
