"""Who waits for a container's end or removal. Callbacks run in the thread that brings the news."""

from __future__ import annotations

import threading
from typing import get_args

from sampan import log
from sampan.engine.types import ExitCallback, WaitCondition, WaitResult
from sampan.errors import InvalidArgument


def parse_condition(text: str) -> WaitCondition:
    """Return a wait's condition; "" is the default.

    Raises:
        InvalidArgument: another text.
    """
    for condition in get_args(WaitCondition):
        if text == condition or (not text and condition == "not-running"):
            return condition  # type: ignore[no-any-return]  # get_args is untyped
    raise InvalidArgument(f'invalid condition: "{text}"')


class Waits:
    """The waits of one container or exec; thread-safe. A callback is called at most once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[object, tuple[WaitCondition, ExitCallback]] = {}

    def add(self, condition: WaitCondition, callback: ExitCallback) -> Wait:
        """Call back when the condition is met the next time."""
        wait = Wait(self)
        with self._lock:
            self._pending[wait] = (condition, callback)
        return wait

    def cancel(self, wait: object) -> bool:
        """Forget a wait; return whether it was still pending: then its callback is never called."""
        with self._lock:
            return self._pending.pop(wait, None) is not None

    def ended(self, result: WaitResult) -> None:
        """The program has ended: wake all waits but those for the removal."""
        self._wake(result, removed=False)

    def removed(self, result: WaitResult) -> None:
        """The container is gone: wake every wait; without an error, since the removal worked (as moby)."""
        self._wake(WaitResult(status_code=result.status_code), removed=True)

    def _wake(self, result: WaitResult, *, removed: bool) -> None:
        with self._lock:
            due = [key for key, (condition, _) in self._pending.items() if removed or condition != "removed"]
            callbacks = [self._pending.pop(key)[1] for key in due]
        for callback in callbacks:
            call_safely(callback, result)


class Wait:
    """One wait; `cancel` takes it back."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits

    def cancel(self) -> None:
        """Stop waiting; may be called twice."""
        self._waits.cancel(self)


def call_safely(callback: ExitCallback, result: WaitResult) -> None:
    """Call back; a callback that fails must not stop the thread that brings the news."""
    try:
        callback(result)
    except Exception as exc:
        log.error("wait callback failed", reason=repr(exc))
