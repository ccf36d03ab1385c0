"""`system dial-stdio`: the daemon's socket on standard input and output, for a client behind ssh. Lean."""

from __future__ import annotations

import os
import select

from sampan.cli.relay import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags

_PIECE = 256 * 1024
_WRITE_END = 1  # SHUT_WR


def dial(context: Context, _flags: Flags, _arguments: list[str]) -> int:
    """Pass bytes on both ways until the daemon ends the connection, or nobody reads any more."""
    sock = context.connect()
    waiting = select.poll()
    waiting.register(0, select.POLLIN)
    waiting.register(sock.fileno(), select.POLLIN)
    while True:
        for fd, _event in waiting.poll():
            if fd == 0:
                data = os.read(0, _PIECE)
                if data:
                    sock.sendall(data)
                else:
                    waiting.unregister(0)
                    sock.shutdown(_WRITE_END)
            else:
                data = sock.recv(_PIECE)
                if not data:
                    return 0
                write_all(1, data)
