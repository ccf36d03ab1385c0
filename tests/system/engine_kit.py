"""An engine of one's own for tests: real store, launcher, shim and kernel in a private folder."""

from __future__ import annotations

import contextlib
import io
import os
import select
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from sampan.engine.engine import Engine
from sampan.engine.options import EngineSettings
from sampan.engine.types import LogEntry, LogRequest, WaitResult
from sampan.errors import SampanError
from sampan.settings import Roots
from sampan.spec import docker
from sampan.store import bootstrap

CGROUPS = Path("/sys/fs/cgroup")
DEADLINE_S = 30.0


@cache
def busybox_archive() -> bytes:
    """Return the busybox image's archive; made once."""
    with bootstrap.busybox() as archive:
        return archive.read()


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Poll until condition holds; fail with `what` after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        select.select([], [], [], 0.005)


@dataclass
class Outcome:
    """What a finished container said and how it ended."""

    id: str
    stdout: bytes
    stderr: bytes
    code: int
    error: str
    warnings: list[str]


@dataclass
class Waiter:
    """Collects the answer of one wait."""

    done: threading.Event = field(default_factory=threading.Event)
    result: WaitResult | None = None

    def __call__(self, result: WaitResult) -> None:
        assert self.result is None, "a wait was answered twice"
        self.result = result
        self.done.set()

    def get(self) -> WaitResult:
        assert self.done.wait(DEADLINE_S), "the wait was not answered"
        assert self.result is not None
        return self.result


