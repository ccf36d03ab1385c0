"""A door over an engine in memory: shows what HTTP becomes of engine calls, without containers or root."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from sampan.daemon.door import Door
from sampan.daemon.scopes import PLAIN_TCP
from sampan.engine.types import AttachTarget, LoadedImage, LogEntry, LogRequest, WaitResult
from sampan.errors import CommandNotFound, Conflict, Forbidden, NotFound
from sampan.settings import Roots
from sampan.spec import docker

ID = "ab" * 32
EXEC_ID = "cd" * 32


@dataclass
class Callbacks:
    """Registered callbacks, and how many were cancelled."""

    waiting: list[Callable[..., None]] = field(default_factory=list)
    cancelled: int = 0

    def add(self, callback: Callable[..., None]) -> Subscription:
        self.waiting.append(callback)
        return Subscription(self, callback)

    def fire(self, value: object) -> None:
        for callback in list(self.waiting):
            callback(value)


@dataclass
class Subscription:
    owner: Callbacks
    callback: Callable[..., None]

    def cancel(self) -> None:
        if self.callback in self.owner.waiting:
            self.owner.waiting.remove(self.callback)
        self.owner.cancelled += 1


class Echo(threading.Thread):
    """The far end of an attach: sends back what comes, and `bye` after the end of input."""

    def __init__(self, fd: int, *, framed: bool, done: Callable[[], None], code: int | None) -> None:
        super().__init__(daemon=True)
        self._sock = socket.socket(fileno=os.dup(fd))
        self._sock.setblocking(True)
        self._framed = framed
        self._done = done
        self._code = code  # told in a last frame, as the shim does for sessions

    def _send(self, data: bytes) -> None:
        self._sock.sendall(struct.pack(">BxxxL", 1, len(data)) + data if self._framed else data)

    def close(self) -> None:
        if not self.is_alive():
            self._sock.close()

    def run(self) -> None:
        try:
            self._copy()
        except ConnectionError:
            pass
        self._sock.close()
        self._done()

    def _copy(self) -> None:
        while data := self._sock.recv(65536):
            self._send(data)
        self._send(b"bye")
        if self._code is not None:
            end = b'{"StatusCode":%d,"Error":"","Hint":""}' % self._code
            self._sock.sendall(struct.pack(">BxxxL", 5, len(end)) + end)


class FakeLog:
    """A log of two lines; following, a third comes when the pipe is written."""

    remaining_s = None

    def __init__(self, *, follow: bool, error: Exception | None) -> None:
        self._error = error
        self.finished = not follow
        self.closed = False
        self.read_fd, self.write_fd = os.pipe()
        self._entries = [LogEntry(stream=1, data=b"out\n"), LogEntry(stream=2, data=b"err\n")]

    def fileno(self) -> int:
        return self.read_fd

    def read_available(self, max_entries: int = 1000) -> list[LogEntry]:
        if self._error:
            raise self._error
        if self._entries:
            entries, self._entries = self._entries, []
            return entries
        if not self.finished and _readable(self.read_fd):
            os.read(self.read_fd, 1)
            self.finished = True
            return [LogEntry(stream=1, data=b"late\n")]
        return []

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self.read_fd)
            os.close(self.write_fd)


def _readable(fd: int) -> bool:
    import select

    return bool(select.select([fd], [], [], 0)[0])


class FakeContainers:
    def __init__(self) -> None:
        self.created: list[docker.ContainerCreate] = []
        self.calls: list[tuple[Any, ...]] = []
        self.exits = Callbacks()
        self.log: FakeLog | None = None
        self.start_error: Exception | None = None
        self.log_error: Exception | None = None
        self.tty = False
        self.release = threading.Event()
        self._echo: Echo | None = None

    def close(self) -> None:
        self.release.set()
        if self._echo:
            self._echo.close()

    def _check(self, ref: str) -> None:
        if ref not in (ID, "box"):
            raise NotFound(f"No such container: {ref}")

    def create(self, request: docker.ContainerCreate, *, name: str = "", platform: str = "") -> Any:
        if request.Image == "absent":
            raise NotFound("No such image: absent:latest", hint="try another")
        self.created.append(request)
        return docker.CreateResponse(Id=ID)

    def list(self, **asked: Any) -> list[docker.ContainerSummary]:
        self.calls.append(("list", asked))
        return []

    def inspect(self, ref: str, *, size: bool = False) -> docker.ContainerInspect:
        self._check(ref)
        return docker.ContainerInspect(
            Id=ID,
            Created=docker.ZERO_TIME,
            Path="sh",
            Args=[],
            State=docker.State(Status="created"),
            Image="sha256:" + "0" * 64,
            Name="/box",
            HostConfig=docker.HostConfig(),
            GraphDriver=docker.GraphDriver(Name="overlay2"),
            Config=docker.Config(Tty=self.tty),
            NetworkSettings=docker.NetworkSettings(),
        )

    def start(self, ref: str) -> None:
        self._check(ref)
        if self.start_error:
            self.close()
            raise self.start_error
        self.calls.append(("start", ref))
        if self._echo:
            self._echo.start()

    def stop(self, ref: str, *, signal: str = "", timeout_s: int | None = None) -> None:
        self._check(ref)
        self.calls.append(("stop", ref, signal, timeout_s))
        if timeout_s == 99:
            self.release.wait(10)

    def rename(self, ref: str, new_name: str) -> None:
        raise RuntimeError("boom")

    def resize(self, ref: str, *, height: int, width: int) -> None:
        raise Conflict(f"container {ID} is not running")

    def prepare_attach(self, ref: str) -> AttachTarget:
        self._check(ref)
        return AttachTarget(id=ID, tty=self.tty, running=False)

    def attach(
        self, ref: str, *, fd: int, framed: bool, begin: Callable[[], None] = lambda: None, **asked: Any
    ) -> None:
        begin()
        self._echo = Echo(
            fd,
            framed=framed,
            done=lambda: self.exits.fire(WaitResult(status_code=7)),
            code=7 if asked.get("end_frame") else None,
        )
        self.calls.append(("attach", framed, asked))
        if asked.get("stream", True) and not self.tty and asked.get("logs"):
            self._echo.start()

    def logs(self, ref: str, request: LogRequest) -> FakeLog:
        self.log = FakeLog(follow=request.follow, error=self.log_error)
        return self.log

    def on_exit(self, ref: str, condition: str, callback: Callable[[WaitResult], None]) -> Subscription:
        self._check(ref)
        self.calls.append(("wait", condition))
        return self.exits.add(callback)


class FakeExecs:
    def __init__(self) -> None:
        self.exits = Callbacks()
        self.started: list[dict[str, Any]] = []

    def create(self, ref: str, request: docker.ExecCreate) -> str:
        if not request.Cmd:
            from sampan.errors import InvalidArgument

            raise InvalidArgument("No exec command specified")
        return EXEC_ID

    def prepare_start(self, exec_id: str) -> AttachTarget:
        if exec_id != EXEC_ID:
            raise NotFound(f"No such exec instance: {exec_id}")
        return AttachTarget(id=exec_id, tty=False, running=False)

    def start(self, exec_id: str, **asked: Any) -> None:
        self.started.append(asked)
        if asked["fd"] is None:
            return
        if asked["console_size"] == (1, 1):
            raise CommandNotFound('exec: "nope": executable file not found in $PATH')
        done = lambda: self.exits.fire(WaitResult(status_code=3))  # noqa: E731
        code = 3 if asked.get("end_frame") else None
        Echo(asked["fd"], framed=asked["framed"], done=done, code=code).start()

    def on_exit(self, exec_id: str, callback: Callable[[WaitResult], None]) -> Subscription:
        return self.exits.add(callback)


class FakeImages:
    def __init__(self) -> None:
        self.loaded = 0

    def list(self, **asked: Any) -> list[docker.ImageSummary]:
        return []

    def load(
        self, stream: BinaryIO, *, platform: str = "", progress: Callable[[str], None] | None = None
    ) -> list[LoadedImage]:
        head = stream.read(3)
        if head == b"bad":
            raise Conflict("the archive is cut off")
        self.loaded = len(head)
        while piece := stream.read(1 << 20):
            self.loaded += len(piece)
        if progress:
            progress("reading")
        return [
            LoadedImage(reference="x:latest", image_id="sha256:1"),
            LoadedImage(reference=None, image_id="sha256:2"),
        ]

    def import_rootfs(self, stream: BinaryIO, **asked: Any) -> str:
        return "sha256:" + str(len(stream.read()))


class FakeEvents:
    def __init__(self) -> None:
        self.subscribers = Callbacks()
        self.past: list[docker.Event] = []
        self.asked: dict[str, Any] = {}

    def subscribe(self, callback: Callable[[docker.Event], None], **asked: Any) -> Subscription:
        self.asked = asked
        for event in self.past:
            callback(event)
        return self.subscribers.add(callback)


class FakeNetworks:
    """No networks."""

    def inspect(self, ref: str) -> None:
        raise NotFound(f"network {ref} not found")

    def remove(self, ref: str) -> None:
        raise Forbidden(f"{ref} is a pre-defined network and cannot be removed")


class FakeEngine:
    """Only what the tests call; each part notes what it was asked."""

    def __init__(self) -> None:
        self.containers = FakeContainers()
        self.execs = FakeExecs()
        self.images = FakeImages()
        self.events = FakeEvents()
        self.networks = FakeNetworks()


@dataclass
class FakeProgram:
    version: str = "0"
    roots: Roots = field(default_factory=lambda: Roots(data="/d", run="/r"))
    hosts: list[str] = field(default_factory=list)
    stopped: bool = False

    def stop(self) -> None:
        self.stopped = True


@dataclass
class Served:
    """A served door: connect with `connect`, look at `engine`."""

    path: str
    port: int
    engine: FakeEngine
    program: FakeProgram

    def connect(self, *, tcp: bool = False) -> socket.socket:
        if tcp:
            return socket.create_connection(("127.0.0.1", self.port), timeout=10)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(10)
        sock.connect(self.path)
        return sock


@contextmanager
def serve_door(folder: Path) -> Iterator[Served]:
    """Serve a fake engine on a unix socket and a TCP port, in a thread with its own loop."""
    path = str(folder / "s.sock")
    ready = threading.Event()
    served = Served(path, 0, FakeEngine(), FakeProgram())
    stopping: list[Callable[[], None]] = []

    async def run() -> None:
        door = Door(served.engine, served.program)  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        stopping.append(lambda: loop.call_soon_threadsafe(stop.set))
        unix = await loop.create_unix_server(door.connection, path)
        tcp = await loop.create_server(partial(door.connection, PLAIN_TCP), "127.0.0.1", 0)
        served.port = tcp.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        unix.close()
        tcp.close()
        await door.close(grace_s=0.1)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(10)
    try:
        yield served
    finally:
        served.engine.containers.close()
        stopping[0]()
        thread.join(10)
    assert not thread.is_alive()


def build(line: str, body: bytes = b"", *, upgrade: bool = False, headers: str = "") -> bytes:
    """Return a request with a JSON body; line is method and target."""
    lines = [f"{line} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += ["Content-Type: application/json"] if body else []
    lines += ["Connection: Upgrade", "Upgrade: tcp"] if upgrade else []
    lines += [headers] if headers else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def ask(sock: socket.socket, line: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Make one request with a JSON body and read its answer."""
    sock.sendall(build(line, body))
    return read_response(sock)


