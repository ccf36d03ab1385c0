"""Layers on their way, as bars on a terminal or as lines elsewhere: always on standard error. Lean."""

from __future__ import annotations

import sys
import time

from sampan.cli.table import human_size
from sampan.cli.terminal import window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.fastjson import JsonValue

_BAR = 28
_REDRAW_S = 0.08
_ENDS = ("Pull complete", "Already exists", "Pushed", "Layer already exists")


class _Layer:
    """One line: what the daemon said last, and how fast its bytes come."""

    def __init__(self) -> None:
        self.status = ""
        self.current = 0
        self.total = 0
        self._began = time.monotonic()
        self._first = 0

    def update(self, status: str, current: int, total: int) -> None:
        if status != self.status:
            self._began, self._first = time.monotonic(), current
        self.status, self.current, self.total = status, current, total

    def text(self) -> str:
        if not self.total:
            return self.status
        full = min(self.current * _BAR // self.total, _BAR)
        bar = "=" * full + (">" if full < _BAR else "")
        sizes = f"{human_size(self.current, digits=3)}/{human_size(self.total, digits=3)}"
        return f"{self.status:<12} [{bar:<{_BAR}}] {sizes:>15}{self._speed()}"

    def _speed(self) -> str:
        passed = time.monotonic() - self._began
        came = self.current - self._first
        if passed < 0.3 or came <= 0:
            return ""
        rate = came / passed
        left = int((self.total - self.current) / rate)
        return f"  {human_size(rate, digits=3)}/s  {left // 60}:{left % 60:02d}"


class Bars:
    """Shows a daemon's progress objects; use it in a `with`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._layers: dict[str, _Layer] = {}
        self._drawn = 0
        self._drawn_at = 0.0
        self._is_terminal = not quiet and sys.stderr.isatty()

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._is_terminal and self._layers:
            self._draw()
            sys.stderr.flush()

    def show(self, document: dict[str, JsonValue]) -> None:
        """Show one object of the stream."""
        status, name = str(document.get("status") or ""), str(document.get("id") or "")
        if self._quiet or not status:
            return
        if not name or status.startswith("Pulling from"):
            self._print(f"{name}: {status}" if name else status)
            return
        detail = document.get("progressDetail")
        current, total = _numbers(detail)
        layer = self._layers.setdefault(name, _Layer())
        is_news = status != layer.status
        layer.update(status, current, total)
        if self._is_terminal:
            if is_news or time.monotonic() - self._drawn_at > _REDRAW_S:
                self._draw()
        elif is_news and status in _ENDS:
            self._print(f"{name}: {status}")

    def _print(self, line: str) -> None:
        if self._is_terminal and self._layers:
            self._draw()
            self._layers.clear()
            self._drawn = 0
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def _draw(self) -> None:
        """Write all lines over those from before, as many as the window has."""
        rows, columns = window_size() or (24, 80)
        shown = list(self._layers.items())[-(rows - 2) :]
        text = f"\x1b[{self._drawn}A" if self._drawn else ""
        for name, layer in shown:
            text += f"\r\x1b[2K{name}: {layer.text()}"[: columns + 4] + "\n"
        sys.stderr.write(text)
        sys.stderr.flush()
        self._drawn, self._drawn_at = len(shown), time.monotonic()


def _numbers(detail: JsonValue) -> tuple[int, int]:
    if not isinstance(detail, dict):
        return 0, 0
    current, total = detail.get("current"), detail.get("total")
    return (current if isinstance(current, int) else 0), (total if isinstance(total, int) else 0)
