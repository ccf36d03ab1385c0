"""Network namespaces for containers to come, made in a fork of the launcher. Lean.

sampand enters no namespace: it gets each one as a descriptor, with a netlink socket that was made in it and
therefore drives it from outside (docs/networks.md).
"""

from __future__ import annotations

import os

from sampan.errors import InvalidArgument
from sampan.kernel import constants as k
from sampan.kernel import namespaces, netsocket, rtnetlink
from sampan.kernel.sockets import close_all
from sampan.runtime.launcher.transport import number, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from sampan.runtime.launcher.messages import Document

_SYSCTLS = {
    "net/ipv6/conf/all/accept_ra": "0",  # addresses come from us alone
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/default/disable_ipv6": "1",  # an IPv4 network's interface; lo keeps ::1
}


def make_netspaces(connection: socket, document: Document, fds: list[int]) -> None:
    """Send, for each namespace, its descriptor and that of a socket in it: new ones, or those in fds.

    The document's sysctls are set in each, over ours in new ones.

    Raises:
        OSError: one cannot be made. InvalidArgument: a parameter is unknown, or refuses its value.
        No descriptor is left behind.
    """
    answer: list[int] = []
    asked = document.get("sysctls")
    sysctls = {name: str(value) for name, value in asked.items()} if isinstance(asked, dict) else {}
    try:
        for fd in fds:
            namespaces.setns(fd, k.CLONE_NEWNET)
            _write_sysctls(sysctls)
            answer += [os.dup(fd), netsocket.open_socket().detach()]
        for _ in range(0 if fds else number(document, "count")):
            namespaces.unshare(k.CLONE_NEWNET)
            sock = netsocket.open_socket()
            netsocket.run(sock, [rtnetlink.set_loopback_up()])
            _write_sysctls({**_SYSCTLS, **sysctls})
            answer += [os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC), sock.detach()]
        send(connection, {}, answer)
    finally:
        close_all(answer)


def _write_sysctls(values: dict[str, str]) -> None:
    for name, value in values.items():
        try:
            _write_sysctl(name, value)
        except FileNotFoundError as exc:
            if name not in _SYSCTLS:  # else a kernel without IPv6
                raise InvalidArgument(f"this kernel has no sysctl {name.replace('/', '.')}") from exc
        except OSError as exc:
            raise InvalidArgument(
                f"cannot set sysctl {name.replace('/', '.')} to {value!r}: {exc.strerror}"
            ) from exc


def _write_sysctl(name: str, value: str) -> None:
    fd = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
