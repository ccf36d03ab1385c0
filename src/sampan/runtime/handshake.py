"""The messages between the parent and the child it cloned. Chart: docs/runtime-protocol.md. Lean.

One JSON object a SOCK_SEQPACKET message. The child's side uses only `os.read` and `os.write` on a plain
descriptor where a seccomp filter may already be in force.
"""

from __future__ import annotations

import os

from sampan import errors, fastjson
from sampan.errors import SampanError
from sampan.kernel import process, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import NoReturn

    from sampan.fastjson import JsonValue

    Message = dict[str, JsonValue]

_LARGEST = 65536
GO = b'{"go":true}'


class ChildSide:
    """The child's end, by descriptor. Every method ends the process if the parent is gone."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def tell(self, name: str, value: JsonValue = True) -> None:
        """Send a message of one field."""
        os.write(self.fd, fastjson.dumps({name: value}).encode())

    def wait(self) -> None:
        """Wait for the parent's `go`; without a parent there is nobody to run for."""
        if os.read(self.fd, 64) != GO:
            os._exit(1)

    def send_descriptor(self, name: str, fd: int) -> None:
        """Send a message with a descriptor."""
        sock = sockets.from_fd(os.dup(self.fd))
        try:
            sockets.send_message(sock, fastjson.dumps({name: True}).encode(), [fd])
        finally:
            sock.close()


class ToldOnly(ChildSide):
    """The end of a child whose parent listens and never answers."""

    def wait(self) -> None:
        """Go on at once."""


class ParentSide:
    """The parent's end of the socket pair, and a pidfd to tell a dead child by."""

    def __init__(self, sock: socket) -> None:
        self._sock = sock

    def go(self) -> None:
        """Let the child go on; that it is gone shows at the next `receive`."""
        try:
            sockets.send_message(self._sock, GO)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self) -> tuple[Message, list[int]]:
        """Return the child's next message and descriptors; ({}, []) when the child's end is closed.

        Raises:
            SampanError or OSError: what the child says stopped it.
        """
        try:
            raw, fds = sockets.receive_message(self._sock, max_fds=1, max_bytes=_LARGEST)
        except ConnectionResetError:
            return {}, []
        if not raw:
            return {}, []
        message = fastjson.loads(raw)
        assert isinstance(message, dict)  # our own child wrote it
        if "error" in message:
            sockets.close_all(fds)
            raise_child_error(message)
        return message, fds

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


def pair() -> tuple[ParentSide, int]:
    """Return the parent's side and the child's descriptor, both close-on-exec."""
    parent, child = sockets.seqpacket_pair()
    return ParentSide(parent), child.detach()


def encode_error(error: BaseException, step: str) -> bytes:
    """Return the message for an error that stopped the child. Must not import or look anything up."""
    text = str(error)
    number = 0
    if isinstance(error, OSError):
        number = error.errno or 0
        text = (error.strerror or text) + (f": {error.filename!r}" if error.filename else "")
    elif not isinstance(error, SampanError):
        text = f"{type(error).__name__}: {text}"
    document = {"error": type(error).__name__, "step": step, "errno": number, "text": text[:4096]}
    if isinstance(error, SampanError) and error.hint:
        document["hint"] = error.hint
    return fastjson.dumps(document).encode()


def raise_child_error(message: Message) -> NoReturn:
    """Raise what `encode_error` packed: one of our errors as it was, any other with its step in front."""
    kind = getattr(errors, str(message["error"]), None)
    text = str(message["text"])
    hint = str(message.get("hint", ""))
    if isinstance(kind, type) and issubclass(kind, SampanError):
        raise kind(text, hint=hint)
    raise SampanError(f"unable to start container process: {message['step']}: {text}", hint=hint)


def take_listener(pidfd: int, message: Message) -> int:
    """Return a copy of the seccomp listener whose number the child told."""
    number = message["listener"]
    assert isinstance(number, int)
    return process.pidfd_getfd(pidfd, number)
