"""One directory of a client, by `moby.filesync.v1.FileSync/DiffCopy`: its list first, then files we ask for.

```
we → opens the stream; metadata: dir-name, followpaths*, exclude-patterns*
client → STAT … STAT, an empty STAT      in order of paths; a file's number is its place in the list
we → REQUEST number …                    at any time after
client → DATA number bytes … DATA number (empty: its end)      several files at once, mixed
we → FINISH, client → FINISH             when the build needs nothing more
either → ERROR text
```

Source: tonistiigi/fsutil, send.go and receive.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final
from urllib.parse import quote_plus

from grpclib.client import StreamStreamMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import H2Error

from sampan import log
from sampan.build.remote_context import Take
from sampan.build.trees import Item, make_entry
from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.connections import SessionChannel
from sampan.errors import InvalidArgument
from sampan.store.archive import headers
from sampan.store.archive.limits import DEFAULT_LIMITS
from sampan.store.archive.names import clean_name

METHOD: Final = "/moby.filesync.v1.FileSync/DiffCopy"
_FINISH_S: Final = 5.0

# Go's os.FileMode: types from the top down, permissions at the bottom.
_DIRECTORY: Final = 1 << 31
_SYMLINK: Final = 1 << 27
_DEVICE: Final = 1 << 26
_FIFO: Final = 1 << 25
_SOCKET: Final = 1 << 24
_CHARACTER: Final = 1 << 21
_ANY_TYPE: Final = _DIRECTORY | _SYMLINK | _DEVICE | _FIFO | _SOCKET | _CHARACTER
_SPECIAL: Final = ((1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000))


class Transfer:
    """A directory that is being read. Lives in the side loop; `close` ends it.

    items: what the client lists, in order; None for a socket, which no image can hold.
    """

    def __init__(self, channel: SessionChannel) -> None:
        self._method = StreamStreamMethod(channel, METHOD, m.Packet, m.Packet)
        self._stack = AsyncExitStack()
        self._one_at_a_time = asyncio.Lock()
        self.items: list[Item | None] = []

    async def open(self, name: str, *, follow: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        """Open the stream and read the list; follow: only these paths, with what links on the way lead to.

        Raises:
            GRPCError: the client has no such directory. InvalidArgument: a path leads out of it.
        """
        metadata = [("dir-name", name)]
        metadata += _encoded("followpaths", follow)
        metadata += _encoded("exclude-patterns", exclude)
        self._stream = await self._stack.enter_async_context(self._method.open(metadata=metadata))
        await self._stream.send_request()
        while True:
            packet = await self._receive()
            if packet.type != m.Packet.STAT:
                raise InvalidArgument("the client sent a file's content before its list was at its end")
            if not packet.HasField("stat"):
                return
            self.items.append(_item_of(packet.stat))

    async def _receive(self) -> m.Packet:
        packet = await self._stream.recv_message()
        if packet is None:
            raise ConnectionResetError("the client ended the transfer of its files")
        if packet.type == m.Packet.ERROR:
            raise InvalidArgument(f"error from sender: {packet.data.decode(errors='replace')}")
        return packet

    async def fetch(self, numbers: Sequence[int], take: Take) -> None:
        """Have files sent; see `remote_context.Source`."""
        async with self._one_at_a_time:
            asking = asyncio.create_task(self._ask(numbers), name="files are asked for")
            try:
                missing = set(numbers)
                while missing:
                    packet = await self._receive()
                    if packet.type != m.Packet.DATA or packet.id not in missing:
                        raise InvalidArgument("the client sent what was not asked for")
                    take(packet.id, packet.data)
                    if not packet.data:
                        missing.discard(packet.id)
            finally:
                asking.cancel()

    async def _ask(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            await self._stream.send_message(m.Packet(type=m.Packet.REQUEST, id=number))

    async def close(self) -> None:
        """Tell the client that no more is needed. Fine in any state."""
        try:
            async with asyncio.timeout(_FINISH_S):
                await self._finish()
        except (TimeoutError, ConnectionError, H2Error, GRPCError, StreamTerminatedError) as exc:
            log.debug("a client's files were not closed in order", reason=exc)
            with suppress(H2Error):  # it is closed already
                await self._stream.cancel()
        with suppress(H2Error, GRPCError, StreamTerminatedError):
            await self._stack.aclose()

    async def _finish(self) -> None:
        await self._stream.send_message(m.Packet(type=m.Packet.FINISH), end=True)
        while (packet := await self._stream.recv_message()) is not None:
            if packet.type == m.Packet.FINISH:
                break


def _encoded(name: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """Return header fields; what is not ASCII is escaped, and a field says so."""
    if all(value.isascii() for value in values):
        return [(name, value) for value in values]
    return [*((name, quote_plus(value)) for value in values), (f"{name}-encoded", "1")]


def _item_of(stat: m.Stat) -> Item | None:
    """Return what a client tells of a file; None for a socket.

    Raises:
        InvalidArgument: its name leads out of the directory.
    """
    path = clean_name(stat.path.encode(errors="surrogateescape"), limit_bytes=DEFAULT_LIMITS.path_bytes)
    name = path.decode(errors="surrogateescape")
    if not name:
        raise InvalidArgument("the client sent a file of the build context without a name")
    kind = _kind_of(stat)
    if kind is None:
        return None
    entry = make_entry(kind, name)
    entry.mode = stat.mode & 0o777
    for flag, bit in _SPECIAL:
        entry.mode |= bit if stat.mode & flag else 0
    entry.uid, entry.gid, entry.mtime_ns = stat.uid, stat.gid, stat.mod_time
    entry.linkname = stat.linkname.encode(errors="surrogateescape")
    entry.device = (stat.devmajor, stat.devminor)
    entry.xattrs = {key.encode(): value for key, value in stat.xattrs.items()} or None
    if entry.kind == headers.REGULAR:
        if stat.size < 0:
            raise InvalidArgument(f"{name!r} of the build context has the size {stat.size}")
        entry.size = entry.stored_bytes = stat.size
    return Item(name, entry)


def _kind_of(stat: m.Stat) -> bytes | None:
    kind = stat.mode & _ANY_TYPE
    if kind == _DIRECTORY:
        return headers.DIRECTORY
    if kind == _SYMLINK:
        return headers.SYMLINK
    if kind == _FIFO:
        return headers.FIFO
    if kind == _DEVICE:
        return headers.BLOCK_DEVICE
    if kind == _DEVICE | _CHARACTER:
        return headers.CHARACTER
    if kind == _SOCKET:
        return None
    if kind:
        raise InvalidArgument(f"{stat.path!r} of the build context is of a kind that no image can hold")
    return headers.HARD_LINK if stat.linkname else headers.REGULAR
