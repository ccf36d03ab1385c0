"""A sampand of its own for a test module: private roots, socket, cgroup parent, and one busybox image.

Needs root and a static busybox (Debian: busybox-static). Everything it makes is gone when it is closed.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BUSYBOX = Path("/bin/busybox")
DOCKERS = {"docker 28": "/usr/local/bin/docker", "docker 20.10": "/usr/bin/docker"}
# A machine may have only one of them.
DOCKER = next((path for path in DOCKERS.values() if Path(path).exists()), "docker")
SAMPAND = Path(sys.executable).parent / "sampand"


def _release(docker: str) -> int:
    """Return the first number of a docker client's version, 0 without one."""
    if not Path(docker).exists():
        return 0
    shown = subprocess.run([docker, "--version"], capture_output=True, text=True, check=True).stdout
    return int(shown.removeprefix("Docker version ").partition(".")[0])


needs_docker_28 = pytest.mark.skipif(
    _release(DOCKER) < 28, reason="this machine's docker client is older than what is tried (28)"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="containers are made as root")
needs_busybox = pytest.mark.skipif(not BUSYBOX.exists(), reason="no static busybox (Debian: busybox-static)")


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 30) -> Any:
    """Poll until condition() is true, and return what it gave."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


def busybox_tar() -> bytes:
    """Return a root file system with busybox and its applets, as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("bin", "etc", "tmp", "root", "proc", "sys", "dev", "home", "var", "usr", "usr/bin"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(folder)
        archive.add(BUSYBOX, "bin/busybox")
        applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout
        for applet in applets.split():
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            if applet != "busybox":
                archive.addfile(link)
        for path, text in {
            "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n",
            "etc/group": "root:x:0:\nuser:x:1000:\n",
            "etc/plain": "not executable\n",
        }.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(text), 0o644
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode().strip()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Sampand:
    """One daemon. `start` and `kill` may alternate; `close` ends it and everything it made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.run = folder / "run"
        self.socket = str(self.run / "sampan.sock")
        self.host = f"unix://{self.socket}"
        self.cgroup_parent = f"/sampan-test-{os.getpid()}-{id(self):x}"
        self.log = folder / "sampand.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DOCKER_CONFIG": str(folder / "docker-config"),
            "DOCKER_HOST": self.host,
            "SAMPAN_HOST": self.host,
        }

    def start(self, *options: str) -> None:
        """Start the program and return when it is ready."""
        reader, writer = os.pipe()
        with open(self.log, "ab") as log, open(reader, "rb") as ready:
            self.process = subprocess.Popen(
                [
                    *self.command(),
                    str(SAMPAND),
                    f"--data-root={self.data}",
                    f"--run-root={self.run}",
                    f"--ready-fd={writer}",
                    f"--cgroup-parent={self.cgroup_parent}",
                    "--log-level=debug",
                    "--default-network=none",
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writer,),
            )
            os.close(writer)
            line = ready.readline()
        assert line == b"ready\n", f"{line!r}: {self.log.read_text()}"

    def command(self) -> list[str]:
        """Return what the program is started by, for one in other namespaces."""
        return []

    def stop(self) -> int:
        """End the program as systemd would, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def kill(self) -> None:
        """End the program with -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Remove every container, end the program, and remove what it leaves on purpose."""
        try:
            self.remove_containers()
        finally:
            self.stop()
            self._remove_cgroups()
        assert self.mounts() == []
        assert self.processes() == []

    def remove_containers(self) -> None:
        """Remove every container; one that removes itself meanwhile is fine."""

        def nothing_left() -> bool:
            found = self.call("GET", "/containers/json?all=1")
            for container in found:
                status, _, answer = self.request("DELETE", f"/containers/{container['Id']}?force=1&v=1")
                assert status in (204, 404, 409), answer
            return not found

        wait_for(nothing_left, "all removed")  # again: a test's last request may still make one

    def mounts(self) -> list[str]:
        """Return the mount points below the daemon's folder."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [point for point in (line.split()[4] for line in lines) if point.startswith(str(self.folder))]

    def processes(self) -> list[str]:
        """Return the command lines of processes that name the daemon's folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if str(self.folder) in line and int(entry.name) != os.getpid():
                    found.append(line)
        return found

    def _remove_cgroups(self) -> None:
        name, root = self.cgroup_parent.strip("/"), Path("/sys/fs/cgroup")
        for tree in filter(Path.is_dir, (root / name, *root.glob(f"*/{name}"))):
            for folder in sorted((path for path in tree.rglob("*") if path.is_dir()), reverse=True):
                with suppress(FileNotFoundError):  # its shim was about to remove it
                    folder.rmdir()
            tree.rmdir()

    def request(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Make one request; body is sent as JSON, raw as it is. Status, headers by lower-case name, body."""
        connection = UnixConnection(self.socket)
        try:
            headers = {}
            if raw is None and body is not None:
                raw = json.dumps(body).encode()
                headers["Content-Type"] = "application/json"
            connection.request(method, path, raw, headers)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make one request that must succeed and return its JSON."""
        status, _, answer = self.request(method, path, body)
        assert status < 300, f"{method} {path}: {status} {answer!r}"
        return json.loads(answer) if answer.strip() else None

    def load_busybox(self) -> None:
        """Make the image busybox:latest."""
        path = "/images/create?fromSrc=-&repo=busybox&tag=latest&changes=CMD%20%5B%22sh%22%5D"
        status, _, answer = self.request("POST", path, raw=busybox_tar())
        assert (status, b"error" in answer) == (200, False), answer

    def docker(
        self,
        *arguments: str,
        cli: str = DOCKER,
        stdin: bytes | None = b"",
        timeout_s: float = 60,
    ) -> Result:
        """Run a docker command against this daemon."""
        return self._run([cli, *arguments], stdin=stdin, timeout_s=timeout_s)

    def sampan(self, *arguments: str, stdin: bytes | None = b"", timeout_s: float = 60) -> Result:
        """Run our own command line against this daemon."""
        program = str(Path(sys.executable).parent / "sampan")
        return self._run([program, *arguments], stdin=stdin, timeout_s=timeout_s)

    def _run(self, command: Sequence[str], *, stdin: bytes | None, timeout_s: float) -> Result:
        done = subprocess.run(
            command, input=stdin, capture_output=True, env=self.environment, timeout=timeout_s, check=False
        )
        return Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


def serve(folder: Path) -> Sampand:
    """Start a daemon that has the image busybox."""
    daemon = Sampand(folder)
    daemon.start()
    try:
        daemon.load_busybox()
    except BaseException:
        daemon.stop()
        raise
    return daemon