def exchange(sock: socket.socket, request: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Send one request and read its whole answer; status, headers by lower-case name, body."""
    sock.sendall(request.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    return read_response(sock, head_only=request.startswith("HEAD"))


def read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    """Return the head of an answer, and what came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            break
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def read_response(sock: socket.socket, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
    head, rest = read_head(sock)
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    status = int(lines[0].split(" ")[1])
    if head_only or status in (204, 304):
        return status, headers, rest
    if headers.get("transfer-encoding") == "chunked":
        return status, headers, _read_chunked(sock, rest)
    length = int(headers.get("content-length", "-1"))
    while length < 0 or len(rest) < length:
        piece = sock.recv(65536)
        if not piece:
            break
        rest += piece
    return status, headers, rest


def _read_chunked(sock: socket.socket, rest: bytes) -> bytes:
    body = b""
    while True:
        while b"\r\n" not in rest:
            rest += sock.recv(65536)
        size, _, rest = rest.partition(b"\r\n")
        need = int(size, 16) + 2
        while len(rest) < need:
            rest += sock.recv(65536)
        body, rest = body + rest[: need - 2], rest[need:]
        if need == 2:
            return body


def read_to_end(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def split_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return the frames of a stream; what is left over must be nothing."""
    frames = []
    while data:
        kind, size = struct.unpack(">BxxxL", data[:8])
        frames.append((kind, data[8 : 8 + size]))
        assert len(data) >= 8 + size
        data = data[8 + size :]
    return frames
