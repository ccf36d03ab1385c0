"""Sockets inside a container's network namespace, made by a process with one thread. Lean."""

from __future__ import annotations

import errno
import os
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IP,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from fcntl import ioctl

from sampan.kernel.constants import CLONE_NEWNET
from sampan.kernel.namespaces import open_namespace, setns
from sampan.network.dns.model import ADDRESS
from sampan.network.dns.redirect import redirect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_IP_FREEBIND = 15  # linux/in.h
_SIOCGSKNS = 0x894C  # linux/sockios.h: the network namespace of a socket
_BACKLOG = 32
_USUAL_PORT = 61053  # above those that Linux gives by itself (ip_local_port_range): nearly always free
_own: list[int] = []  # our own namespace, opened at first use


class Inside:
    """Be in another network namespace for a `with` block; the process must have one thread.

    Raises:
        OSError: it cannot be joined. If the way back fails, the process is not fit to go on: it ends.
    """

    def __init__(self, namespace_fd: int) -> None:
        if not _own:
            _own.append(open_namespace("self", "net"))
        self._fd = namespace_fd

    def __enter__(self) -> None:
        setns(self._fd, CLONE_NEWNET)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            setns(_own[0], CLONE_NEWNET)
        except OSError:
            os._exit(70)


def open_resolver_sockets(namespace_fd: int) -> tuple[socket, socket]:
    """Return (UDP, listening TCP) sockets that are met at 127.0.0.11:53 of a namespace.

    Their true port is another one, so that a DNS server of the container's own can have 53 (`redirect`).

    Raises:
        OSError: the namespace cannot be joined, or its kernel has no nftables.
    """
    with Inside(namespace_fd):
        udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        try:
            tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
            try:
                _listen(udp, tcp)
            except BaseException:
                tcp.close()
                raise
        except BaseException:
            udp.close()
            raise
    return udp, tcp


def _listen(udp: socket, tcp: socket) -> None:
    for sock in (udp, tcp):
        sock.setsockopt(IPPROTO_IP, _IP_FREEBIND, 1)  # 127.0.0.11 is no address while `lo` is down
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)  # connections of a sampan-dns before may linger
        try:
            sock.bind((ADDRESS, _USUAL_PORT))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            sock.bind((ADDRESS, 0))
    tcp.listen(_BACKLOG)
    redirect(udp_port=udp.getsockname()[1], tcp_port=tcp.getsockname()[1])


def open_client(address: str, *, stream: bool, near: socket | None) -> socket:
    """Return an unconnected socket for an address, in the namespace of `near`, or in our own."""
    kind = (SOCK_STREAM if stream else SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC
    family = AF_INET6 if ":" in address else AF_INET
    if near is None:
        return socket(family, kind)
    namespace_fd = ioctl(near.fileno(), _SIOCGSKNS)
    try:
        with Inside(namespace_fd):
            return socket(family, kind)
    finally:
        os.close(namespace_fd)
