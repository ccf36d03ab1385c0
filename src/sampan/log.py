"""Structured log lines on standard error: a fixed phrase, then fields.

`info("container started", container=cid, took_ms=12)` writes `2026-01-02T03:04:05.678Z info container
started container=… took_ms=12`. Secrets and environments are never fields. Lean (decision 0002).
"""

from __future__ import annotations

import os
import sys
import time

from sampan import fastjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Sink = Callable[[str, str, dict[str, object]], None]  # level, event, fields

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_state = {"level": 20, "json": 0}
_sinks: list[Sink] = []


def configure(*, level: str = "info", as_json: bool = False, sink: Sink | None = None) -> None:
    """Set the lowest level written and the form of a line; a sink gets events in place of standard error.

    Raises:
        KeyError: level is none of debug, info, warning, error.
    """
    _state["level"] = _LEVELS[level]
    _state["json"] = int(as_json)
    _sinks[:] = [sink] if sink is not None else []


def debug(event: str, **fields: object) -> None:
    """Log a step, such as one kernel call."""
    _write("debug", event, fields)


def info(event: str, **fields: object) -> None:
    """Log a change of an object."""
    _write("info", event, fields)


def warning(event: str, **fields: object) -> None:
    """Log that it went on, but not as asked."""
    _write("warning", event, fields)


def error(event: str, **fields: object) -> None:
    """Log that someone must act."""
    _write("error", event, fields)


def _write(level: str, event: str, fields: dict[str, object]) -> None:
    if _LEVELS[level] < _state["level"]:
        return
    for sink in _sinks:
        sink(level, event, fields)
        return
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    if _state["json"]:
        plain = {key: value if isinstance(value, int | str) else str(value) for key, value in fields.items()}
        line = fastjson.dumps({"time": stamp, "level": level, "event": event, **plain})
    else:
        line = " ".join([stamp, level, event, *(f"{key}={_show(value)}" for key, value in fields.items())])
    try:
        os.write(sys.stderr.fileno() if sys.stderr else 2, (line + "\n").encode(errors="backslashreplace"))
    except OSError:
        pass  # a log that cannot be written must not stop a container


def _show(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text else fastjson.dumps(text)
