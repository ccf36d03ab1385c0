"""sampand's side of sampan-dns: starts it, tells it what is wanted, and tells all of it again after a death.

What is wanted is kept here, in memory; it can always be said again. Any thread may call.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from socket import SOCK_SEQPACKET, SOL_SOCKET, socket
from typing import Final

from sampan import fastjson, log
from sampan.errors import Unavailable
from sampan.kernel.process import pidfd_open
from sampan.kernel.sockets import connect_at, peer_credentials, receive_message, send_message, seqpacket_pair
from sampan.network.dns import control
from sampan.network.dns.model import Endpoint, Network, View, pack
from sampan.network.dns.server import DIRECTORY, LOG, SOCKET

_PROGRAM: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_ANSWER_S: Final = 10.0
_START_S: Final = 20.0
_END_S: Final = 2.0
_PAUSE_S: Final = 0.05
_DEATH_S: Final = 0.5  # its connection ends a little before it can be waited for
_BATCH: Final = 100  # changes in one message of a sync: some 40 KiB, 100 descriptors at most
_SO_SNDBUF: Final = 7
_SEND_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change and the descriptor that goes with it, which stays the caller's."""

    document: dict[str, fastjson.JsonValue]
    fd: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a running container's resolver belongs; `open_place` gives one, its receiver closes both."""

    namespace_fd: int
    pidfd: int = -1

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self.namespace_fd, self.pidfd):
            if fd >= 0:
                os.close(fd)


@dataclass(slots=True)
class _Wanted:
    networks: dict[str, Network] = field(default_factory=dict)
    endpoints: dict[tuple[str, str], Endpoint] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)


