"""Real containers for the tests of launcher and shim: busybox bundles, a launcher of their own, clients."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sampan.errors import SampanError
from sampan.runtime.launcher.client import (
    AttachRequest,
    ExecExited,
    Exited,
    Launcher,
    LogSettings,
    ShimHandle,
    ShimRequest,
)
from sampan.runtime.requests import RootMount

CGROUPS = Path("/sys/fs/cgroup")
DEADLINE_S = 30.0
CAPABILITIES = ["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"]


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Poll condition until it is true; fail with `what` after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        select.select([], [], [], 0.005)


class Client:
    """The user's end of an attached connection."""

    opened: ClassVar[list[Client]] = []  # for Box.tidy

    def __init__(self, *, framed: bool, stdin: bool = False, keys: bytes = b"", **streams: bool) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(DEADLINE_S)
        self.framed = framed
        self._theirs = theirs
        self.request = AttachRequest(
            fd=theirs.fileno(),
            attach_id=uuid.uuid4().hex,
            framed=framed,
            stdin=stdin,
            detach_keys=keys,
            **streams,
        )
        Client.opened.append(self)

    def handed_over(self) -> Client:
        """Close our duplicate of the shim's end."""
        self._theirs.close()
        return self

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def end_input(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def read_all(self) -> bytes:
        """Return everything up to the end of the connection, as it came."""
        parts = []
        while part := self.sock.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)

    def read_until(self, text: bytes) -> bytes:
        """Return what came, up to and with text."""
        got = b""
        while text not in got:
            part = self.sock.recv(1 << 16)
            assert part, f"the connection ended before {text!r}: {got[-200:]!r}"
            got += part
        return got

    def outputs(self) -> tuple[bytes, bytes]:
        """Return (stdout, stderr) of a framed connection, to its end."""
        return split_frames(self.read_all())

    def close(self) -> None:
        self.sock.close()
        self._theirs.close()


def split_frames(raw: bytes) -> tuple[bytes, bytes]:
    streams: dict[int, list[bytes]] = {1: [], 2: []}
    at = 0
    while at < len(raw):
        kind, zeros, length = raw[at], raw[at + 1 : at + 4], int.from_bytes(raw[at + 4 : at + 8], "big")
        assert zeros == b"\0\0\0"
        streams[kind].append(raw[at + 8 : at + 8 + length])
        at += 8 + length
    assert at == len(raw), "the last frame is cut"
    return b"".join(streams[1]), b"".join(streams[2])


@dataclass
class Running:
    """A started container and its handle; events that were read and not asked for yet."""

    handle: ShimHandle
    request: ShimRequest
    log: Path
    pending: list[Any]

    def next_event(self, kind: type, timeout_s: float = DEADLINE_S) -> Any:
        """Return the next event of a kind; others are kept."""
        deadline = time.monotonic() + timeout_s
        while True:
            for event in self.pending:
                if isinstance(event, kind):
                    self.pending.remove(event)
                    return event
            assert time.monotonic() < deadline, f"no {kind.__name__} came; others: {self.pending}"
            select.select([self.handle.fd], [], [], 0.1)
            self.pending += self.handle.read_events()

    def wait(self, timeout_s: float = DEADLINE_S) -> Exited:
        """Wait for the container's end and release its shim."""
        event: Exited = self.next_event(Exited, timeout_s)
        self.wait_released()
        return event

    def wait_released(self) -> None:
        """Release the shim of the ended container, and wait for its end."""
        self.handle.release()
        wait_until(lambda: not process_lives(self.handle.shim_pid), "the shim ends after release")

    def finish_exec(self) -> ExecExited:
        event: ExecExited = self.next_event(ExecExited)
        self.handle.acknowledge(event)
        return event

    def kill(self) -> None:
        """Kill the container if it still runs, and let its shim go."""
        with contextlib.suppress(SampanError):
            self.handle.signal(9)
            self.next_event(Exited)
        with contextlib.suppress(SampanError):
            self.handle.release()
        self.handle.close()

    def log_text(self) -> str:
        """Return what the log says, rotated files not counted."""
        return "".join(json.loads(line)["log"] for line in self.log.read_bytes().splitlines())


