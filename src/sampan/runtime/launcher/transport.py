"""Packets of the launcher and shim protocol: one JSON object and descriptors (docs/shim.md). Lean."""

from __future__ import annotations

import os

from sampan import fastjson
from sampan.errors import InvalidArgument, SampanError, Unavailable
from sampan.kernel.files import memfd_sealed
from sampan.kernel.sockets import close_all, receive_message, send_message
from sampan.runtime.launcher.messages import check_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Mapping, Sequence

    from sampan.runtime.launcher.messages import Document

MAX_FDS = 64  # descriptors of one packet: a connection and its attached clients
_SPILL_AT = 64 * 1024  # bytes; the default send buffer takes about 200 KiB (net.core.wmem_default)
_MAX_BODY = 16 * 1024 * 1024  # bytes of a spilled body: what an exec's environment can need is 2 MiB
_SPILLED = b'{"spill":true}'


def send(sock: socket, document: Mapping[str, object], fds: Sequence[int] = ()) -> None:
    """Send one packet; a large body goes by a memfd. The caller keeps its descriptors.

    Raises:
        OSError: EPIPE or ECONNRESET, the other end is gone; BlockingIOError, a non-blocking socket is full.
    """
    send_body(sock, fastjson.dumps(document).encode(), fds)


def send_body(sock: socket, body: bytes, fds: Sequence[int]) -> None:
    """Send a packet whose body is made already; otherwise as `send`."""
    if len(body) <= _SPILL_AT:
        send_message(sock, body, list(fds))
        return
    memfd = memfd_sealed("sampan-message", body)
    try:
        send_message(sock, _SPILLED, [memfd, *fds])
    finally:
        os.close(memfd)


def receive(sock: socket) -> tuple[Document, list[int]] | None:
    """Receive one packet and its descriptors (the caller closes them); None at the end of the connection.

    Raises:
        Unavailable: what came is no packet of this protocol.
        OSError: ECONNRESET; BlockingIOError, a non-blocking or timed socket has nothing.
    """
    body, fds = receive_body(sock)
    return (parse(body, fds), fds) if body else None


def receive_body(sock: socket, *, shared: bool = False) -> tuple[bytes, list[int]]:
    """Receive one packet's body for `parse`, and its descriptors; no bytes at the end of the connection.

    shared: other processes read this socket, too; then it does not wait.

    Raises: as `receive`.
    """
    body, fds = receive_message(
        sock, max_fds=MAX_FDS + 1, max_bytes=_SPILL_AT, wait=not shared, shared=shared
    )
    if body != _SPILLED:
        return body, fds
    try:
        return _read_spilled(fds), fds
    except Unavailable as exc:
        close_all(fds)
        raise Unavailable(f"a packet of the launcher protocol is damaged: {exc}") from exc


def parse(body: bytes, fds: list[int]) -> Document:
    """Return the object of a packet.

    Raises:
        Unavailable: it is no packet of this protocol; fds are closed.
    """
    try:
        return check_document(fastjson.loads(body))
    except SampanError as exc:
        close_all(fds)
        raise Unavailable(f"a packet of the launcher protocol is damaged: {exc}") from exc


def number(document: Document, name: str) -> int:
    """Return a number out of a packet.

    Raises:
        InvalidArgument: there is none of that name.
    """
    value = document.get(name)
    if not isinstance(value, int):
        raise InvalidArgument(f"{name} is not a number")
    return value


def _read_spilled(fds: list[int]) -> bytes:
    """Read the body out of the first descriptor, and take that one off the list."""
    if not fds:
        raise Unavailable("its body is missing")
    memfd = fds.pop(0)
    try:
        size = os.fstat(memfd).st_size
        if size > _MAX_BODY:
            raise Unavailable(f"its body has {size} bytes")
        return os.pread(memfd, size, 0)
    finally:
        os.close(memfd)
