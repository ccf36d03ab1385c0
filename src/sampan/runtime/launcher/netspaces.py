"""Network namespaces for containers to come, made in a fork of the launcher. Lean.

sampand enters no namespace: it gets each one as a descriptor, with a netlink socket that was made in it and
therefore drives it from outside (docs/networks.md).
"""

from __future__ import annotations

import os

from sampan.kernel import constants as k
from sampan.kernel import namespaces, netsocket, rtnetlink
from sampan.kernel.sockets import close_all
from sampan.runtime.launcher.transport import number, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from sampan.runtime.launcher.messages import Document

_SYSCTLS = (
    ("net/ipv6/conf/all/accept_ra", b"0"),  # addresses come from us alone
    ("net/ipv6/conf/default/accept_ra", b"0"),
    ("net/ipv6/conf/default/disable_ipv6", b"1"),  # an IPv4 network's interface; lo keeps ::1
)


def make_netspaces(connection: socket, document: Document, fds: list[int]) -> None:
    """Send, for each namespace, its descriptor and that of a socket in it: new ones, or those in fds.

    Raises:
        OSError: one cannot be made; nothing is left behind.
    """
    answer: list[int] = []
    try:
        for fd in fds:
            namespaces.setns(fd, k.CLONE_NEWNET)
            answer += [os.dup(fd), netsocket.open_socket().detach()]
        for _ in range(0 if fds else number(document, "count")):
            namespaces.unshare(k.CLONE_NEWNET)
            sock = netsocket.open_socket()
            netsocket.run(sock, [rtnetlink.set_loopback_up()])
            _write_sysctls()
            answer += [os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC), sock.detach()]
        send(connection, {}, answer)
    finally:
        close_all(answer)


def _write_sysctls() -> None:
    for name, value in _SYSCTLS:
        try:
            fd = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a kernel without IPv6
        try:
            os.write(fd, value)
        finally:
            os.close(fd)
