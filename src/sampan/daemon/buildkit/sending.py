"""What a build gives its client: the image's files, as an archive or one by one (`--output type=tar|local`).

Both by `moby.filesync.v1.FileSend/DiffCopy`, which we open at the client. An archive goes as BytesMessages.
Files go as in `filesync`, but with us as the one who has them:

```
we → STAT … STAT, an empty STAT       client → REQUEST number …       we → DATA number bytes … DATA number
client → FINISH, we → FINISH
```

Source: BuildKit, session/filesync/filesync.go; tonistiigi/fsutil, send.go.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol

from grpclib.client import Stream, StreamStreamMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import H2Error

from sampan.build.trees import Item, RootTree, Tree, walk
from sampan.daemon.buildkit import filemodes
from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.sessions import Session
from sampan.errors import InvalidArgument, Unsupported
from sampan.store.archive import headers
from sampan.store.archive.writer import Sink, write_pieces

if TYPE_CHECKING:
    from sampan.engine.builds.builds import Builds

METHOD: Final = "/moby.filesync.v1.FileSend/DiffCopy"
_EXPORTER: Final = "buildkit-attachable-exporter-id"  # which of several outputs, by its place
_PIECE: Final = 256 * 1024


class Archive(Protocol):
    """What is sent; use it in a `with`."""

    def __enter__(self) -> Archive: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, sink: Sink) -> None:
        """Write all of it."""
        ...


def send_archive(content: Archive, session: Session, *, number: int) -> int:
    """Send an archive as a tar stream, and close it; return its size. From a worker thread.

    Raises:
        Unsupported: the client takes no files. GRPCError: it cannot write them.
    """
    with content:
        _check(session)
        archive = _Archive(session, number)
        session.wait(archive.open())
        try:
            content.write(archive)
            session.wait(archive.finish())
        finally:
            session.wait(archive.close())
        return archive.size


def send_files(builds: Builds, session: Session, image_id: str, *, number: int) -> int:
    """Send an image's files one by one; return how many. From a worker thread; else as `send_archive`."""
    _check(session)
    with builds.open_root(image_id) as root:
        tree = RootTree(root.fd)
        top = tree.find("")
        assert top is not None  # a root has one
        items = list(walk(tree, top))
        session.wait(_send_tree(session, tree, items, number))
    return len(items)


def _check(session: Session) -> None:
    if not session.has(METHOD):
        raise Unsupported("the client's session takes no files")


class _Archive:
    """A stream of the session's loop as a sink of a thread; an `archive.writer.Sink`."""

    def __init__(self, session: Session, number: int) -> None:
        self._session = session
        self._method = StreamStreamMethod(session.channel, METHOD, m.BytesMessage, m.BytesMessage)
        self._metadata = [(_EXPORTER, str(number))]
        self._stack = AsyncExitStack()
        self.size = 0

    async def open(self) -> None:
        """Begin."""
        self._stream = await self._stack.enter_async_context(self._method.open(metadata=self._metadata))
        await self._stream.send_request()

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Sink`."""
        view = memoryview(data)
        for at in range(0, len(view), _PIECE):
            piece = bytes(view[at : at + _PIECE])
            self.size += len(piece)
            self._session.wait(self._stream.send_message(m.BytesMessage(data=piece)))

    def copy(self, fd: int, size: int, /) -> None:
        """See `Sink`."""
        write_pieces(self, fd, size)

    async def finish(self) -> None:
        """Wait until the client has written everything.

        Raises:
            GRPCError: it could not.
        """
        await self._stream.end()
        await self._stream.recv_message()
        await self._stream.recv_trailing_metadata()

    async def close(self) -> None:
        """End it; fine at any time."""
        with suppress(GRPCError, StreamTerminatedError, H2Error):
            await self._stack.aclose()


async def _send_tree(session: Session, tree: Tree, items: list[Item], number: int) -> None:
    method = StreamStreamMethod(session.channel, METHOD, m.Packet, m.Packet)
    async with method.open(metadata=[(_EXPORTER, str(number))]) as stream:
        await stream.send_request()
        listing = asyncio.create_task(_send_list(stream, items), name="a list of files")
        try:
            while (packet := await stream.recv_message()) is not None:
                if packet.type == m.Packet.REQUEST:
                    await _send_content(stream, tree, _asked(items, packet.id), packet.id)
                elif packet.type == m.Packet.ERROR:
                    raise InvalidArgument(f"the client: {packet.data.decode(errors='replace')}")
                elif packet.type == m.Packet.FINISH:
                    break
            await listing
            await stream.send_message(m.Packet(type=m.Packet.FINISH), end=True)
        finally:
            listing.cancel()


async def _send_list(stream: Stream[m.Packet, m.Packet], items: list[Item]) -> None:
    first: dict[object, str] = {}
    for item in items:
        linkname = first.setdefault(item.same, item.path) if item.same is not None else item.path
        stat = _stat_of(item, linkname if linkname != item.path else "")
        await stream.send_message(m.Packet(type=m.Packet.STAT, stat=stat))
    await stream.send_message(m.Packet(type=m.Packet.STAT))


def _stat_of(item: Item, hard_link: str) -> m.Stat:
    entry = item.entry
    return m.Stat(
        path=_text(os.fsencode(item.path)),
        mode=filemodes.to_go(entry.kind, entry.mode),
        uid=entry.uid,
        gid=entry.gid,
        size=0 if hard_link else entry.size,
        mod_time=entry.mtime_ns,
        linkname=hard_link or _text(entry.linkname),
        devmajor=entry.device[0],
        devminor=entry.device[1],
        xattrs={_text(name): value for name, value in (entry.xattrs or {}).items()},
    )


def _text(raw: bytes) -> str:
    """Return a name as a message can carry it.

    Raises:
        Unsupported: it is no UTF-8.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Unsupported(f"the name {raw!r} is no UTF-8: use --output type=tar") from None


def _asked(items: list[Item], number: int) -> Item:
    if number >= len(items) or items[number].entry.kind != headers.REGULAR:
        raise InvalidArgument(f"the client asked for file {number}, which there is not")
    return items[number]


async def _send_content(stream: Stream[m.Packet, m.Packet], tree: Tree, item: Item, number: int) -> None:
    pieces = _cut(tree, item)
    while piece := await asyncio.to_thread(next, pieces, b""):
        await stream.send_message(m.Packet(type=m.Packet.DATA, id=number, data=piece))
    await stream.send_message(m.Packet(type=m.Packet.DATA, id=number))


def _cut(tree: Tree, item: Item) -> Iterator[bytes]:
    for whole in tree.data(item):
        for at in range(0, len(whole), _PIECE):
            yield bytes(whole[at : at + _PIECE])
