"""A program on a pseudo terminal, driven by what it prints."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType


class Terminal:
    """A child with a terminal of its own; `send` types, `expect` waits for output."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, rows: int = 30, columns: int = 100
    ) -> None:
        self._master, slave = pty.openpty()
        self.resize(rows, columns)

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=dict(environment), preexec_fn=own_terminal
        )
        os.close(slave)
        self.output = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, pattern: str, timeout_s: float = 20) -> re.Match[str]:
        """Return the next match of pattern in the output and forget everything up to its end."""
        deadline = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self.output, re.DOTALL)):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.output!r}"
            if not self._read(deadline):
                found = re.search(pattern, self.output, re.DOTALL)
                assert found, f"ended without {pattern!r}: {self.output!r}"
                break
        self.output = self.output[found.end() :]
        return found

    def shows(self, text: str, *, within_s: float) -> bool:
        """Return whether text is in the output, waiting for a while."""
        deadline = time.monotonic() + within_s
        while text not in self.output and time.monotonic() < deadline:
            if not self._read(deadline):
                break
        return text in self.output

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the last user of the terminal has gone
            return False
        self.output += data.decode(errors="replace")
        return bool(data)

    def wait(self, timeout_s: float = 20) -> int:
        """Return the exit code; output until then is kept."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still runs: {self.output!r}"
            self._read(min(deadline, time.monotonic() + 0.1))
        return self.process.returncode

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)
