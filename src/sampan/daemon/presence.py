"""That sampand is there: its lock and pid files, and the news that it is ready."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from typing import Final

from sampan.errors import Conflict

LOCK_NAME: Final = "sampand.pid"


class RunLock:
    """The locked pid file in the run root: at most one sampand for each run root."""

    def __init__(self, run_root: str) -> None:
        """Take the lock; makes the run root.

        Raises:
            Conflict: another sampand has it; the message names its pid.
        """
        os.makedirs(run_root, mode=0o711, exist_ok=True)
        os.chmod(run_root, 0o711)  # noqa: S103 -- the socket inside is for a group, the rest is 0700
        path = os.path.join(run_root, LOCK_NAME)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            holder = os.pread(self._fd, 20, 0).decode(errors="replace").strip()
            os.close(self._fd)
            if exc.errno != errno.EWOULDBLOCK:
                raise
            raise Conflict(
                f"another sampand (pid {holder or 'unknown'}) runs on {run_root}",
                hint="stop it, or give this one its own --data-root and --run-root",
            ) from exc
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back; the file stays, empty, since removing it would race with the next holder."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def write_pid_file(path: str) -> None:
    """Write our pid to a file that somebody else asked for."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(fd, f"{os.getpid()}\n".encode())
    finally:
        os.close(fd)


def notify_manager(message: str) -> None:
    """Tell systemd, if it started us and listens (sd_notify(3)); a lost message is no reason to fail."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.send(message.encode())
    except OSError:
        pass


class ReadyPipe:
    """The descriptor by which whoever started sampand learns how it went; -1 for none."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        if fd >= 0:
            os.set_inheritable(fd, False)

    def tell(self, line: str) -> None:
        """Write one line and close; later calls do nothing."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            os.write(fd, f"{line}\n".encode())
        except OSError:
            pass  # the starter has not waited
        os.close(fd)
