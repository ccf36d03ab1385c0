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
    protocol, lost = await _adopt(sock, server._protocol_factory)
    try:
        await lost
    finally:
        protocol.processor.close("the connection ends")
        await protocol.handler.wait_closed()  # type: ignore[attr-defined]  # a server's has it


async def _adopt(
    sock: socket.socket, factory: Callable[[], H2Protocol]
) -> tuple[H2Protocol, asyncio.Future[None]]:
    """Let a protocol of factory speak on a socket; the future is done when the connection is lost."""
    loop = asyncio.get_running_loop()
    lost: asyncio.Future[None] = loop.create_future()

    def make() -> H2Protocol:
        protocol = factory()
        forward = protocol.connection_lost

        def connection_lost(exc: BaseException | None) -> None:
            forward(exc)
            if not lost.done():
                lost.set_result(None)

        # The library tells nobody; this one object does.
        protocol.connection_lost = connection_lost  # type: ignore[method-assign]  # on purpose
        return protocol

    _, protocol = await loop.connect_accepted_socket(make, sock)
    return protocol, lost


class SessionChannel(Channel):
    """The calls that a client serves on a connection it opened. It is never opened again."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(
            "localhost", 0, codec=ProtoCodec(), status_details_codec=StatusDetails(), config=_CONFIG
        )
        self._socket = sock
        self._lost: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Begin; the client is served from here on."""
        await self.__connect__()

    async def _create_connection(self) -> H2Protocol:
        if self._lost is not None:
            raise ConnectionResetError("the client has gone")
        protocol, self._lost = await _adopt(self._socket, self._protocol_factory)
        return protocol

    async def ended(self) -> None:
        """Return when the client has gone."""
        assert self._lost is not None  # open came before
        await asyncio.shield(self._lost)


def texts(metadata: Mapping[str, str | bytes], name: str) -> str:
    """Return a value of a call's metadata, "" for none."""
    value = metadata.get(name, "")
    return value if isinstance(value, str) else ""
