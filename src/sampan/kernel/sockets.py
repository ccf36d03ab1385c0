"""Unix sockets over `_socket` (importing `socket` costs 5 ms): pairs, descriptors in messages, long paths.

A `socket.socket` is a `_socket.socket`, so callers may pass either.
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_PEEK,
    MSG_TRUNC,
    SCM_RIGHTS,
    SO_PEERCRED,
    SO_SNDTIMEO,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
    socketpair,
)
from _stat import S_ISSOCK

from sampan.kernel.syscall import fail
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_MESSAGE = 1 << 20  # bytes; the socket's own buffer is the lower limit in practice
_USUAL_MESSAGE = 1 << 16
MAX_FDS = 253  # include/net/scm.h: SCM_MAX_FD
_SUN_PATH = 108  # sizeof(sockaddr_un.sun_path), with its NUL
_UCRED = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_TIMEVAL = struct.Struct("@ll")  # struct timeval: seconds, microseconds


@record
class Credentials:
    """Who was at the other end of a socket when it was connected."""

    pid: int
    uid: int
    gid: int


def seqpacket_pair() -> tuple[socket, socket]:
    """Return two connected SOCK_SEQPACKET sockets: messages keep their bounds, an end that closes is seen."""
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)


def from_fd(fd: int) -> socket:
    """Return a socket object that owns the descriptor."""
    return socket(fileno=fd)


def send_message(sock: socket, data: bytes, fds: tuple[int, ...] | list[int] = ()) -> None:
    """Send one message whole, with copies of descriptors; the caller keeps its own open.

    data must not be empty: an empty message cannot be told from the end.

    Raises:
        OSError: EMSGSIZE, it does not fit the socket's buffer; EPIPE, the other end is gone (no SIGPIPE);
            BlockingIOError, a non-blocking socket is full and nothing was sent.
    """
    assert data, "an empty message"
    if len(fds) > MAX_FDS:
        raise fail(
            errno.EINVAL, f"sendmsg: {len(fds)} descriptors in one message, the kernel takes {MAX_FDS}"
        )
    control = [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"={len(fds)}i", *fds))] if fds else []
    sent = sock.sendmsg([data], control, MSG_NOSIGNAL)
    while sent < len(data):  # a stream may take a part; the descriptors went with the first byte
        sent += sock.send(data[sent:], MSG_NOSIGNAL)


def receive_message(
    sock: socket, *, max_fds: int = 0, max_bytes: int = MAX_MESSAGE, wait: bool = True, shared: bool = False
) -> tuple[bytes, list[int]]:
    """Receive one message; return its bytes and the descriptors that came, close-on-exec, ours to close.

    (b"", []) is the end: the other side closed. shared: other processes read this socket, too, so that the
    message that is received may be another than the one that waited first.

    Raises:
        OSError: EMSGSIZE, more bytes or descriptors came than were asked for; what came is closed.
            BlockingIOError: nothing is there, and wait is false or the socket is non-blocking.
    """
    flags = 0 if wait else MSG_DONTWAIT
    # A buffer of MAX_MESSAGE for every message would cost 40 µs (memory from the kernel and back), asking 1.
    length = sock.recv_into(bytearray(1), 1, flags | MSG_PEEK | MSG_TRUNC)
    size = max_bytes if shared else min(max_bytes, max(length, _USUAL_MESSAGE))
    # Always room for one descriptor, so that an unwanted one is seen and closed.
    space = CMSG_SPACE(max(max_fds, 1) * 4)
    data, control, result_flags, _ = sock.recvmsg(size, space, flags | MSG_CMSG_CLOEXEC)
    fds = _descriptors(control)
    if result_flags & (MSG_CTRUNC | MSG_TRUNC) or len(fds) > max_fds:
        close_all(fds)
        raise fail(
            errno.EMSGSIZE, f"recvmsg: more than {max_bytes} bytes or {max_fds} descriptors in a message"
        )
    return data, fds


def _descriptors(control: list[tuple[int, int, bytes]]) -> list[int]:
    fds: list[int] = []
    for level, kind, payload in control:
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
            fds += struct.unpack(f"={len(payload) // 4}i", payload[: len(payload) // 4 * 4])
    return fds


def close_all(fds: list[int] | tuple[int, ...]) -> None:
    """Close each descriptor."""
    for fd in fds:
        os.close(fd)


def listen_at(
    directory: int | str, name: str, kind: int = SOCK_STREAM, *, mode: int = 0o600, backlog: int = 128
) -> socket:
    """Return a listening socket with this name in a directory (its descriptor, or its path of any length).

    A socket left under that name is replaced: the caller holds the lock that says nobody listens there.

    Raises:
        OSError: errno and filename are set; EEXIST, something else than a socket has the name.
    """
    sock = socket(AF_UNIX, kind | SOCK_CLOEXEC, 0)
    try:
        with _Address(directory, name) as address:
            _remove_stale(address)
            _named(sock.bind, address)
            os.chmod(address, mode)
        sock.listen(backlog)  # until here a connection is refused, so nobody profits from the umask's mode
    except BaseException:
        sock.close()
        raise
    return sock


def connect_at(
    directory: int | str, name: str, kind: int = SOCK_STREAM, *, timeout_s: float | None = None
) -> socket:
    """Return a socket connected to the one with this name in a directory (descriptor, or path of any length).

    timeout_s: how long to wait, at most, for room in the queue of one that accepts nobody.

    Raises:
        OSError: errno and filename are set; ECONNREFUSED, nobody listens; EAGAIN, the time is over.
    """
    sock = socket(AF_UNIX, kind | SOCK_CLOEXEC, 0)
    try:
        if timeout_s is not None:  # unix(7): connect(2) heeds it; a non-blocking one would not wait at all
            sock.setsockopt(
                SOL_SOCKET, SO_SNDTIMEO, _TIMEVAL.pack(int(timeout_s), int(timeout_s % 1 * 10**6))
            )
        with _Address(directory, name) as address:
            _named(sock.connect, address)
    except BaseException:
        sock.close()
        raise
    return sock


def accept(sock: socket) -> socket:
    """Return the socket of the next connection, close-on-exec and blocking."""
    fd, _ = sock._accept()  # type: ignore[attr-defined]  # what socket.accept is made of; typeshed omits it
    return socket(fileno=fd)


def peer_credentials(sock: socket) -> Credentials:
    """Return who connected to (or, for a pair, made) the other end; the pid may be gone by now."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(SOL_SOCKET, SO_PEERCRED, _UCRED.size))
    return Credentials(pid=pid, uid=uid, gid=gid)


