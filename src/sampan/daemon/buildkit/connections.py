"""gRPC over a socket that was an HTTP/1.1 connection before: as its server, or as its client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.encoding.proto import ProtoCodec
from grpclib.protocol import H2Protocol
from grpclib.server import Server

from sampan.daemon.buildkit.failures import StatusDetails
from sampan.daemon.buildkit.frames import Splitter

if TYPE_CHECKING:
    from grpclib._typing import IServable

# What one side may have sent before the other has taken it: contexts come through here.
_CONFIG: Final = Configuration(
    http2_connection_window_size=16 * 1024 * 1024, http2_stream_window_size=8 * 1024 * 1024
)


async def serve(sock: socket.socket, services: list[IServable]) -> None:
    """Answer calls until the client has gone; what then still runs is cancelled."""
    server = Server(services, codec=ProtoCodec(), status_details_codec=StatusDetails(), config=_CONFIG)
    # The library only listens by itself; the protocol behind is the same for a connection that is there.
    splitter = await _adopt(sock, server._protocol_factory)
    try:
        await splitter.lost
    finally:
        splitter.inner.processor.close("the connection ends")
        await splitter.inner.handler.wait_closed()  # type: ignore[attr-defined]  # a server's has it


async def _adopt(sock: socket.socket, factory: Callable[[], H2Protocol]) -> Splitter:
    """Let a protocol of factory speak on a socket."""
    loop = asyncio.get_running_loop()
    _, splitter = await loop.connect_accepted_socket(lambda: Splitter(factory()), sock)
    return splitter


class SessionChannel(Channel):
    """The calls that a client serves on a connection it opened. It is never opened again."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(
            "localhost", 0, codec=ProtoCodec(), status_details_codec=StatusDetails(), config=_CONFIG
        )
        self._socket = sock
        self._splitter: Splitter | None = None

    async def open(self) -> None:
        """Begin; the client is served from here on."""
        await self.__connect__()

    async def _create_connection(self) -> H2Protocol:
        if self._splitter is not None:
            raise ConnectionResetError("the client has gone")
        self._splitter = await _adopt(self._socket, self._protocol_factory)
        return self._splitter.inner

    @property
    def splitter(self) -> Splitter:
        """What stands before the protocol."""
        assert self._splitter is not None  # open came before
        return self._splitter

    async def ended(self) -> None:
        """Return when the client has gone."""
        await asyncio.shield(self.splitter.lost)


def texts(metadata: Mapping[str, str | bytes], name: str) -> str:
    """Return a value of a call's metadata, "" for none."""
    value = metadata.get(name, "")
    return value if isinstance(value, str) else ""