class Box:
    """A launcher, a busybox root and any number of containers; `close` leaves nothing behind."""

    def __init__(self, folder: Path, runtime: tuple[str, ...] | None = None) -> None:
        self.folder = folder
        self.runtime = runtime
        self.cgroup = f"/sampan-test-{uuid.uuid4().hex[:8]}"
        self.run_root = folder / "run"
        (self.run_root / "containers").mkdir(parents=True)
        self.layer = folder / "layer"
        make_busybox_root(self.layer)
        self.launcher = Launcher.spawn(run_root=str(self.run_root))
        self.running: list[Running] = []

    def request(self, args: Sequence[str], **options: Any) -> ShimRequest:
        """Make a bundle and the request for it; options are of ShimRequest, `config` changes config.json."""
        id = uuid.uuid4().hex * 2
        bundle = self.folder / "containers" / id
        for name in ("rootfs", "upper", "work"):
            (bundle / name).mkdir(parents=True)
        config = options.pop("config", lambda document: None)
        log = options.pop("log", {})
        document = default_config(args, terminal=options.get("terminal", False), cgroup=f"{self.cgroup}/{id}")
        config(document)
        (bundle / "config.json").write_text(json.dumps(document))
        fields: dict[str, Any] = {
            "id": id,
            "run_dir": str(self.run_root / "containers" / id),
            "bundle": str(bundle),
            "runtime": self.runtime,
            "log": LogSettings(**{"path": str(bundle / "log"), **log}),
            "root_mount": RootMount(
                lower=(str(self.layer),), upper=str(bundle / "upper"), work=str(bundle / "work")
            ),
        }
        return ShimRequest(**{**fields, **options})

    def start(self, args: Sequence[str], *clients: Client, **options: Any) -> Running:
        """Start a container with clients attached from its first byte on."""
        request = self.request(args, **options)
        handle = self.launcher.start(request, [client.request for client in clients])
        for client in clients:
            client.handed_over()
        running = Running(handle, request, Path(request.log.path), [])
        self.running.append(running)
        return running

    def shell(self, script: str, *clients: Client, **options: Any) -> Running:
        return self.start(["/bin/sh", "-c", script], *clients, **options)

    def tidy(self) -> None:
        """End every container and connection of a test."""
        while Client.opened:
            Client.opened.pop().close()
        while self.running:
            self.running.pop().kill()

    def close(self) -> None:
        self.tidy()
        self.launcher.close()
        remove_cgroups(self.cgroup)


@contextlib.contextmanager
def open_box(folder: Path, runtime: tuple[str, ...] | None = None) -> Iterator[Box]:
    """Open a box; runtime is another OCI runtime for all its containers."""
    box = Box(folder, runtime)
    try:
        yield box
    finally:
        box.close()


def make_busybox_root(root: Path) -> None:
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "root"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for name in (
        "sh",
        "cat",
        "echo",
        "sleep",
        "true",
        "false",
        "head",
        "tail",
        "dd",
        "seq",
        "stty",
        "kill",
        "ps",
    ):
        (root / "bin" / name).symlink_to("busybox")
    for name in (
        "yes",
        "wc",
        "tr",
        "id",
        "ls",
        "env",
        "usleep",
        "md5sum",
        "mkdir",
        "touch",
        "readlink",
        "grep",
    ):
        (root / "bin" / name).symlink_to("busybox")


def default_config(args: Sequence[str], *, terminal: bool, cgroup: str) -> dict[str, Any]:
    sets = {name: CAPABILITIES for name in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": sets,
        },
        "root": {"path": "rootfs"},
        "hostname": "shimtest",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }


def remove_cgroups(path: str) -> None:
    """Remove the test's own cgroups: all of them were below one name."""
    for tree in CGROUPS.iterdir():
        top = tree / path.lstrip("/")
        if top.is_dir() and not tree.is_symlink():
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)


def process_lives(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def exec_process(args: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return an OCI process for ExecStart."""
    sets = {name: CAPABILITIES for name in ("bounding", "effective", "permitted")}
    process = {"user": {"uid": 0, "gid": 0}, "args": list(args), "env": ["PATH=/bin"], "cwd": "/"}
    return {**process, "capabilities": sets, **more}
