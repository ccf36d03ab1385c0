"""Open the sockets sampand listens on. Whoever can connect to one with the role `full` is root here."""

from __future__ import annotations

import errno
import grp
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sampan.daemon.scopes import FULL, PLAIN_TCP, Scope, SocketWish
from sampan.errors import Conflict, Forbidden, InvalidArgument, Unavailable

# Connections that arrive while sampand starts, or at once: `docker stats` of a thousand containers makes as
# many, and a client that does not block on connect gets EAGAIN when the queue is full. somaxconn caps it.
BACKLOG: Final = 4096
_SUN_PATH: Final = 108  # bytes with the final NUL (unix(7))
_FIRST_PASSED_FD: Final = 3  # sd_listen_fds(3)
_LOOPBACK: Final = frozenset(("127.0.0.1", "localhost", "::1"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may connect: a group on unix sockets; TCP with tls, else on loopback if insecure_tcp says so."""

    group: str = ""
    mode: int | None = None  # None: 0660 with a group that exists, else 0600
    insecure_tcp: bool = False
    tls: ssl.SSLContext | None = None


class Listener:
    """A listening socket, and the file it made, which `close` removes. tls None: it speaks plainly."""

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        *,
        path: str = "",
        scope: Scope = FULL,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.sock = sock
        self.address = address
        self.scope = scope
        self.tls = tls
        self._path = path
        self._made = os.lstat(path) if path else None

    def close(self) -> None:
        """Listen no more; the socket file goes if it is still ours."""
        self.sock.close()
        if self._made is None:
            return
        try:
            now = os.lstat(self._path)
            if (now.st_dev, now.st_ino) == (self._made.st_dev, self._made.st_ino):
                os.unlink(self._path)
        except FileNotFoundError:
            pass


def open_listeners(
    addresses: list[str], *, access: Access, sockets: tuple[SocketWish, ...] = ()
) -> list[Listener]:
    """Open every address and every scoped socket, or none.

    Raises:
        InvalidArgument: an address is not understood.
        Forbidden: TCP that anybody could reach.
        Conflict: an address is in use.
    """
    opened: list[Listener] = []
    try:
        for address in addresses:
            opened += _open(address, access)
        for wish in sockets:
            wanted = Access(group=_existing_group(wish.group), mode=wish.mode)
            opened.append(_open_unix(wish.path, wanted, scope=wish.scope))
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


def _existing_group(name: str) -> str:
    """Return the name of a group that was asked for in so many words.

    Raises:
        InvalidArgument: there is none.
    """
    try:
        if name:
            grp.getgrnam(name)
    except KeyError:
        raise InvalidArgument(f"there is no group {name!r}", hint=f"groupadd {name}") from None
    return name


def _open(address: str, access: Access) -> list[Listener]:
    scheme, found, rest = address.partition("://")
    if address.startswith("/"):
        scheme, found, rest = "unix", "://", address
    if found and scheme == "unix" and rest.startswith("/"):
        return [_open_unix(rest, access)]
    if found and scheme == "fd":
        return _take_passed()
    if found and scheme == "tcp":
        return [_open_tcp(address, access)]
    raise InvalidArgument(
        f"cannot listen on {address!r}: the form is not known", hint="use unix:///path/of/the.sock"
    )


def _open_unix(path: str, access: Access, *, scope: Scope = FULL) -> Listener:
    """Listen at path. Until `listen` nobody can connect, so owner and mode are set before anybody does."""
    folder, name = os.path.split(path)
    os.makedirs(folder, mode=0o711, exist_ok=True)
    _check_replaceable(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        try:
            os.unlink(name, dir_fd=folder_fd)
        except FileNotFoundError:
            pass
        # A long path goes through the folder's descriptor: sun_path holds 108 bytes. A short one does not,
        # because clients show the name that was bound in their messages.
        sock.bind(path if len(os.fsencode(path)) < _SUN_PATH else f"/proc/self/fd/{folder_fd}/{name}")
        try:
            _set_access(name, folder_fd, access)
            sock.listen(BACKLOG)
        except BaseException:
            os.unlink(name, dir_fd=folder_fd)
            raise
    except OSError as exc:
        sock.close()
        raise Unavailable(f"cannot listen on unix://{path}: {exc.strerror}") from exc
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(folder_fd)
    sock.setblocking(False)
    return Listener(sock, f"unix://{path}", path=path, scope=scope)


def _check_replaceable(path: str) -> None:
    """Accept a path that is free or holds a socket nobody answers at.

    Raises:
        Conflict: something else is there, or somebody answers.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"cannot listen on unix://{path}: a file that is no socket is in the way")
    folder_fd = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(f"/proc/self/fd/{folder_fd}/{os.path.basename(path)}")
    except OSError as exc:
        if exc.errno not in (errno.ECONNREFUSED, errno.ENOENT):
            raise Conflict(f"cannot listen on unix://{path}: {exc.strerror}") from exc
        return
    finally:
        os.close(folder_fd)
    raise Conflict(f"cannot listen on unix://{path}: another program answers there")


def _set_access(name: str, folder_fd: int, access: Access) -> None:
    """Give the socket to root and the group, or to root alone when there is no such group."""
    path = f"/proc/self/fd/{folder_fd}/{name}"
    try:
        gid = grp.getgrnam(access.group).gr_gid
    except KeyError:
        os.chmod(path, 0o600 if access.mode is None else access.mode)
        return
    os.chown(path, -1, gid)
    os.chmod(path, 0o660 if access.mode is None else access.mode)


def _take_passed() -> list[Listener]:
    """Return the sockets that systemd passed (sd_listen_fds(3))."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit() or int(count) < 1:
        raise InvalidArgument("cannot listen on fd://: no socket was passed by the service manager")
    listeners = []
    for fd in range(_FIRST_PASSED_FD, _FIRST_PASSED_FD + int(count)):
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        scope = FULL if sock.family == socket.AF_UNIX else PLAIN_TCP
        listeners.append(Listener(sock, "fd://", scope=scope))
    return listeners


def _open_tcp(address: str, access: Access) -> Listener:
    parts = urlsplit(address)
    try:
        host, port = parts.hostname or "", parts.port or 0
    except ValueError as exc:
        raise InvalidArgument(f"cannot listen on {address!r}: {exc}") from exc
    if not host or not port or parts.path not in ("", "/"):
        raise InvalidArgument(f"cannot listen on {address!r}: it is not tcp://host:port")
    if access.tls is None:
        _check_plain(address, host, access)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1" if host == "localhost" else host, port))
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise Conflict(f"cannot listen on {address}: {exc.strerror}") from exc
    sock.setblocking(False)
    scope = PLAIN_TCP if access.tls is None else Scope(is_network=True)
    return Listener(sock, address, scope=scope, tls=access.tls)


def _check_plain(address: str, host: str, access: Access) -> None:
    """Refuse TCP without TLS, but on loopback when that was asked for in words.

    Raises:
        Forbidden: it would give root away.
    """
    if not access.insecure_tcp:
        raise Forbidden(
            f"cannot listen on {address}: TCP without TLS gives root to whoever can connect",
            hint="--tlsverify with --tlscacert, --tlscert, --tlskey; or --insecure-tcp on loopback",
        )
    if host not in _LOOPBACK:
        raise Forbidden(f"cannot listen on {address}: without TLS only loopback addresses are allowed")


def tls_context(*, ca: str, cert: str, key: str) -> ssl.SSLContext:
    """Return what makes both sides show who they are: clients by a certificate that ca vouches for.

    Raises:
        InvalidArgument: a file is missing, or holds something else.
    """
    for flag, path in (("--tlscacert", ca), ("--tlscert", cert), ("--tlskey", key)):
        if not path:
            raise InvalidArgument(f"--tlsverify needs {flag}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(ca)
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as exc:
        raise InvalidArgument(f"cannot use the TLS files {ca}, {cert}, {key}: {exc}") from exc
    return context
