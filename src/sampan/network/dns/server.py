"""The program: one thread that answers all containers of a run root and listens to sampand. Lean.

Who cleans up: `dns.lock` is held as long as this lives, so that the next one knows that the socket's name is
free; a namespace is let go when its container's first process ends, or when sampand says so.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import sys
from _socket import SOCK_SEQPACKET

from sampan import log
from sampan.errors import SampanError
from sampan.kernel.capabilities import NUMBERS, CapSets, get_caps, set_caps
from sampan.kernel.process import set_dumpable, set_name
from sampan.kernel.sockets import accept, from_fd, listen_at
from sampan.network.dns.control import Control
from sampan.network.dns.forward import Forwarder
from sampan.network.dns.loop import Loop
from sampan.network.dns.zone import Zone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

DIRECTORY, SOCKET, LOCK, LOG = "dns", "dns.sock", "dns.lock", "dns.log"
_IDLE_S = 5.0
# What is left to it: entering network namespaces; asking a socket for its own (SIOCGSKNS), rules there.
_KEPT = ("CAP_SYS_ADMIN", "CAP_NET_ADMIN")
_CAPABILITIES = frozenset(NUMBERS[name] for name in _KEPT)


class Server:
    """Serves until no container and no sampand is there."""

    def __init__(self, directory: str) -> None:
        self._loop = Loop()
        self._control = Control(self._loop, Zone(), Forwarder(self._loop))
        self._connections: set[socket] = set()
        self._listening = listen_at(directory, SOCKET, SOCK_SEQPACKET)
        self._loop.add(self._listening.fileno(), lambda: self.connect(accept(self._listening)))

    def connect(self, sock: socket) -> None:
        """Take messages from a connection."""
        self._connections.add(sock)
        self._loop.add(sock.fileno(), lambda: self._serve(sock))

    def run(self) -> None:
        """Serve."""
        self._loop.later(_IDLE_S, self._check_idle)
        gc.collect()
        gc.freeze()
        self._loop.run()

    def _serve(self, sock: socket) -> None:
        try:
            if self._control.answer(sock):
                return
        except (OSError, SampanError) as exc:
            log.warning("dns: connection to sampand broke", reason=exc)
        self._connections.discard(sock)
        self._loop.remove(sock.fileno())
        sock.close()
        if not self._connections and not self._control.listeners:
            self._loop.stop()

    def _check_idle(self) -> None:
        if not self._connections and not self._control.listeners:
            self._loop.stop()
        self._loop.later(_IDLE_S, self._check_idle)


def take_lock(directory: str) -> bool:
    """Hold the lock from now on until this process ends; False if another one does."""
    fd = os.open(f"{directory}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(fd)
        if exc.errno != errno.EWOULDBLOCK:
            raise
        return False
    os.ftruncate(fd, 0)
    os.write(fd, b"%d\n" % os.getpid())
    return True


def drop_rights() -> None:
    """Give up what parsing strangers' bytes should not have."""
    set_dumpable(False)
    kept = get_caps().permitted & _CAPABILITIES
    set_caps(CapSets(effective=kept, permitted=kept))


def raise_limit() -> None:
    """Allow as many descriptors as the hard limit does: two for each container."""
    from resource import RLIMIT_NOFILE, getrlimit, setrlimit  # a C module

    _, hard = getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (hard, hard))


def main(arguments: list[str]) -> int:
    """Run as `__main__.py FD DIRECTORY`: a connected socket to sampand, and where to live."""
    first, directory = from_fd(int(arguments[1])), arguments[2]
    if not take_lock(directory):
        return 3
    set_name("sampan-dns")
    raise_limit()
    drop_rights()
    server = Server(directory)
    server.connect(first)
    first.send(b"ready")
    sys.stdout.flush()
    server.run()
    return 0
