"""Where a daemon listens: `unix:///run/sampan/sampan.sock`, `tcp://127.0.0.1:2375`. Lean (decision 0002)."""

from __future__ import annotations

import _socket
import posix

from sampan.errors import InvalidArgument, Unavailable
from sampan.lean import record

_MAX_SUN_PATH = 107  # bytes; sockaddr_un.sun_path is 108 with its terminator (unix(7))
_CONNECT_TIMEOUT_S = 10.0


@record
class Address:
    """One parsed API address. `path` for unix sockets, `host` and `port` for TCP; the others are empty.

    For ssh, host is `[user@]host`, port 0 the usual one, and path a socket there or "" for sampan's own.
    """

    text: str
    kind: str  # "unix", "tcp" or "ssh"
    path: str = ""
    host: str = ""
    port: int = 0


def parse_address(text: str) -> Address:
    """Read an API address as `-H` takes it; a bare absolute path is a unix socket.

    Raises:
        InvalidArgument: the scheme is unknown or not supported, or a part is missing.
    """
    if text.startswith("/"):
        return Address(text=f"unix://{text}", kind="unix", path=text)
    scheme, found, rest = text.partition("://")
    if found and scheme == "unix":
        if not rest.startswith("/"):
            raise InvalidArgument(f"address {text!r} names no absolute path", hint="unix:///path/of/the.sock")
        return Address(text=text, kind="unix", path=rest)
    if found and scheme in ("tcp", "http"):
        return _parse_tcp(text, rest.rstrip("/"))
    if found and scheme == "ssh":
        return _parse_ssh(text, rest)
    if found and scheme in ("https", "npipe", "fd"):
        raise InvalidArgument(
            f"address {text!r}: {scheme} is not supported", hint="use unix://, tcp:// or ssh://"
        )
    raise InvalidArgument(
        f"address {text!r} is not understood", hint="unix:///path, tcp://host:port or ssh://host"
    )


def _parse_ssh(text: str, rest: str) -> Address:
    """Read `[user@]host[:port][/path/of/the.sock]`."""
    place, slash, path = rest.partition("/")
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, "0"
    user, at, name = host.rpartition("@")
    is_right = name and not (at and not user) and not host.startswith("-") and ":" not in user
    if not is_right or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(
            f"address {text!r} is not ssh://[user@]host[:port]", hint="a password is asked for by ssh itself"
        )
    target = f"{user}{at}{name.strip('[]')}"
    return Address(
        text=text, kind="ssh", host=target, port=int(port), path=f"/{path}" if slash and path else ""
    )


def _parse_tcp(text: str, rest: str) -> Address:
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        host, port = rest, "2375"  # Docker's port for plain HTTP
    if not host or "/" in rest or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidArgument(f"address {text!r} is not tcp://host:port")
    return Address(text=text, kind="tcp", host=host.strip("[]"), port=int(port))


def connect(address: Address) -> _socket.socket:
    """Open a connection to the daemon at address. The caller closes the socket.

    Raises:
        FileNotFoundError, ConnectionRefusedError: nobody listens there.
        PermissionError: the unix socket exists, but this user may not open it.
        Unavailable: the host name does not resolve, or does not answer in time.
    """
    if address.kind == "unix":
        return _connect_unix(address.path)
    if address.kind == "ssh":
        from sampan.client.ssh import connect_ssh

        return connect_ssh(address)
    return _connect_tcp(address)


def _connect_unix(path: str) -> _socket.socket:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    folder = -1
    try:
        if len(path.encode("utf-8", "surrogateescape")) > _MAX_SUN_PATH:
            parent, _, name = path.rpartition("/")
            folder = posix.open(parent or "/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
            sock.connect(f"/proc/self/fd/{folder}/{name}")
        else:
            sock.connect(path)
    except BaseException:
        sock.close()
        raise
    finally:
        if folder >= 0:
            posix.close(folder)
    return sock


def _connect_tcp(address: Address) -> _socket.socket:
    try:
        found = _socket.getaddrinfo(address.host, address.port, 0, _socket.SOCK_STREAM)
    except OSError as exc:
        raise Unavailable(f"cannot resolve host {address.host!r} of {address.text}: {exc.strerror}") from exc
    failure: OSError | None = None
    for family, kind, protocol, _, target in found:
        sock = _socket.socket(family, kind | _socket.SOCK_CLOEXEC, protocol)
        try:
            sock.settimeout(_CONNECT_TIMEOUT_S)
            sock.connect(target)
            sock.settimeout(None)
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        except OSError as exc:
            sock.close()
            failure = exc
        else:
            return sock
    if isinstance(failure, ConnectionRefusedError):
        raise failure
    raise Unavailable(f"cannot reach {address.text}: {failure}") from failure
