"""A build's graph as objects of the stream, for clients that draw it: `graph=1` of the build endpoints.

Each object is `{"graph": STATUS}`; STATUS has the names of BuildKit's JSON (`--progress=rawjson`).
Source: BuildKit v0.25 `client/graph.go`, `SolveStatus`.
"""

from __future__ import annotations

import os
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sampan.daemon.failures import message_of
from sampan.daemon.landing import Mailbox
from sampan.engine.times import format_time

if TYPE_CHECKING:
    from sampan.build.graph import Step

_STDOUT: Final = 1
_PULL: Final = "[internal] pull of a base image"
_PULL_ID: Final = "sha256:" + "0" * 64
_DONE: Final = ("Pull complete", "Already exists", "Download complete")


class GraphStream:
    """Told from any thread; a `build.graph.Watcher` and a `build.request.Output`."""

    def __init__(self, mailbox: Mailbox[dict[str, object]]) -> None:
        self._mailbox = mailbox
        self._lock = threading.Lock()
        self._began: dict[str, str] = {}

    def planned(self, steps: Sequence[Step]) -> None:
        """See `Watcher`."""
        self._put("vertexes", *(_vertex(step) for step in steps))

    def began(self, step: Step) -> None:
        """See `Watcher`."""
        started = _now()
        with self._lock:
            self._began[step.id] = started
        self._put("vertexes", {**_vertex(step), "started": started})

    def said(self, step: Step, text: str) -> None:
        """See `Watcher`."""
        data = b64encode(text.encode(errors="replace")).decode()
        self._put("logs", {"vertex": step.id, "stream": _STDOUT, "data": data, "timestamp": _now()})

    def ended(self, step: Step, *, cached: bool, error: BaseException | None) -> None:
        """See `Watcher`."""
        vertex = {**_vertex(step), "started": self._began.get(step.id, ""), "completed": _now()}
        if cached:
            vertex["cached"] = True
        if error is not None:
            vertex["error"] = message_of(error)
        self._put("vertexes", vertex)

    def text(self, text: str) -> None:
        """Pass warnings on; what else classic says, the graph shows."""
        if text.startswith("[Warning]"):
            self._mailbox.put({"stream": text})

    def warn(self, text: str) -> None:
        """See `Output`."""
        self.text(f"[Warning] {text}\n")

    def kept(self, step_id: str) -> None:
        """See `Output`: our own client tells its user."""
        self._mailbox.put({"aux": {"Failed": step_id}})

    @contextmanager
    def beside(self, name: str) -> Iterator[None]:
        """See `Output`: a node that no step needs."""
        vertex: dict[str, object] = {
            "digest": f"sha256:{os.urandom(32).hex()}",
            "name": name,
            "started": _now(),
        }
        self._put("vertexes", vertex)
        error: dict[str, object] = {}
        try:
            yield
        except BaseException as exc:
            error = {"error": message_of(exc)}
            raise
        finally:
            self._put("vertexes", {**vertex, "completed": _now(), **error})

    def image(self, image_id: str) -> None:
        """See `Output`."""
        self._mailbox.put({"aux": {"ID": image_id}})

    def pull(self, progress: dict[str, object]) -> None:
        """Take the progress of a base's pull: counters of one node, which begins with the first."""
        detail, name = progress.get("progressDetail"), str(progress.get("id") or "")
        if not name or not isinstance(detail, Mapping):
            return
        now = _now()
        with self._lock:
            is_first = _PULL_ID not in self._began
            started = self._began.setdefault(_PULL_ID, now)
        if is_first:
            self._put("vertexes", {"digest": _PULL_ID, "name": _PULL, "started": started})
        status = {
            "id": name,
            "vertex": _PULL_ID,
            "name": name,
            "current": _number(detail.get("current")),
            "timestamp": now,
            "started": started,
        }
        if total := _number(detail.get("total")):
            status["total"] = total
        if str(progress.get("status")) in _DONE:
            status["completed"] = now
        self._put("statuses", status)

    def close(self) -> None:
        """End the node that is no step."""
        if _PULL_ID in self._began:
            started = self._began[_PULL_ID]
            self._put(
                "vertexes", {"digest": _PULL_ID, "name": _PULL, "started": started, "completed": _now()}
            )

    def _put(self, kind: str, *entries: Mapping[str, object]) -> None:
        self._mailbox.put({"graph": {kind: list(entries)}})


def _vertex(step: Step) -> dict[str, object]:
    vertex: dict[str, object] = {"digest": step.id, "name": step.name}
    if step.needs:
        vertex["inputs"] = list(step.needs)
    return vertex


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _now() -> str:
    return format_time(time.time_ns())