class Box:
    """An engine and the folder it lives in; `reopen` after a close or a crash."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.cgroup = f"/sampan-test-{uuid.uuid4().hex[:12]}"
        self.settings = EngineSettings(
            roots=Roots(data=f"{folder}/data", run=f"{folder}/run"),
            cgroup_parent=self.cgroup,
            **{"default_network": "none", **settings},
        )
        self.engine = Engine.open(self.settings)

    def restart_machine(self) -> Engine:
        """Do to this engine what a power cut does: every process dies, the run root is empty afterwards."""
        pids = [self.state(one.Id).Pid for one in self.engine.containers.list()]
        shims = [pid for pid, _ in self._shim_processes()]
        self.engine.close()
        for pid in (*shims, *filter(None, pids)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in (*shims, *filter(None, pids)):
            wait_until(lambda pid=pid: not alive(pid), "all processes are gone")
        shutil.rmtree(self.settings.roots.run)
        self.engine = Engine.open(self.settings)
        return self.engine

    def load_busybox(self) -> Box:
        self.engine.images.load(io.BytesIO(busybox_archive()))
        return self

    def reopen(self) -> Engine:
        self.engine.close()
        self.engine = Engine.open(self.settings)
        return self.engine

    def create(self, *command: str, name: str = "", host: dict[str, Any] | None = None, **config: Any) -> str:
        """Create a container of busybox and return its id."""
        config.setdefault("Image", "busybox")
        request = docker.ContainerCreate(
            Cmd=list(command), HostConfig=docker.HostConfig(**(host or {})), **config
        )
        return self.engine.containers.create(request, name=name).Id

    def start(self, *command: str, **more: Any) -> str:
        container_id = self.create(*command, **more)
        self.engine.containers.start(container_id)
        return container_id

    def run(self, *command: str, stdin: bytes | None = None, **more: Any) -> Outcome:
        """Create, attach, start, wait: what `docker run` does."""
        if stdin is not None:
            more |= {"OpenStdin": True, "StdinOnce": True}
        request = docker.ContainerCreate(
            Cmd=list(command),
            HostConfig=docker.HostConfig(**(more.pop("host", None) or {})),
            **({"Image": "busybox"} | more),
        )
        created = self.engine.containers.create(request)
        with self.attach(created.Id, framed=not request.Tty, stdin=stdin is not None) as client:
            waiter = Waiter()
            self.engine.containers.on_exit(created.Id, "next-exit", waiter)
            self.engine.containers.start(created.Id)
            if stdin is not None:
                client.sendall(stdin)
                client.shutdown(socket.SHUT_WR)
            raw = read_all(client)
        result = waiter.get()
        stdout, stderr = (raw, b"") if request.Tty else split_frames(raw)
        return Outcome(created.Id, stdout, stderr, result.status_code, result.error, created.Warnings)

    @contextlib.contextmanager
    def attach(self, ref: str, *, framed: bool = True, **options: Any) -> Iterator[socket.socket]:
        """Attach to all streams; yields the client's end."""
        mine, theirs = socket.socketpair()
        mine.settimeout(DEADLINE_S)
        try:
            options = {"stdin": False, "stdout": True, "stderr": True} | options
            self.engine.containers.attach(ref, fd=theirs.fileno(), framed=framed, **options)
            theirs.close()
            yield mine
        finally:
            mine.close()
            theirs.close()

    def exec(self, ref: str, *command: str, stdin: bytes | None = None, **request: Any) -> Outcome:
        """Run a further program to its end."""
        execs = self.engine.execs
        exec_id = execs.create(
            ref,
            docker.ExecCreate(
                Cmd=list(command),
                AttachStdin=stdin is not None,
                AttachStdout=True,
                AttachStderr=True,
                **request,
            ),
        )
        waiter = Waiter()
        execs.on_exit(exec_id, waiter)
        tty = bool(request.get("Tty"))
        mine, theirs = socket.socketpair()
        mine.settimeout(DEADLINE_S)
        with mine, theirs:
            execs.start(exec_id, fd=theirs.fileno(), framed=not tty, detach=False, tty=tty)
            theirs.close()
            if stdin is not None:
                mine.sendall(stdin)
                mine.shutdown(socket.SHUT_WR)
            raw = read_all(mine)
        code = execs.inspect(exec_id).ExitCode  # final before the stream closes
        assert code is not None
        assert waiter.get().status_code == code
        stdout, stderr = (raw, b"") if tty else split_frames(raw)
        return Outcome(exec_id, stdout, stderr, code, "", [])

    def wait(self, ref: str, condition: Any = "not-running") -> WaitResult:
        waiter = Waiter()
        self.engine.containers.on_exit(ref, condition, waiter)
        return waiter.get()

    def state(self, ref: str) -> docker.State:
        return self.engine.containers.inspect(ref).State

    def log(self, ref: str, **request: Any) -> list[LogEntry]:
        """Return the whole log as it is now."""
        entries: list[LogEntry] = []
        with self.engine.containers.logs(ref, LogRequest(**request)) as reader:
            while not reader.finished:
                entries += reader.read_available()
        return entries

    def log_text(self, ref: str, **request: Any) -> bytes:
        return b"".join(entry.data for entry in self.log(ref, **request))

    def remove_all(self) -> None:
        """Remove every container, by force."""
        for summary in self.engine.containers.list(all=True):
            with contextlib.suppress(SampanError):
                self.engine.containers.remove(summary.Id, force=True)
        assert self.engine.settle(DEADLINE_S)

    def close(self) -> None:
        """Remove everything: containers, cgroups, folders."""
        self.remove_all()
        self.engine.close()
        self.tidy()

    def _shims(self) -> set[str]:
        """Return the ids of containers that have a shim: it keeps a file of theirs open."""
        return {container_id for _, container_id in self._shim_processes()}

    def _shim_processes(self) -> list[tuple[int, str]]:
        containers = f"{self.settings.roots.data}/containers/"
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "comm").read_text() != "sampan-shim\n":
                    continue
                targets = {os.readlink(link) for link in (folder / "fd").iterdir()}
                ids = {one.removeprefix(containers).partition("/")[0] for one in targets if containers in one}
                found += [(int(folder.name), container_id) for container_id in ids]
        return found

    def _running(self) -> list[str]:
        return [summary.Id for summary in self.engine.containers.list()]

    def tidy(self) -> None:
        for folder in self._cgroup_folders():
            for below in (*folder.glob("*"), folder):
                if below.is_dir():
                    with contextlib.suppress(OSError):
                        below.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _cgroup_folders(self) -> list[Path]:
        """Return our parent cgroup in every tree: on v2 that is the mount point itself."""
        name = self.cgroup.strip("/")
        return [path for path in (CGROUPS / name, *CGROUPS.glob(f"*/{name}")) if path.is_dir()]

    def _has_spares(self) -> bool:
        """Tell whether the launcher has done with its rehearsal: only then it has two spares."""
        launcher = self.engine._core.launchers.pid
        names = []
        for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            with contextlib.suppress(OSError):  # it may end meanwhile
                names.append(Path(f"/proc/{pid}/comm").read_text().strip())
        return names.count("sampan-spare") == 2

    def leftovers(self) -> list[str]:
        """Return what containers leave behind when they are not removed properly."""
        run, data = Path(self.settings.roots.run), Path(self.settings.roots.data)
        wait_until(self._has_spares, "the launcher's rehearsal is over")
        found = [str(path) for path in (*(run / "containers").iterdir(), *(data / "containers").iterdir())]
        found += [str(path) for top in self._cgroup_folders() for path in top.iterdir() if path.is_dir()]
        mounts = Path("/proc/self/mountinfo").read_text()
        found += [f"shim of {one}" for one in self._shims() if one not in self._running()]
        return found + [line for line in mounts.splitlines() if str(self.folder) in line]


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def read_until(sock: socket.socket, text: bytes) -> bytes:
    got = b""
    while text not in got:
        part = sock.recv(1 << 16)
        assert part, f"the connection ended before {text!r}: {got[-200:]!r}"
        got += part
    return got


def split_frames(raw: bytes) -> tuple[bytes, bytes]:
    """Return (stdout, stderr) of Docker's frames."""
    streams: dict[int, list[bytes]] = {1: [], 2: []}
    at = 0
    while at < len(raw):
        length = int.from_bytes(raw[at + 4 : at + 8], "big")
        streams[raw[at]].append(raw[at + 8 : at + 8 + length])
        at += 8 + length
    return b"".join(streams[1]), b"".join(streams[2])


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def own_descriptors(box: Box) -> int:
    """Count our descriptors but for those of network namespaces that stand ready, now more, now fewer."""
    return len(os.listdir("/proc/self/fd")) - 2 * box.engine._core.networking.netspaces.ready
