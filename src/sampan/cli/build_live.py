"""A build on a terminal: what is done stays as lines, what runs is a small area below that is drawn over.

```
 ✔ deps 1/3   FROM debian                                cached      stays, in the order in which steps end
 ✔ deps 2/3   RUN apt-get install -y gcc                  11.2s
                                                                     the live area:
 14.1s  4 of 9 steps, 1 cached
 ▸ deps 3/3   RUN make                                     2.9s      each stage that runs, side by side,
   │ cc -c main.c                                                    with the last lines it wrote
 ▸ docs 2/2   RUN pandoc …                                 0.7s
 · final 2/3  COPY --from=deps /app /          waits for deps 3/3
```

No flicker: a frame is one write, in which unchanged lines are passed over and none is cleared before it is
written; terminals that can (DEC mode 2026) show it at once. No line is wider than the window, so none wraps.
"""

from __future__ import annotations

import _thread
import time

from sampan.cli.build_graph import Graph
from sampan.cli.table import human_size
from sampan.cli.terminal import window_size
from sampan.lean import getenv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from sampan.cli.build_graph import Step
    from sampan.fastjson import JsonValue

_TICK_S = 0.1
_MOST_LOGS = 6  # lines of output of each stage, if the window has room
_LABEL = 24  # columns; longer names of stages are cut
_MARKS = {"done": "✔", "failed": "✘", "runs": "▸", "waits": "·", "output": "│"}
_ASCII_MARKS = {"done": "+", "failed": "x", "runs": ">", "waits": "-", "output": "|"}
_COLOURS = {"done": "32", "failed": "31", "runs": "36", "waits": "2", "output": "2"}
_BEGIN, _END = "\x1b[?2026h\x1b[?25l\x1b[?7l", "\x1b[J\x1b[?7h\x1b[?2026l"
_CLEAR_LINE = "\x1b[2K"
_SHOW_CURSOR = "\x1b[?25h"


