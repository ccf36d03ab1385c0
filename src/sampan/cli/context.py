"""What every command gets: which daemon is meant, and how to reach it. Lean (decision 0002)."""

from __future__ import annotations

from sampan.client.address import Address, connect, parse_address
from sampan.client.session import Session
from sampan.errors import Forbidden, Unavailable
from sampan.lean import getenv, record
from sampan.settings import default_roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable


@record
class TlsWishes:
    """The global flags for tcp:// addresses; without them the environment decides, as for docker."""

    wanted: bool = False
    verify: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""


class Context:
    """The daemon a command line speaks of.

    `DOCKER_HOST` is not read: who has it set for docker would otherwise drive dockerd without noticing.
    """

    def __init__(self, *, host: str = "", debug: bool = False, tls: TlsWishes | None = None) -> None:
        self.debug = debug
        self.chosen = host or getenv("SAMPAN_HOST") or ""
        self.own_socket = f"{default_roots().run}/sampan.sock"
        self.address: Address = parse_address(self.chosen or self.own_socket)
        self._tls = tls or TlsWishes()
        self._connector: Callable[[Address], _socket.socket] | None = (
            None if self.address.kind == "tcp" else connect
        )

    @property
    def is_local(self) -> bool:
        """Whether the daemon is this machine's own, so that it may be started."""
        return self.address.kind == "unix" and self.address.path == self.own_socket

    def connect(self) -> _socket.socket:
        """Open a connection to the daemon; the caller closes it."""
        return self._connect(self.address)

    def session(self) -> Session:
        """Return a session with the daemon; nothing is connected yet."""
        return Session(self.address, connector=self._connect)

    def _connect(self, address: Address) -> _socket.socket:
        try:
            if self._connector is None:
                self._connector = _tcp_connector(self._tls)
            return self._connector(address)
        except PermissionError as exc:
            hint = f"only root and members of the group of {address.path} may: use sudo, or join the group"
            raise Forbidden(f"permission denied on {address.text}", hint=hint) from exc
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as exc:
            if self.is_local:
                from sampan.cli.autostart import start_and_connect

                return start_and_connect(address)
            hint = f"start it there: sampand -H {address.text}, or name another with -H or SAMPAN_HOST"
            raise Unavailable(f"cannot connect to {address.text}: nobody listens there", hint=hint) from exc


def _tcp_connector(wishes: TlsWishes) -> Callable[[Address], _socket.socket]:
    """Return what connects to a tcp:// address; `ssl` takes 20 ms to load, so only where it is wanted."""
    folder = getenv("DOCKER_CERT_PATH") or ""
    asked = wishes.wanted or wishes.ca or wishes.cert or wishes.key or folder
    if not (asked or getenv("DOCKER_TLS_VERIFY") or getenv("DOCKER_TLS")):
        return connect
    from sampan.client.tls import TlsFiles, files_in, tls_connector

    verify = wishes.verify or bool(getenv("DOCKER_TLS_VERIFY"))
    found = files_in(folder or f"{getenv('HOME') or '/'}/.docker", verify=verify)
    return tls_connector(
        TlsFiles(
            ca=wishes.ca or found.ca,
            cert=wishes.cert or found.cert,
            key=wishes.key or found.key,
            verify=verify,
        )
    )