class Resolver:
    """The names of all containers. It costs no process until the first container is served."""

    def __init__(
        self,
        run_root: str,
        open_place: Callable[[str], Place | None],
        *,
        on_started: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        """open_place: opens a container's namespace and first process anew; None, it does not run.

        on_started: called with the pid of each sampan-dns, while nobody else can call here: whoever watches
        that process calls `heal` when it has ended.
        """
        self._directory = f"{run_root}/{DIRECTORY}"
        self._open_place = open_place
        self._on_started = on_started
        self._lock = threading.Lock()
        self._sock: socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._wanted = _Wanted()

    def prepare(self) -> None:
        """Have sampan-dns running, so that the first container need not wait for it.

        Raises:
            Unavailable: it cannot be started.
        """
        with self._lock:
            if self._sock is None:
                self._restart()

    def put_network(self, network: Network) -> None:
        """Make a network known, or change it."""
        with self._lock:
            self._wanted.networks[network.id] = network
            self._tell([Change(document={"do": control.NETWORK, **pack(network)})])

    def drop_network(self, network: str) -> None:
        """Forget a network and the endpoints on it."""
        with self._lock:
            self._wanted.networks.pop(network, None)
            for key in [key for key in self._wanted.endpoints if key[0] == network]:
                del self._wanted.endpoints[key]
            self._tell([Change(document={"do": control.DROP, "network": network})])

    def publish(self, *endpoints: Endpoint) -> None:
        """Make endpoints known, each in place of what was known of it."""
        with self._lock:
            for endpoint in endpoints:
                self._wanted.endpoints[endpoint.network, endpoint.container] = endpoint
            self._tell([_publish(endpoint) for endpoint in endpoints])

    def withdraw(self, network: str, container: str) -> None:
        """Forget an endpoint, if it is known."""
        with self._lock:
            if self._wanted.endpoints.pop((network, container), None) is not None:
                self._tell([_withdraw(network, container)])

    def withdraw_others(self, container: str, networks: Sequence[str]) -> None:
        """Forget a container's endpoints on other networks than these."""
        with self._lock:
            keys = [key for key in self._wanted.endpoints if key[1] == container and key[0] not in networks]
            for key in keys:
                del self._wanted.endpoints[key]
            if keys:
                self._tell([_withdraw(*key) for key in keys])

    def serve(self, view: View, place: Place, *, endpoints: Sequence[Endpoint] = ()) -> None:
        """Answer a container's questions from now on, and publish its endpoints; place stays the caller's.

        Raises:
            Unavailable: sampan-dns cannot be started, or cannot listen there; the container is not served.
        """
        with self._lock:
            for endpoint in endpoints:
                self._wanted.endpoints[endpoint.network, endpoint.container] = endpoint
            if self._sock is None:
                self._restart()
            self._wanted.views[view.container] = view
            try:
                self._tell([*map(_publish, endpoints), *_serve(view, place)])
            except Unavailable:
                self._wanted.views.pop(view.container, None)
                raise

    def watch(self, container: str, pidfd: int) -> None:
        """Let the container's resolver end with this process, which was not there yet when it was served."""
        with self._lock:
            self._tell([Change(document={"do": control.WATCH, "container": container}, fd=pidfd)])

    def change(self, view: View) -> None:
        """Let a served container see other networks; nothing happens for one that is not served."""
        with self._lock:
            if view.container in self._wanted.views:
                self._wanted.views[view.container] = view
                self._tell([Change(document={"do": control.VIEW, **pack(view)})])

    def stop(self, container: str) -> None:
        """Answer a container no more and let go of its namespace; its endpoints stay until withdrawn."""
        with self._lock:
            if self._wanted.views.pop(container, None) is not None:
                self._tell([Change(document={"do": control.STOP, "container": container})])

    def leave(self, container: str) -> None:
        """Answer a container no more, and forget its endpoints."""
        with self._lock:
            keys = [key for key in self._wanted.endpoints if key[1] == container]
            for key in keys:
                del self._wanted.endpoints[key]
            changes = [_withdraw(*key) for key in keys]
            if self._wanted.views.pop(container, None) is not None:
                changes.append(Change(document={"do": control.STOP, "container": container}))
            if changes:
                self._tell(changes)

    def restore(self, views: Sequence[View]) -> None:
        """After a restart of sampand: go on with the sampan-dns that is there, or start one if views need it.

        Networks and endpoints were put before. What the running one knows beyond all this is dropped.
        """
        with self._lock:
            self._wanted.views.update({view.container: view for view in views})
            if self._wanted.views or self._is_running():
                self._restart()

    def heal(self) -> None:
        """Start another sampan-dns if the last one has died."""
        with self._lock:
            if self._sock is not None and self._has_ended(0):
                log.warning("sampan-dns died, starting another")
                self._restart()

    def close(self) -> None:
        """Let go; sampan-dns goes on answering as long as it has containers, and ends without any."""
        with self._lock:
            pidfd = self._open_pid() if self._sock is not None and not self._wanted.views else -1
            self._disconnect_only()
            if pidfd >= 0:
                select.select([pidfd], [], [], _END_S)
                os.close(pidfd)
            self._disconnect()

    # Below: the lock is held.

    def _tell(self, changes: Sequence[Change]) -> None:
        """Say changes if sampan-dns is there; say everything to another one if it has died."""
        if self._sock is None:
            if self._wanted.views:  # the last attempt to start it failed
                self._restart()
            return
        try:
            self._send(changes)
        except (OSError, EOFError):
            log.warning("sampan-dns died, starting another")
            self._restart()
            # A container that is being started cannot be opened anew yet: its own change is said again.
            self._send([change for change in changes if change.fd >= 0])

    def _send(self, changes: Sequence[Change]) -> None:
        assert self._sock is not None
        document: dict[str, fastjson.JsonValue] = {"changes": [change.document for change in changes]}
        fds = [change.fd for change in changes if change.fd >= 0]
        send_message(self._sock, fastjson.dumps(document).encode(), fds)
        if not self._has_ended(_ANSWER_S):
            raise Unavailable(f"sampan-dns gave no answer within {_ANSWER_S:.0f} s")
        body, _ = receive_message(self._sock)
        if not body:
            raise EOFError
        _raise_failed(fastjson.loads(body), changes)

    def _has_ended(self, seconds: float) -> bool:
        """Tell whether something waits to be read: an answer where one is due, otherwise the end."""
        assert self._sock is not None
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        return bool(poll.poll(int(seconds * 1000)))

    def _is_running(self) -> bool:
        try:
            connect_at(self._directory, SOCKET, SOCK_SEQPACKET).close()
        except OSError:
            return False
        return True

    def _restart(self) -> None:
        """Connect to the sampan-dns that is there, or start one; then say everything."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_DEATH_S)
        self._disconnect()
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        deadline = (
            time.monotonic() + _DEATH_S
        )  # the one that is there may just be ending, with nobody to serve
        while True:
            try:
                self._begin()
                return
            except (OSError, EOFError, Unavailable) as exc:
                self._disconnect()
                if time.monotonic() > deadline:
                    if isinstance(exc, Unavailable):
                        raise
                    raise Unavailable(f"cannot start sampan-dns: {exc}") from exc
            time.sleep(_PAUSE_S)

    def _begin(self) -> None:
        try:
            raw = connect_at(self._directory, SOCKET, SOCK_SEQPACKET)
        except OSError:
            raw = self._spawn()
        self._sock = socket(fileno=raw.detach())
        self._sock.setsockopt(SOL_SOCKET, _SO_SNDBUF, _SEND_BYTES)
        self._pid = self._process.pid if self._process is not None else peer_credentials(self._sock).pid
        self._on_started(self._pid)
        self._sync()

    def _open_pid(self) -> int:
        """Return a pidfd of sampan-dns, -1 if it is gone."""
        try:
            return pidfd_open(self._pid)
        except ProcessLookupError:
            return -1

    def _spawn(self) -> socket:
        """Start the program; it outlives us, so its log is a file."""
        mine, yours = seqpacket_pair()
        python = os.path.realpath(sys.executable)
        try:
            with open(f"{self._directory}/{LOG}", "ab") as output:
                self._process = subprocess.Popen(
                    [python, "-I", "-S", "-X", "utf8", _PROGRAM, str(yours.fileno()), self._directory],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(yours.fileno(),),
                    env=_ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,
                )
            yours.close()
            self._sock = socket(fileno=os.dup(mine.fileno()))
            if not self._has_ended(_START_S) or receive_message(mine)[0] != b"ready":
                raise Unavailable("sampan-dns did not come up", hint=f"see {self._directory}/{LOG}")
            self._disconnect_only()
        except BaseException:
            mine.close()
            raise
        finally:
            yours.close()
        return socket(fileno=mine.detach())

    def _sync(self) -> None:
        changes = [Change(document={"do": control.BEGIN})]
        changes += [
            Change(document={"do": control.NETWORK, **pack(network)})
            for network in self._wanted.networks.values()
        ]
        changes += [_publish(endpoint) for endpoint in self._wanted.endpoints.values()]
        for start in range(0, len(changes), _BATCH):
            self._send(changes[start : start + _BATCH])
        for view in list(self._wanted.views.values()):
            self._serve_again(view)
        self._send([Change(document={"do": control.END})])

    def _serve_again(self, view: View) -> None:
        place = self._open_place(view.container)
        if place is None:
            return
        try:
            self._send(_serve(view, place))
        except Unavailable as exc:
            log.warning("container has no resolver", container=view.container, reason=exc)
        finally:
            place.close()

    def _disconnect(self) -> None:
        self._disconnect_only()
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.returncode = 0  # it lives on

    def _disconnect_only(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()


def _withdraw(network: str, container: str) -> Change:
    return Change(document={"do": control.WITHDRAW, "network": network, "container": container})


def _publish(endpoint: Endpoint) -> Change:
    return Change(document={"do": control.PUBLISH, **pack(endpoint)})


def _serve(view: View, place: Place) -> list[Change]:
    changes = [Change(document={"do": control.SERVE, **pack(view)}, fd=place.namespace_fd)]
    if place.pidfd >= 0:
        document: dict[str, fastjson.JsonValue] = {"do": control.WATCH, "container": view.container}
        changes.append(Change(document=document, fd=place.pidfd))
    return changes


def _raise_failed(answer: fastjson.JsonValue, changes: Sequence[Change]) -> None:
    failed = answer.get("failed") if isinstance(answer, dict) else None
    if not isinstance(failed, list) or not failed:
        return
    index, text = failed[0] if isinstance(failed[0], list) else (0, failed[0])
    action = changes[index].document["do"] if isinstance(index, int) and index < len(changes) else "?"
    raise Unavailable(f"sampan-dns cannot {action}: {text}")
