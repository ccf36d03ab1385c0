"""The shim's socket: requests one to a connection, events to those who subscribed. Lean.

No connection can hold the shim up: every socket is non-blocking, and an event that does not fit waits in
a short queue. Whoever lets that queue run over loses the connection and asks again (`events`).
"""

from __future__ import annotations

import os
from _socket import SOCK_SEQPACKET

from sampan.errors import Forbidden, InvalidArgument, SampanError
from sampan.kernel.sockets import accept, close_all, listen_at, peer_credentials
from sampan.runtime.launcher.loop import HUNG_UP, READABLE, WRITABLE
from sampan.runtime.launcher.messages import error_document, pack_event
from sampan.runtime.launcher.rundir import SOCKET
from sampan.runtime.launcher.transport import receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Mapping

    from sampan.runtime.launcher.loop import Loop
    from sampan.runtime.launcher.messages import Document, Event

    # A request's handler: returns the answer, or None to call `Request.answer` later.
    Handler = Callable[["Request"], Document | None]

_MAX_QUEUE = 256  # events for one subscriber, and events that nobody has read yet


class Request:
    """One request: its body, and its descriptors, which are closed when its handler returns."""

    def __init__(self, document: Document, fds: list[int], connection: Connection) -> None:
        self.document = document
        self.fds = fds
        self._connection = connection

    def answer(self, document: Document) -> None:
        """Answer; a client that did not wait is no error."""
        self._connection.post(document)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call back when the client has closed its connection."""
        self._connection.on_close = callback


class ControlServer:
    """Accepts connections, hands requests to their handlers, sends events."""

    def __init__(
        self,
        loop: Loop,
        handlers: Mapping[str, Handler],
        *,
        listener: socket,
        on_disconnect: Callable[[], None],
    ) -> None:
        """handlers is keyed by the request's `op`; on_disconnect is called when a subscriber has gone.

        listener is taken over.
        """
        self._loop = loop
        self._handlers = handlers
        self._on_disconnect = on_disconnect
        self._listener: socket | None = listener
        self._connections: set[Connection] = set()
        self._unread: list[Event] = []
        loop.watch(listener.fileno(), READABLE, self._on_connection)

    @property
    def has_subscribers(self) -> bool:
        """Whether anybody gets events."""
        return any(connection.subscribed for connection in self._connections)

    def stop_listening(self) -> None:
        """Take no new connection; the file is the caller's to remove."""
        if self._listener is not None:
            self._loop.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def add_subscriber(self, sock: socket) -> None:
        """Serve a connected socket that gets events from the start."""
        self._add(sock).subscribed = True

    def publish(self, event: Event) -> None:
        """Send an event to every subscriber; without one it is kept for the next."""
        subscribers = [connection for connection in self._connections if connection.subscribed]
        for connection in subscribers:
            connection.post(pack_event(event))
        if not subscribers and len(self._unread) < _MAX_QUEUE:
            self._unread.append(event)

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        if connection.subscribed:
            self._on_disconnect()

    def answer(self, connection: Connection, document: Document, fds: list[int]) -> None:
        """Run a request's handler and send what it returned or raised."""
        operation = document.get("op")
        try:
            handler = self._handlers.get(str(operation))
            if handler is None:
                raise InvalidArgument(f"the shim knows no request {operation!r}")
            answer = handler(Request(document, fds, connection))
        except (SampanError, OSError) as exc:
            answer = error_document(exc)
        finally:
            close_all(fds)
        if answer is None:
            return
        connection.post(answer)
        if operation == "events" and "error" not in answer:
            connection.subscribed = True
            unread, self._unread = self._unread, []
            for event in unread:
                connection.post(pack_event(event))

    def _on_connection(self, _events: int) -> None:
        assert self._listener is not None  # watched only while it is open
        try:
            sock = accept(self._listener)
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection = self._add(sock)
        if peer_credentials(sock).uid not in (0, os.geteuid()):
            connection.post(error_document(Forbidden("only the container's owner may talk to its shim")))
            connection.close()

    def _add(self, sock: socket) -> Connection:
        connection = Connection(self._loop, sock, self)
        self._connections.add(connection)
        return connection


def open_listener(run_dir: str) -> socket:
    """Open `<run_dir>/shim.sock`, for this user only; connections wait until a ControlServer has it.

    Raises:
        OSError: errno and filename are set.
    """
    listener = listen_at(run_dir, SOCKET, SOCK_SEQPACKET, mode=0o600)
    listener.setblocking(False)
    return listener


class Connection:
    """One connected socket."""

    def __init__(self, loop: Loop, sock: socket, server: ControlServer) -> None:
        self.subscribed = False
        self.on_close: Callable[[], None] | None = None
        self._loop = loop
        self._server = server
        self._sock = sock
        self._queue: list[Document] = []
        self._open = True
        sock.setblocking(False)
        loop.watch(sock.fileno(), READABLE, self._on_events)

    def post(self, document: Document) -> None:
        """Send a packet, now or when there is room."""
        if not self._open:
            return
        self._queue.append(document)
        if len(self._queue) > _MAX_QUEUE:
            self.close()
        elif len(self._queue) == 1:
            self._flush()

    def close(self) -> None:
        """End the connection."""
        if self._open:
            self._open = False
            self._loop.forget(self._sock.fileno())
            self._sock.close()
            self._server.forget(self)
            if self.on_close is not None:
                self.on_close()

    def _on_events(self, events: int) -> None:
        if events & WRITABLE:
            self._flush()
        if self._open and events & (READABLE | HUNG_UP):
            self._receive()

    def _receive(self) -> None:
        try:
            packet = receive(self._sock)
        except BlockingIOError:
            return
        except (OSError, SampanError):
            packet = None
        if packet is None:
            self.close()
        else:
            self._server.answer(self, *packet)

    def _flush(self) -> None:
        while self._queue:
            try:
                send(self._sock, self._queue[0])
            except BlockingIOError:
                self._loop.change(self._sock.fileno(), READABLE | WRITABLE)
                return
            except OSError:
                self.close()
                return
            del self._queue[0]
        self._loop.change(self._sock.fileno(), READABLE)
