"""A connection as aiohttp serves it, made able to stop being HTTP.

aiohttp drops what a client sends behind a request with `Upgrade: tcp`, since it knows only websockets. Here
such a request is passed on up to its last byte; everything behind it is kept. Whoever takes the
connection over gets it by `divert`; if nobody does, `resume_http` gives it back to the parser.
"""

from __future__ import annotations

from typing import Final

from aiohttp.web_protocol import RequestHandler

from sampan.daemon.scopes import FULL, Scope

_ENOUGH: Final = 256 * 1024  # bytes kept before the client has to wait
_HEAD_END: Final = b"\r\n\r\n"


class Connection(RequestHandler):
    """One client.

    diverted: somebody took the connection over, it serves no further request. answering: the head of the
    present request's answer is sent, so that an error can only break the connection off. scope: what the
    listener lets its clients do.
    """

    diverted: bool = False
    scope: Scope = FULL
    answering: bool = False
    _early: bytes | None = None  # None as long as the connection speaks HTTP
    _left: int = 0  # bytes of the upgrading request's body that are still to come

    def data_received(self, data: bytes) -> None:
        """Take bytes from the transport."""
        if self._early is not None:
            self._keep(data)
        elif self._left:
            self._split(data, self._left)
        elif self._waiter is not None and not self._waiter.done() and (end := upgrade_end(data)):
            self._split(data, end)
        else:
            super().data_received(data)

    def _split(self, data: bytes, end: int) -> None:
        """Pass data up to end on as HTTP and keep the rest."""
        self._left = max(0, end - len(data))
        super().data_received(data[:end])
        if not self._left:
            self._keep(data[end:])

    def _keep(self, data: bytes) -> None:
        self._early = (self._early or b"") + data
        if len(self._early) > _ENOUGH and self.transport is not None:
            self.transport.pause_reading()

    def divert(self) -> bytes:
        """Speak no HTTP from here on, read nothing more, and return what was read already."""
        early, self._early = self._early or b"", b""
        self.diverted = True
        if self.transport is not None:
            self.transport.pause_reading()
        return early

    def resume_http(self) -> None:
        """Go on with HTTP behind a request that asked for an upgrade and did not get it."""
        early, self._early = self._early, None
        if early and self.transport is not None:
            super().data_received(early)
            self.transport.resume_reading()


def upgrade_end(data: bytes) -> int:
    """Return where a request with `Upgrade: tcp` that begins data will end; 0 if data begins with none.

    Only requests whose head comes in one piece, and with a length or no body: those of all known clients.
    aiohttp's parser sees and judges the same bytes; this only says where HTTP ends.
    """
    head_end = data.find(_HEAD_END)
    if head_end < 0:
        return 0
    lines = data[:head_end].lower().split(b"\r\n")
    fields = dict(line.partition(b":")[::2] for line in lines[1:])
    if fields.get(b"upgrade", b"").strip() != b"tcp" or b"transfer-encoding" in fields:
        return 0
    length = fields.get(b"content-length", b"0").strip()
    return head_end + len(_HEAD_END) + int(length) if length.isdigit() and len(length) < 10 else 0
