"""TCP with TLS: each connection is unwrapped here, and what is inside is served as a unix socket's.

```
 client ═ TCP, TLS ═ TlsRelay ═ socket pair ═ aiohttp; on hijack: a duplicate ═ shim
```

So nothing behind knows of TLS: streams are handed over as descriptors, half-closes and hang-ups are those of
a unix socket. The relay belongs to the event loop; streams over TLS end when sampand does.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable
from typing import Final

from sampan import log
from sampan.client.tls_relay import TlsRelay

_HANDSHAKE_S: Final = 10.0  # a client that says nothing holds no place for longer
_MAX_CONNECTIONS: Final = 1024


class TlsServer:
    """Accepts on one listening socket until closed."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, factory: Callable[[], asyncio.Protocol]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._context = context
        self._factory = factory
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop.add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        """Take no further connections, and end those there are."""
        self._loop.remove_reader(self._sock.fileno())
        for link in list(self._links):
            link.end()

    def _accept(self) -> None:
        try:
            net, _ = self._sock.accept()
        except OSError:
            return  # the client has gone, or descriptors are short: the next one is told by the loop
        if len(self._links) >= _MAX_CONNECTIONS:
            net.close()
            return
        net.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ours, theirs = socket.socketpair()
        relay = TlsRelay(net, ours, self._context, one_way=True)
        link = _Link(self._loop, relay, theirs, established=self._serve, gone=self._links.discard)
        self._links.add(link)
        link.turn()

    def _serve(self, plain: socket.socket) -> None:
        plain.setblocking(False)
        task = self._loop.create_task(self._connect(plain), name="tls client")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, plain: socket.socket) -> None:
        await self._loop.connect_accepted_socket(self._factory, plain)


class _Link:
    """One relay driven by the loop. plain: the inner end, served only once the client has shown who it is."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        relay: TlsRelay,
        plain: socket.socket,
        *,
        established: Callable[[socket.socket], None],
        gone: Callable[[_Link], None],
    ) -> None:
        self._loop = loop
        self._relay = relay
        self._plain: socket.socket | None = plain
        self._established = established
        self._gone = gone
        self._limit = loop.call_later(_HANDSHAKE_S, self._give_up)

    def turn(self) -> None:
        """Move what can be moved, then wait for more."""
        self._relay.step()
        if self._plain is not None and self._relay.established and not self._relay.finished:
            self._limit.cancel()
            plain, self._plain = self._plain, None
            self._established(plain)
        if self._relay.finished:
            self.end()
            return
        self._watch(self._relay.net, self._relay.net_events())
        self._watch(self._relay.local, self._relay.local_events())

    def end(self) -> None:
        """Close everything."""
        self._limit.cancel()
        for sock in (self._relay.net, self._relay.local):
            if sock.fileno() >= 0:
                self._watch(sock, 0)
        if self._plain is not None:
            log.info("TLS client refused", reason=self._relay.failure or "it left")
            self._plain.close()
            self._plain = None
        self._relay.close()
        self._gone(self)

    def _give_up(self) -> None:
        self._relay.failure = "no handshake in time"
        self.end()

    def _watch(self, sock: socket.socket, events: int) -> None:
        if events & select.POLLIN:
            self._loop.add_reader(sock.fileno(), self.turn)
        else:
            self._loop.remove_reader(sock.fileno())
        if events & select.POLLOUT:
            self._loop.add_writer(sock.fileno(), self.turn)
        else:
            self._loop.remove_writer(sock.fileno())