class _Address:
    """A path short enough for sockaddr_un, by way of an open directory where the true one is too long."""

    def __init__(self, directory: int | str, name: str) -> None:
        if "/" in name or name in ("", ".", ".."):
            raise fail(errno.EINVAL, "socket name is not a plain file name", name)
        self._opened = -1
        if isinstance(directory, str):
            self._path = f"{directory}/{name}"
            if len(os.fsencode(self._path)) < _SUN_PATH:
                return
            self._opened = directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._path = f"/proc/self/fd/{directory}/{name}"

    def __enter__(self) -> str:
        return self._path

    def __exit__(self, *_error: object) -> None:
        if self._opened >= 0:
            os.close(self._opened)


def _remove_stale(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not S_ISSOCK(status.st_mode):
        raise fail(errno.EEXIST, "bind: something else than a socket has this name", path)
    os.unlink(path)


def _named(operation: Callable[[str], None], address: str) -> None:
    """Run bind or connect; `_socket` gives its errors no filename, and "path too long" not even an errno."""
    if len(os.fsencode(address)) >= _SUN_PATH:
        raise fail(errno.ENAMETOOLONG, "socket", address)
    try:
        operation(address)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, address) from exc


def is_all_read(fd: int) -> bool:
    """Tell whether the other end has read everything that was written to fd; true where nobody can know."""
    from fcntl import ioctl
    from sys import byteorder
    from termios import TIOCOUTQ  # SIOCOUTQ is the same number (asm/termios.h, unix(7))

    try:
        return int.from_bytes(ioctl(fd, TIOCOUTQ, bytes(4)), byteorder) == 0
    except OSError:
        return True
