"""Where `sampan-runtime` writes errors and warnings: standard error, or a file in runc's two formats. Lean.

containerd, podman and conmon read the last line of level error from that file and show its msg.
Source: containerd/go-runc, `getLastRuntimeError`; containers/conmon and podman, `ociLog`.
"""

from __future__ import annotations

import os
import time

from sampan import fastjson, log
from sampan.errors import InvalidArgument

_state = {"path": "", "format": "text"}


def configure(*, path: str, format: str, debug: bool) -> None:
    """Choose the file ("" for standard error) and the format of its lines.

    Raises:
        InvalidArgument: format is neither text nor json.
    """
    if format not in ("text", "json"):
        raise InvalidArgument(f"option --log-format: {format!r} is neither text nor json")
    _state["path"] = path
    _state["format"] = format
    log.configure(level="debug" if debug else "info", sink=_write_event if path else None)


def fatal(error: Exception) -> None:
    """Write what ends the program: to the file, if there is one, and to standard error."""
    text = str(error)
    if isinstance(error, OSError):
        text = (error.strerror or text) + (f": {error.filename}" if error.filename else "")
    if _state["path"]:
        try:
            _append("error", text)
        except OSError as exc:
            text += f" (and cannot write the log {_state['path']}: {exc.strerror})"
    hint = getattr(error, "hint", "")
    shown = f"error: {text}\n" + (f"hint: {hint}\n" if hint else "")
    os.write(2, shown.encode(errors="backslashreplace"))


def _write_event(level: str, event: str, fields: dict[str, object]) -> None:
    _append(level, " ".join([event, *(f"{key}={value}" for key, value in fields.items())]))


def _append(level: str, message: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if _state["format"] == "json":
        line = fastjson.dumps({"level": level, "msg": message, "time": stamp})
    else:
        line = f'time="{stamp}" level={level} msg={fastjson.dumps(message)}'
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    fd = os.open(_state["path"], flags, 0o644)
    try:
        os.write(fd, (line + "\n").encode())
    finally:
        os.close(fd)
