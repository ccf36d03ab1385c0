"""What every command gets: which daemon is meant, and how to reach it. Lean (decision 0002)."""

from __future__ import annotations

import os

from sampan.client.address import Address, connect, parse_address
from sampan.client.session import Session
from sampan.errors import Forbidden, Unavailable
from sampan.settings import default_roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket


class Context:
    """The daemon a command line speaks of.

    `DOCKER_HOST` is not read: who has it set for docker would otherwise drive dockerd without noticing.
    """

    def __init__(self, *, host: str = "", debug: bool = False) -> None:
        self.debug = debug
        self.chosen = host or os.environ.get("SAMPAN_HOST", "")
        self.own_socket = f"{default_roots().run}/sampan.sock"
        self.address: Address = parse_address(self.chosen or self.own_socket)

    @property
    def is_local(self) -> bool:
        """Whether the daemon is this machine's own, so that it may be started."""
        return self.address.kind == "unix" and self.address.path == self.own_socket

    def session(self) -> Session:
        """Return a session with the daemon; nothing is connected yet."""
        return Session(self.address, connector=self._connect)

    def _connect(self, address: Address) -> _socket.socket:
        try:
            return connect(address)
        except PermissionError as exc:
            hint = f"only root and members of the group of {address.path} may: use sudo, or join the group"
            raise Forbidden(f"permission denied on {address.text}", hint=hint) from exc
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as exc:
            if self.is_local:
                from sampan.cli.autostart import start_and_connect

                return start_and_connect(address)
            hint = f"start it there: sampand -H {address.text}, or name another with -H or SAMPAN_HOST"
            raise Unavailable(f"cannot connect to {address.text}: nobody listens there", hint=hint) from exc