class Painter:
    """Turns steps into lines of a width; nothing is written."""

    def __init__(self, graph: Graph, *, colours: bool = False, ascii_only: bool = False) -> None:
        self._graph = graph
        self._colours = colours
        self._marks = _ASCII_MARKS if ascii_only else _MARKS

    def ended(self, step: Step, width: int, *, stopped: bool = False) -> list[str]:
        """Return the lines that stay of a step: one, and of one that failed its last output."""
        if stopped:
            return [self._line("waits", step, "stopped", width)]
        if step.error:
            line = self._line("failed", step, _seconds(self._graph.seconds(step, 0)), width)
            return [line, *self._output(step, step.log.maxlen or 0, width)]
        spent = "cached" if step.cached else _seconds(self._graph.seconds(step, 0))
        return [self._line("done", step, spent, width)]

    def live(self, now: float, begun: float, rows: int, width: int) -> list[str]:
        """Return the lines of what runs and waits, fewer than the window's rows."""
        room = max(1, rows - 2)
        running, waiting = self._graph.running(), self._graph.waiting()
        working = [step for step in running if self._graph.waits_for(step) is None]
        held = [step for step in running if step not in working] + waiting
        lines = [_clip(f" {_seconds(now - begun)}  {self._count(working)}", width)]
        shown = working[: room - 1]
        spare = room - 1 - len(shown) - min(len(held), 3)
        for step in shown:
            lines.append(self._line("runs", step, _seconds(self._graph.seconds(step, now)), width))
            lines += self._output(step, min(_MOST_LOGS, spare // len(shown)), width)
        for step in held[: max(0, room - len(lines))]:
            needed = self._graph.waits_for(step)
            lines.append(self._line("waits", step, f"waits for {needed.label}" if needed else "", width))
        return lines

    def _count(self, working: Sequence[Step]) -> str:
        total, done, cached = self._graph.counts()
        words = [f"{done} of {total} steps"]
        if cached:
            words.append(f"{cached} cached")
        if len(working) > 1:
            words.append(f"{len(working)} at once")
        return ", ".join(words)

    def _line(self, kind: str, step: Step, right: str, width: int) -> str:
        widest = max((len(one.label) for one in self._graph.steps.values()), default=0)
        label = _clip(step.label, _LABEL).ljust(min(widest, _LABEL)) if width >= 60 else step.label
        left = f"{label} {step.text}{_counted(step)}".lstrip()
        room = width - 4 - len(right)
        text = _clip(left, room) if room >= 8 else _clip(left, width - 3)
        gap = " " * (room - _columns(text) + 1) + right if room >= 8 else ""
        return f" {self._colour(kind, self._marks[kind])} {text}{gap}"

    def _output(self, step: Step, count: int, width: int) -> list[str]:
        mark = self._marks["output"]
        return [
            self._colour("output", f"   {mark} {_clip(line, width - 5)}".rstrip())
            for line in step.tail(count)
            if line.strip()
        ]

    def _colour(self, kind: str, text: str) -> str:
        return f"\x1b[{_COLOURS[kind]}m{text}\x1b[m" if self._colours else text


class Screen:
    """The end of a terminal's output, where some lines are drawn over."""

    def __init__(self, out: TextIO, size: Callable[[], tuple[int, int]], *, reflows: bool) -> None:
        self._out = out
        self._size = size
        self._reflows = reflows
        self._lines: list[str] = []
        self._columns = 0

    def draw(self, stay: Sequence[str], live: Sequence[str]) -> None:
        """Write lines that stay, then those that the next call will draw over."""
        rows, columns = self._size()
        if not stay and columns == self._columns and list(live) == self._lines:
            return
        is_same = columns == self._columns
        text = self._up(rows, columns)
        clear = "" if is_same else _CLEAR_LINE  # or a line that was wrapped stays joined with the next
        for at, line in enumerate([*stay, *live]):
            known = is_same and at < len(self._lines) and self._lines[at] == line
            text += "\n" if known else f"{clear}{line}\x1b[K\n"
        self._lines, self._columns = list(live), columns
        self._out.write(f"{_BEGIN}{text}{_END}{'' if live else _SHOW_CURSOR}")
        self._out.flush()

    def _up(self, rows: int, columns: int) -> str:
        """Return what goes to where the last frame begins.

        A window that became narrower has wrapped the lines that are there, in all terminals but xterm. Some
        tell us later (tmux, 0.25 s): frames of the old size do not wrap meanwhile (DEC mode 7), so that the
        lines that they leave behind are just those that are counted too much here.
        """
        count = len(self._lines)
        if self._reflows and columns < self._columns:
            count = sum(max(1, -(-_columns(_bare(line)) // columns)) for line in self._lines)
        count = min(count, rows - 1)
        return f"\x1b[{count}A\r" if count > 0 else "\r"


class LiveBuild:
    """Shows a build while it runs; use it in a `with`. A thread keeps the times going."""

    def __init__(self, out: TextIO) -> None:
        self._graph = Graph()
        is_poor = getenv("TERM") in ("linux", "dumb")
        self._painter = Painter(self._graph, colours=not getenv("NO_COLOR"), ascii_only=is_poor)
        self._screen = Screen(out, _size, reflows=not (is_poor or getenv("XTERM_VERSION")))
        self._stay: list[str] = []
        self._begun = time.monotonic()
        self._has_failed = False
        self._lock = _thread.allocate_lock()
        self._goes_on = _thread.allocate_lock()  # held while the build runs
        self._over = False

    def __enter__(self) -> LiveBuild:
        self._goes_on.acquire()
        _thread.start_new_thread(self._tick, ())  # `threading` costs more than all of this module
        return self

    def __exit__(self, *_error: object) -> None:
        self._over = True
        self._goes_on.release()
        with self._lock:  # the last frame is whole
            width = self._width()
            for step in self._graph.running():
                self._stay += self._painter.ended(step, width, stopped=True)
            self._screen.draw(self._stay, [])

    def take(self, told: dict[str, JsonValue]) -> None:
        """Take one object of the graph; it is shown with the next frame."""
        with self._lock:
            for step in self._graph.take(told, time.monotonic()):
                self._stay += self._painter.ended(step, self._width(), stopped=self._has_failed)
                self._has_failed = self._has_failed or bool(step.error)

    def say(self, text: str) -> None:
        """Show a text that stays: a warning."""
        with self._lock:
            self._stay += text.rstrip("\n").split("\n")

    def summary(self) -> str:
        """Return in one line what the build was: its time and steps."""
        total, _, cached = self._graph.counts()
        spent = _seconds(time.monotonic() - self._begun)
        return f"{total} steps, {cached} cached, {spent}"

    def _width(self) -> int:
        return _size()[1] - 1

    def _tick(self) -> None:
        while not self._goes_on.acquire(timeout=_TICK_S):
            with self._lock:
                if self._over:
                    return
                try:
                    self._draw()
                except OSError:  # the terminal has gone: whoever writes next is told
                    return

    def _draw(self) -> None:
        rows, columns = _size()
        live = self._painter.live(time.monotonic(), self._begun, rows, columns - 1)
        self._screen.draw(self._stay, live)
        self._stay = []


def _size() -> tuple[int, int]:
    rows, columns = window_size() or (24, 80)
    return max(rows, 4), max(columns, 12)


def _counted(step: Step) -> str:
    """Return how far a pull is; nothing for other steps."""
    if not step.counters:
        return ""
    current, total = (sum(pair[at] for pair in step.counters.values()) for at in (0, 1))
    return f" {human_size(current, digits=3)} of {human_size(total, digits=3)}"


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m{rest:02d}s"


def _clip(text: str, width: int) -> str:
    """Cut text to so many columns, the last of them an ellipsis if something is missing."""
    if _columns(text) <= width:
        return text
    kept = ""
    columns = 0
    for character in text:
        columns += _columns(character)
        if columns > width - 1:
            break
        kept += character
    return f"{kept}…" if width > 0 else ""


def _columns(text: str) -> int:
    """Return how many columns text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def _bare(line: str) -> str:
    """Return a line without its colours."""
    from sampan.cli.build_graph import plain_line

    return plain_line(line)
