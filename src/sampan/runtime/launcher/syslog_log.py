"""Records as syslog messages, RFC 3164 or 5424, over unix, udp, tcp or tcp+tls. Lean.

target, made by sampand at each start: proto (unix unixgram udp tcp tcp+tls), path, or host ip port; priority
(facility * 8), format ("" rfc3164 rfc5424 rfc5424micro), tag, hostname; for tcp+tls ca, cert, key, insecure.
Source: RFC 3164, RFC 5424, RFC 5425; moby, daemon/logger/syslog (formats).
"""

from __future__ import annotations

import _socket
import os
import time

from sampan.runtime.launcher.remote_log import RemoteSocket, open_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ssl import SSLSocket

    from sampan.runtime.launcher.remote_log import Connection

_ERROR = 3
_INFORMATION = 6
_TLS = "tcp+tls"
_GOODBYE_S = 0.5


class SyslogLog(RemoteSocket):
    """A sink; empty lines are left out, as Docker does."""

    def __init__(self, target: Mapping[str, str]) -> None:
        super().__init__(lambda: connect(target), packets=target["proto"] in ("udp", "unixgram"))
        self._priority = int(target["priority"])
        self._format = target["format"]
        self._counted = target["proto"] == _TLS and self._format.startswith("rfc5424")
        self._who = target["tag"]
        self._hostname = target["hostname"]

    def append(self, stream: str, at_ns: int, pieces: Iterable[bytes]) -> None:
        """Send a message for each line."""
        head = self._head(_ERROR if stream == "stderr" else _INFORMATION, at_ns)
        messages = []
        for piece in pieces:
            messages += [self._frame(head + line + b"\n") for line in piece.split(b"\n") if line]
        self.deliver(messages)

    def clear(self) -> None:
        """What was sent is sent."""

    def _frame(self, message: bytes) -> bytes:
        return b"%d %s" % (len(message), message) if self._counted else message

    def _head(self, severity: int, at_ns: int) -> bytes:
        priority, pid, tag = self._priority | severity, os.getpid(), self._who
        if self._format.startswith("rfc5424"):
            stamp = _rfc3339(at_ns, micro=self._format.endswith("micro"))
            return f"<{priority}>1 {stamp} {self._hostname} {tag} {pid} {tag} - ".encode()
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime(at_ns // 1_000_000_000))
        host = f"{self._hostname} " if self._format == "rfc3164" else ""
        return f"<{priority}>{stamp} {host}{tag}[{pid}]: ".encode()


def _rfc3339(at_ns: int, *, micro: bool) -> str:
    moment = time.localtime(at_ns // 1_000_000_000)
    fraction = f".{at_ns // 1000 % 1_000_000:06d}".rstrip("0").rstrip(".") if micro else ""
    zone = time.strftime("%z", moment)
    offset = "Z" if moment.tm_gmtoff == 0 else f"{zone[:3]}:{zone[3:]}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", moment) + fraction + offset


def connect(target: Mapping[str, str]) -> Connection:
    """Connect to the server of target.

    Raises:
        OSError: it does not answer, or its certificate is not good.
    """
    proto = target["proto"]
    if proto in ("unix", "unixgram"):
        kind = _socket.SOCK_DGRAM if proto == "unixgram" else _socket.SOCK_STREAM
        return open_socket(_socket.AF_UNIX, kind, target["path"])
    family = _socket.AF_INET6 if ":" in target["ip"] else _socket.AF_INET
    kind = _socket.SOCK_DGRAM if proto == "udp" else _socket.SOCK_STREAM
    sock = open_socket(family, kind, (target["ip"], int(target["port"])))
    return _secure(sock, target) if proto == _TLS else sock


def _secure(sock: _socket.socket, target: Mapping[str, str]) -> Connection:
    """Speak TLS; the module costs some 5 MiB, and is loaded only here."""
    import socket

    from sampan.tls import client_context

    context = client_context(target.get("ca", ""), verify=not target.get("insecure"))
    if target.get("cert"):
        context.load_cert_chain(target["cert"], target.get("key") or None)
    timeout = sock.gettimeout()
    plain = socket.socket(sock.family, sock.type, 0, sock.detach())
    try:
        plain.settimeout(5.0)
        secured = context.wrap_socket(plain, server_hostname=target["host"])
    except BaseException:
        plain.close()
        raise
    secured.settimeout(timeout)
    return _Secured(secured)


class _Secured:
    """A TLS connection that says goodbye.

    The server's session tickets lie unread in our socket: closed like that, the kernel resets the connection,
    and what the server has not read yet is lost (RFC 1122, 4.2.2.13).
    """

    def __init__(self, sock: SSLSocket) -> None:
        self._sock = sock

    def send(self, data: bytes, /) -> int:
        return self._sock.send(data)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        try:
            self._sock.settimeout(_GOODBYE_S)
            self._sock.unwrap()
        except (OSError, ValueError):
            pass  # it is gone, or does not answer
        self._sock.close()
