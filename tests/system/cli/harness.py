"""What tests of the command line share: dockerd on private roots, the command in pipes and in a terminal."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.system.sampand import busybox_tar

BIN = Path(sys.executable).parent
SAMPAN = BIN / "sampan"
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Daemon:
    """A daemon for tests: its address, and whether it is sampand or Docker's."""

    host: str
    is_sampand: bool


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


def sampan(host: str, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> Done:
    """Run the command to its end, with pipes."""
    done = subprocess.run(
        [SAMPAN, "-H", host, *arguments],
        input=stdin,
        capture_output=True,
        timeout=DEADLINE_S,
        env={**os.environ, **(env or {})},
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


class Terminal:
    """The command as the leader of a session of its own, on a pseudo-terminal of the wanted size."""

    def __init__(self, host: str, *arguments: str, rows: int = 24, columns: int = 80) -> None:
        self.master, slave = os.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave  # kept open: its settings are looked at after the command's end
        self.seen = b""
        self.process = subprocess.Popen(
            [SAMPAN, "-H", host, *arguments], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size; its foreground group gets SIGWINCH if it has one."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, data: bytes) -> None:
        """Type."""
        os.write(self.master, data)

    def expect(self, wanted: bytes) -> bytes:
        """Read until wanted was shown; return everything up to its end, and forget it."""
        deadline = time.monotonic() + DEADLINE_S
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"{wanted!r} did not come; seen: {self.seen!r}")
            self.seen += os.read(self.master, 65536)
        end = self.seen.index(wanted) + len(wanted)
        shown, self.seen = self.seen[:end], self.seen[end:]
        return shown

    def wait(self) -> int:
        """Wait for the command's end and return its exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"the command does not end; seen: {self.seen!r}")
            if select.select([self.master], [], [], 0.02)[0]:
                self.seen += os.read(self.master, 65536)
        return self.process.returncode

    def is_restored(self) -> bool:
        """Tell whether the terminal's settings are as the command found them."""
        return termios.tcgetattr(self.slave) == self.before


@contextmanager
def running_dockerd(folder: Path, *, network: str = "", options: Sequence[str] = ()) -> Iterator[Daemon]:
    """Run Debian's dockerd on roots of its own, without bridge, firewall rules or forwarding.

    network: the namespace that it takes for the host's; there it has all of them.
    """
    host = f"unix://{folder}/docker.sock"
    group = f"sampan-test-dockerd-{os.getpid()}-{folder.name}"
    command = ["dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
    command += ["--pidfile", f"{folder}/pid", "-H", host, "--cgroup-parent", f"/{group}", *options]
    if network:
        command = ["nsenter", f"--net=/run/netns/{network}", "--", *command]
    else:
        command += ["--iptables=false", "--bridge=none", "--ip-forward=false"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_listening(folder / "docker.sock", process)
        yield Daemon(host, is_sampand=False)
    finally:
        _remove_containers(host)
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)
        _remove_cgroups(group)
        shutil.rmtree(folder / "data", ignore_errors=True)


def _remove_cgroups(name: str) -> None:
    """Remove a cgroup in every tree; the kernel may need a moment after the last process."""
    deadline = time.monotonic() + DEADLINE_S
    while roots := list(Path("/sys/fs/cgroup").glob(f"*/{name}")):
        for root in roots:
            with suppress(OSError):  # one of them has just gone
                folders = [path for path in root.rglob("*") if path.is_dir()]
                for folder in [*sorted(folders, reverse=True), root]:
                    with suppress(OSError):
                        folder.rmdir()
        assert time.monotonic() < deadline, f"cgroups {roots} are still in use"


def _wait_listening(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as sock:
            if sock.connect_ex(str(path)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens at {path}: {(path.parent / 'log').read_text()[-2000:]}")


def _remove_containers(host: str) -> None:
    found = sampan(host, "ps", "-aq").out.split()
    if found:
        sampan(host, "rm", "-f", *found)


def make_image(host: str, name: str = "busybox:latest") -> None:
    """Import a small image with busybox."""
    done = sampan(host, "import", "-c", 'CMD ["sh"]', "-", name, stdin=busybox_tar())
    assert done.code == 0, done.err
