"""`sampan run -it` inside of a real terminal multiplexer: the signal of a resize comes from the kernel."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.cli.harness import SAMPAN
from tests.system.sampand import Sampand

_DEADLINE_S = 30


class Tmux:
    """A tmux server of its own, with one window of 80 columns and 24 rows."""

    def __init__(self, socket: Path) -> None:
        self._command = ["tmux", "-f", "/dev/null", "-S", str(socket)]

    def call(self, *arguments: str) -> str:
        return subprocess.run(
            [*self._command, *arguments], check=True, capture_output=True, text=True, timeout=_DEADLINE_S
        ).stdout

    def open(self, *program: str) -> None:
        self.call("new-session", "-d", "-x", "80", "-y", "24", *program)

    def type(self, line: str) -> None:
        self.call("send-keys", line, "Enter")

    def expect(self, text: str) -> None:
        """Wait until a line of the screen is text."""
        deadline = time.monotonic() + _DEADLINE_S
        while text not in (screen := self.call("capture-pane", "-p")).splitlines():
            assert time.monotonic() < deadline, f"no line {text!r} in:\n{screen}"

    def close(self) -> None:
        subprocess.run([*self._command, "kill-server"], check=False, capture_output=True)


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    assert shutil.which("tmux"), "./test installs tmux"
    server = Tmux(tmp_path / "s")
    yield server
    server.close()


@pytest.mark.parametrize("client", [str(SAMPAN), "docker"], ids=["sampan", "docker"])
def test_a_resize_of_the_window_reaches_the_program(tmux: Tmux, sampand: Sampand, client: str) -> None:
    tmux.open(client, "-H", sampand.host, "run", "-it", "--rm", "--network", "none", "busybox", "sh")
    tmux.expect("/ #")  # the shell asks the terminal where it is, and what is typed meanwhile gets mixed up
    tmux.type("echo at first $(stty size)")
    tmux.expect("at first 24 80")
    tmux.call("resize-window", "-x", "100", "-y", "40")
    tmux.type("until [ \"$(stty size)\" = '40 100' ]; do sleep 0.1; done; echo re''sized")
    tmux.expect("resized")
    tmux.type("echo as''leep; sleep 1000")
    tmux.expect("asleep")  # the shell has given the terminal back: before that it reads ctrl-C as a key
    tmux.call("send-keys", "C-c")
    tmux.type("echo code $?")
    tmux.expect("code 130")
