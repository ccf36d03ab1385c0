"""`sampan run -it` and `build` in a real terminal multiplexer: a resize's signal is the kernel's."""

from __future__ import annotations

import re
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

    def wait_for(self, text: str) -> list[str]:
        """Wait until text is on the screen; return its lines, and those that scrolled away."""
        deadline = time.monotonic() + _DEADLINE_S
        while text not in (screen := self.call("capture-pane", "-p", "-S", "-200")):
            assert time.monotonic() < deadline, f"no {text!r} in:\n{screen}"
        return [line for line in screen.splitlines() if line]

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


DOCKERFILE = """\
FROM busybox AS left
RUN echo left says; until [ -e /go/on ]; do sleep 0.1; done; echo > /left
FROM busybox AS right
RUN echo right says; until [ -e /go/on ]; do sleep 0.1; done; echo > /right
FROM busybox
COPY --from=left /left /
COPY --from=right /right /
RUN echo near the end; exit 3
"""


def test_a_build_in_windows_of_many_sizes(tmux: Tmux, sampand: Sampand, tmp_path: Path) -> None:
    text = DOCKERFILE.replace("RUN echo", "RUN --mount=type=cache,id=live,target=/go echo")
    (tmp_path / "Dockerfile").write_text(text)
    _show_prompt(tmux)
    tmux.type(f"{SAMPAN} -H {sampand.host} build {tmp_path}; echo code $?")
    for wanted in ("left says", "right says", "waits for left 2/2"):
        tmux.wait_for(wanted)
    tmux.call("resize-window", "-x", "60", "-y", "60")
    _wait_for_frame(tmux, 60)
    assert len([line for line in tmux.wait_for("▸") if "▸" in line]) == 2, "one frame, drawn over"
    for columns in (33, 100, 45, 24, 80):  # tmux joins lines that it had wrapped: remains of frames may stay
        tmux.call("resize-window", "-x", str(columns), "-y", "60")
        _wait_for_frame(tmux, columns)
        lines = tmux.wait_for("▸")
        begin = max(at for at, line in enumerate(lines) if re.match(r" \d+\.\ds  3 of", line))
        assert [line[:3] for line in lines[begin + 1 :] if line[1] in "▸·"] == [" ▸ ", " ▸ ", " · "]
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "Dockerfile").write_text(
        "FROM busybox\nRUN --mount=type=cache,id=live,target=/go touch /go/on\n"
    )
    assert sampand._run([str(SAMPAN), "build", str(tmp_path / "next")], stdin=b"", timeout_s=60).code == 0
    lines = tmux.wait_for("code 3")
    ended = [" ".join(line.split()[:3]) for line in lines if line.startswith((" ✔", " ✘"))]
    assert sorted(ended) == sorted(
        [*(f"✔ {name} 1/2" for name in ("left", "right")), "✔ left 2/2", "✔ right 2/2",
         *(f"✔ stage-2 {number}/4" for number in (1, 2, 3)), "✘ stage-2 4/4"]
    )  # fmt: skip
    at = next(number for number, line in enumerate(lines) if line.startswith(" ✘"))
    assert lines[at + 1] == "   │ near the end"
    assert "returned a non-zero code: 3" in "".join(lines[at + 2 :])
    assert tmux.call("display-message", "-p", "#{cursor_flag}").strip() == "1"


def test_an_interrupted_build_leaves_a_whole_terminal(tmux: Tmux, sampand: Sampand, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo here; sleep 100\n")
    _show_prompt(tmux)
    tmux.type(f"{SAMPAN} -H {sampand.host} build {tmp_path}; echo code $?")
    tmux.wait_for("│ here")
    tmux.call("send-keys", "C-c")
    lines = tmux.wait_for("code 130")
    assert any(line.startswith(" · 2/2 RUN") and line.endswith("stopped") for line in lines)
    assert tmux.call("display-message", "-p", "#{cursor_flag}").strip() == "1"


def _show_prompt(tmux: Tmux) -> None:
    tmux.open("env", "PS1=> ", "sh")
    tmux.wait_for(">")


def _wait_for_frame(tmux: Tmux, columns: int) -> None:
    """Wait until a running step's line has this width: tmux tells of it a quarter of a second later."""
    deadline = time.monotonic() + _DEADLINE_S
    pattern = rf"^(?= ▸ left)(?=.*s$).{{{columns - 1}}}$"
    while not re.search(pattern, screen := tmux.call("capture-pane", "-p"), re.MULTILINE):
        assert time.monotonic() < deadline, screen
