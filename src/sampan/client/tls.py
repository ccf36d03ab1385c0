"""TCP with TLS, so that everything else still sees a plain socket.

```
 session, relay, attachment ═ socket pair ═ thread (TlsRelay) ═ TCP, TLS ═ daemon
```

A TLS connection is no descriptor that could be handed on, polled together with others and closed halfway;
one end of a socket pair is. The command line loads this only when an address needs it.
"""

from __future__ import annotations

import _socket
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sampan.client.address import Address, connect
from sampan.client.tls_relay import TlsRelay
from sampan.errors import InvalidArgument, Unavailable

_HANDSHAKE_S: Final = 10.0
_NAMES: Final = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}  # docker's, in DOCKER_CERT_PATH


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """What a client shows and trusts: paths of PEM files. verify: whether the daemon must show who it is."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """Return what a connection is made with.

        Raises:
            InvalidArgument: a file is missing, or holds something else.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            if self.verify and self.ca:
                context.load_verify_locations(self.ca)
            elif self.verify:
                context.load_default_certs()
            if self.cert or self.key:
                context.load_cert_chain(self.cert, self.key or None)
        except (OSError, ssl.SSLError) as exc:
            shown = ", ".join(path for path in (self.ca, self.cert, self.key) if path)
            raise InvalidArgument(f"cannot use the TLS files {shown}: {exc}") from exc
        return context


def files_in(folder: str, *, verify: bool = True) -> TlsFiles:
    """Return the files that docker's clients look for in a folder; those that are not there are left out."""
    found = {kind: f"{folder}/{name}" for kind, name in _NAMES.items() if os.path.exists(f"{folder}/{name}")}
    return TlsFiles(**found, verify=verify)


def files_from_environment() -> TlsFiles | None:
    """Return what `DOCKER_TLS_VERIFY`, `DOCKER_TLS` and `DOCKER_CERT_PATH` ask for; None: no TLS."""
    verify, folder = bool(os.environ.get("DOCKER_TLS_VERIFY")), os.environ.get("DOCKER_CERT_PATH", "")
    if not (verify or os.environ.get("DOCKER_TLS") or folder):
        return None
    return files_in(folder or f"{os.environ.get('HOME', '/')}/.docker", verify=verify)


def tls_connector(files: TlsFiles) -> Callable[[Address], _socket.socket]:
    """Return what connects a session by TLS; other addresses than TCP are connected plainly.

    Raises:
        InvalidArgument: a file is missing, or holds something else.
    """
    context = files.context()

    def connect_tls(address: Address) -> _socket.socket:
        sock = connect(address)
        return _start(socket.socket(fileno=sock.detach()), context, address) if address.host else sock

    return connect_tls


class _Bridged(_socket.socket):
    """The plain end. failure: why the connection behind it ended, when it did so by an error."""

    failure: str = ""


def _start(net: socket.socket, context: ssl.SSLContext, address: Address) -> _socket.socket:
    ours, theirs = socket.socketpair()
    plain = _Bridged(fileno=theirs.detach())
    relay = TlsRelay(net, ours, context, server_name=address.host)
    try:
        _shake_hands(relay, net, address)
    except BaseException:
        relay.close()
        plain.close()
        raise
    threading.Thread(target=_pump, args=(relay, plain), name="tls", daemon=True).start()
    return plain


def _shake_hands(relay: TlsRelay, net: socket.socket, address: Address) -> None:
    """Do everything up to the first byte of HTTP, so that a refusal is the error of the connect."""
    while True:
        relay.step()
        if relay.established:
            return
        if relay.finished:
            raise Unavailable(
                f"cannot talk TLS with {address.text}: {relay.failure or 'it closed the connection'}",
                hint="--tlscacert names who vouches for the daemon, --tlscert and --tlskey who you are",
            )
        poller = select.poll()
        poller.register(net, relay.net_events() or select.POLLIN)
        if not poller.poll(_HANDSHAKE_S * 1000):
            raise Unavailable(f"{address.text} does not talk TLS")


def _pump(relay: TlsRelay, plain: _Bridged) -> None:
    try:
        while not relay.finished:
            relay.step()
            poller = select.poll()
            poller.register(relay.net, relay.net_events())
            poller.register(relay.local, relay.local_events())
            if not relay.finished:
                poller.poll()
    finally:
        plain.failure = relay.failure
        relay.close()
