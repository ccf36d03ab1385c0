"""`--mount=type=secret|ssh`: what a step may see and nobody may keep. docs/build.md, "Secrets".

Both lie in the run root (memory, as /run is) while their step runs, and in no key, layer, history or log.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from sampan.build.host import StepMount
from sampan.build.instructions import Mount
from sampan.build.request import Agents, Secrets
from sampan.errors import InvalidArgument, NotFound
from sampan.kernel.sockets import accept, listen_at
from sampan.store.trees import remove_tree

_SECRETS: Final = "/run/secrets"
_AGENTS: Final = "/run/buildkit/ssh_agent"
_PIECE: Final = 16 * 1024


class Confidential:
    """The secrets and agents of one step. folder: the step's own in the run root, made when it is needed."""

    def __init__(self, secrets: Secrets, agents: Agents, folder: Callable[[], str], held: ExitStack) -> None:
        self._secrets = secrets
        self._agents = agents
        self._folder = folder
        self._held = held
        self._count = 0
        self.environment: list[str] = []

    def secret(self, mount: Mount) -> StepMount | None:
        """Return what is mounted for a secret; None if it is a variable only, or absent and not required.

        Raises:
            NotFound: it is required, and the client has none.
        """
        secret_id = mount.id or posixpath.basename(mount.target)
        value = self._secrets.read(secret_id)
        if value is None:
            if mount.required:
                raise NotFound(
                    f"secret {secret_id}: not found",
                    hint=f"give it with --secret id={secret_id},src=FILE or env=VARIABLE",
                )
            return None
        if mount.env:
            self._add_variable(mount.env, value, secret_id)
            if not mount.target:
                return None
        path = self._new_path()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(value)
            os.fchown(file.fileno(), mount.uid or 0, mount.gid or 0)
            os.fchmod(file.fileno(), 0o400 if mount.mode is None else mount.mode)
        target = mount.target or f"{_SECRETS}/{posixpath.basename(secret_id)}"
        return StepMount(kind="bind", source=path, target=target, read_only=True)

    def agent(self, mount: Mount) -> StepMount | None:
        """Return the socket that leads to an SSH agent; the first one is SSH_AUTH_SOCK.

        Raises:
            NotFound: it is required, and the client has none.
        """
        agent_id = mount.id or "default"
        probe = self._agents.connect(agent_id)
        if probe is None:
            if mount.required:
                raise NotFound(
                    f"ssh agent {agent_id}: not found", hint=f"give it with --ssh {agent_id}[=SOCKET or KEY]"
                )
            return None
        probe.close()
        path = self._new_path()
        listener = self._held.enter_context(_Relay(path, lambda: self._agents.connect(agent_id)))
        listener.set_owner(0o600 if mount.mode is None else mount.mode, mount.uid or 0, mount.gid or 0)
        number = sum(one.startswith("SSH_AUTH_SOCK=") for one in self.environment)
        target = mount.target or f"{_AGENTS}.{self._count - 1}"
        if not number:
            self.environment.append(f"SSH_AUTH_SOCK={target}")
        return StepMount(kind="bind", source=path, target=target)

    def _add_variable(self, name: str, value: bytes, secret_id: str) -> None:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise InvalidArgument(f"secret {secret_id} cannot be a variable: it is not text")
        self.environment.append(f"{name}={text}")

    def _new_path(self) -> str:
        self._count += 1
        return f"{self._folder()}/{self._count}"


class AgentSocket:
    """The client's default agent as a socket for a program of ours; "" if it has none."""

    def __init__(self, agents: Agents, private: str) -> None:
        self._agents = agents
        self._path = f"{private}/{os.urandom(8).hex()}"
        self._held = ExitStack()

    def __enter__(self) -> str:
        probe = self._agents.connect("default")
        if probe is None:
            return ""
        probe.close()
        os.makedirs(self._path, mode=0o700)
        self._held.callback(remove_tree, self._path)
        self._held.enter_context(_Relay(f"{self._path}/1", lambda: self._agents.connect("default")))
        return f"{self._path}/1"

    def __exit__(self, *_error: object) -> None:
        self._held.close()


class _Relay:
    """A listening socket whose every connection is passed on to an agent; use it in a `with`."""

    def __init__(self, path: str, connect: Callable[[], socket.socket | None]) -> None:
        self._path = path
        self._connect = connect
        self._listener = listen_at(*posixpath.split(path))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> _Relay:
        threading.Thread(target=self._accept, name="ssh agent", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            ends = [self._listener, *self._open]
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def set_owner(self, mode: int, uid: int, gid: int) -> None:
        """Say who may connect."""
        os.chmod(self._path, mode)
        os.chown(self._path, uid, gid)

    def _accept(self) -> None:
        while True:
            try:
                ours = socket.socket(fileno=accept(self._listener).detach())
            except OSError:  # closed
                return
            theirs = self._connect()
            if theirs is None:
                ours.close()
                continue
            with self._lock:
                self._open |= {ours, theirs}
            done = threading.Semaphore(0)
            for source, target in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pump, args=(source, target, done), daemon=True).start()
            threading.Thread(target=self._close, args=(ours, theirs, done), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, done: threading.Semaphore) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        done.release()

    def _close(self, ours: socket.socket, theirs: socket.socket, done: threading.Semaphore) -> None:
        done.acquire()
        done.acquire()
        with self._lock:
            self._open -= {ours, theirs}
        ours.close()
        theirs.close()
