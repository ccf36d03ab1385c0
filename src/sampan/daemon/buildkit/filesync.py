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
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final
from urllib.parse import quote_plus

from grpclib.client import StreamStreamMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import H2Error

from sampan import log
from sampan.build.remote_context import Take
from sampan.build.trees import Item, make_entry
from sampan.daemon.buildkit import filemodes
from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.connections import SessionChannel
from sampan.daemon.buildkit.frames import Messages
from sampan.errors import InvalidArgument, SampanError
from sampan.store.archive import headers
from sampan.store.archive.limits import DEFAULT_LIMITS
from sampan.store.archive.names import clean_name

METHOD: Final = "/moby.filesync.v1.FileSync/DiffCopy"
_FINISH_S: Final = 5.0


class Transfer:
    """A directory that is being read. Lives in the side loop; `close` ends it.

    items: what the client lists, in order; None for a socket, which no image can hold.
    """

    def __init__(self, channel: SessionChannel) -> None:
        self._channel = channel
        self._method = StreamStreamMethod(channel, METHOD, m.Packet, m.Packet)
        self._stack = AsyncExitStack()
        self._one_at_a_time = asyncio.Lock()
        self._changed = asyncio.Event()
        self._messages = Messages(m.Packet.FromString, self._take_packet, self._changed.set)
        self._listed = False
        self._finished = self._closing = False
        self._missing: set[int] = set()
        self._take: Take = _nothing_asked
        self._ended: asyncio.Task[None] | None = None
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
        # Nothing was awaited since its head went out, so none of its data has come yet.
        self._stream_id = self._stream._stream.id or 0
        self._channel.splitter.divert(self._stream_id, self._messages.feed)
        self._ended = asyncio.create_task(self._watch(), name="a client's files")
        await self._until(lambda: self._listed)

    async def _watch(self) -> None:
        """Return, or raise why, when the client has ended the stream; its data does not come this way."""
        try:
            await self._stream.recv_message()
            if not self._closing:
                await self._stream.end()
            await self._stream.recv_trailing_metadata()
        finally:
            self._changed.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for packets to bring something about.

        Raises:
            Exception: what ended them before.
        """
        assert self._ended is not None  # open came before
        while not condition():
            if self._messages.error is not None:
                raise self._messages.error
            if self._ended.done():
                self._ended.result()  # raises what the client ended it by
                raise ConnectionResetError("the client ended the transfer of its files")
            self._changed.clear()
            await self._changed.wait()

    def _take_packet(self, packet: m.Packet) -> None:
        if packet.type == m.Packet.DATA:
            if packet.id not in self._missing:
                raise InvalidArgument("the client sent what was not asked for")
            self._take(packet.id, packet.data)
            if not packet.data:
                self._missing.discard(packet.id)
                if not self._missing:
                    self._changed.set()
        elif packet.type == m.Packet.STAT:
            if packet.HasField("stat"):
                self.items.append(_item_of(packet.stat))
            else:
                self._listed = True
                self._changed.set()
        elif packet.type == m.Packet.FINISH:
            self._finished = True
            self._changed.set()
        elif packet.type == m.Packet.ERROR:
            raise InvalidArgument(f"error from sender: {packet.data.decode(errors='replace')}")

    async def fetch(self, numbers: Sequence[int], take: Take) -> None:
        """Have files sent; see `remote_context.Source`."""
        async with self._one_at_a_time:
            self._missing = set(numbers)
            self._take = take
            asking = asyncio.create_task(self._ask(numbers), name="files are asked for")
            try:
                await self._until(lambda: not self._missing)
            finally:
                self._take = _nothing_asked
                asking.cancel()

    async def _ask(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            await self._stream.send_message(m.Packet(type=m.Packet.REQUEST, id=number))

    async def close(self) -> None:
        """Tell the client that no more is needed. Fine in any state."""
        try:
            async with asyncio.timeout(_FINISH_S):
                await self._finish()
        except (TimeoutError, ConnectionError, H2Error, GRPCError, StreamTerminatedError, SampanError) as exc:
            log.debug("a client's files were not closed in order", reason=exc)
            with suppress(H2Error, StreamTerminatedError):  # it is closed already
                await self._stream.cancel()
        if self._ended is not None:
            self._ended.cancel()
            await asyncio.wait((self._ended,))
            if not self._ended.cancelled():
                self._ended.exception()  # told already, or nobody is left to be told
            self._channel.splitter.restore(self._stream_id)
        with suppress(H2Error, GRPCError, StreamTerminatedError):
            await self._stack.aclose()
        self.items = []  # the packets' callbacks are a cycle: what is large does not wait for its collection

    async def _finish(self) -> None:
        self._closing = True
        await self._stream.send_message(m.Packet(type=m.Packet.FINISH), end=True)
        await self._until(lambda: self._finished)
        assert self._ended is not None  # open came before
        await asyncio.wait((self._ended,))


def _nothing_asked(number: int, data: bytes) -> None:
    raise InvalidArgument("the client sent what was not asked for")


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
    kind = filemodes.kind_of(stat.mode)
    if kind is None:
        raise InvalidArgument(f"{stat.path!r} of the build context is of a kind that no image can hold")
    if kind == filemodes.SOCKET:
        return None
    if kind == headers.REGULAR and stat.linkname:
        kind = headers.HARD_LINK
    entry = make_entry(kind, name)
    entry.mode = filemodes.permissions_of(stat.mode)
    entry.uid, entry.gid, entry.mtime_ns = stat.uid, stat.gid, stat.mod_time
    entry.linkname = stat.linkname.encode(errors="surrogateescape")
    entry.device = (stat.devmajor, stat.devminor)
    entry.xattrs = {key.encode(): value for key, value in stat.xattrs.items()} or None
    if entry.kind == headers.REGULAR:
        if stat.size < 0:
            raise InvalidArgument(f"{name!r} of the build context has the size {stat.size}")
        entry.size = entry.stored_bytes = stat.size
    return Item(name, entry)
