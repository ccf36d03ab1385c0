"""Start containers again by themselves: after their end, and when sampand starts.

```
 end ──► wants? ──► restarting ──► schedule ─[timer]─► due ──► pool: start ──► running
                        ▲                      │                 └ failed: longer back-off, or given up
                        └──────────────────────┘ waits for a container that it joins
```

The state has how long a container waits since its end, so that a back-off goes on when sampand comes back
(`at_start`). docs/restarts-and-health.md has the rules.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Protocol

from sampan import log
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.lifecycle.dependencies import find_blocker
from sampan.engine.lifecycle.restart_policy import (
    name_of,
    next_delay_s,
    restarts_after_exit,
    starts_with_daemon,
)
from sampan.engine.records import State
from sampan.engine.timers import Timer
from sampan.errors import Conflict, NotFound


class Starter(Protocol):
    """What starts containers."""

    def start_again(self, container: Container) -> bool:
        """Start it if it still waits for that; return whether it did."""
        ...


class Restarter:
    """Knows which containers wait for their restart. Thread-safe; held back until `begin`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._starter: Starter | None = None
        self._early: list[Container] = []
        self._timers: dict[str, Timer] = {}
        self._waiting: dict[str, list[Container]] = {}  # by the id of the container that must run first

    def wants(self, container: Container, *, exit_code: int) -> bool:
        """Tell whether an end that has just come is followed by a restart; its lock is held."""
        state = container.state
        return not container.restarting and restarts_after_exit(
            container.record.host.RestartPolicy,
            exit_code=exit_code,
            restart_count=state.restart_count,
            manually_stopped=state.manually_stopped,
        )

    def schedule(self, container: Container) -> None:
        """Start a container that is `restarting`, after its back-off."""
        with self._lock:
            if self._starter is None:
                self._early.append(container)
                return
        self._start_in(container, _left_s(container.state))

    def begin(self, starter: Starter, at_start: Iterable[Container]) -> None:
        """Everything is known again: start those of at_start, in order, and what waits when it is due."""
        with self._lock:
            self._starter = starter
            early, self._early = self._early, []
        for container in {one.id: one for one in (*early, *at_start)}.values():
            left_s = _left_s(container.state)
            if left_s > 0:
                self._start_in(container, left_s)
            else:
                self._submit(container)

    def cancel(self, container: Container) -> bool:
        """Call a restart off: the container is `exited`, as it ended; False if it does not wait for one."""
        with self._lock:
            timer = self._timers.pop(container.id, None)
        if timer is not None:
            timer.cancel()
        return self._give_up(container, manually_stopped=True)

    def policy_changed(self, container: Container) -> None:
        """A policy of `no` ends a back-off."""
        if name_of(container.record.host.RestartPolicy) == "no":
            self._give_up(container, manually_stopped=container.state.manually_stopped)

    def _start_in(self, container: Container, delay_s: float) -> None:
        timer = self._core.timers.call_later(delay_s, lambda: self._submit(container))
        with self._lock:
            self._timers[container.id] = timer

    def _submit(self, container: Container) -> None:
        self._core.starts.submit(lambda: self._start(container))

    def _start(self, container: Container) -> None:
        """Try the restart; runs in the pool. Whoever waits for this container is tried next."""
        with self._lock:
            self._timers.pop(container.id, None)
            starter = self._starter
        assert starter is not None  # nothing is submitted before `begin`
        try:
            if self._waits_for_another(container):
                return
            started = starter.start_again(container)
            log.info("container restarted", container=container.id, started=started)
        except (NotFound, _Endless) as exc:
            self._give_up(container, error=str(exc), manually_stopped=container.state.manually_stopped)
        except Exception as exc:
            self._failed(container, exc)
        self._wake_waiting(container)

    def _waits_for_another(self, container: Container) -> bool:
        if container.state.status != "restarting":
            return False
        try:
            blocker = find_blocker(self._core.index, container)
        except Conflict as exc:
            raise _Endless(str(exc)) from exc
        if blocker is None:
            return False
        with self._lock:
            self._waiting.setdefault(blocker.id, []).append(container)
        if blocker.state.status != "restarting":  # it was faster than our note
            self._wake_waiting(blocker)
        return True

    def _wake_waiting(self, container: Container) -> None:
        with self._lock:
            waiting = self._waiting.pop(container.id, [])
        for one in waiting:
            self._submit(one)

    def _failed(self, container: Container, error: Exception) -> None:
        """A start failed: try again later, if the policy counts that in."""
        log.warning("container cannot be restarted", container=container.id, reason=error)
        with container.lock:
            if container.removed or container.state.status != "restarting":
                return
            state = container.state
            again = restarts_after_exit(
                container.record.host.RestartPolicy,
                exit_code=state.exit_code or 128,
                restart_count=state.restart_count,
                manually_stopped=state.manually_stopped,
            )
            delay_s = next_delay_s(state.backoff_s, ran_s=0.0)
            if again:
                record = container.with_state(
                    error=str(error), restart_count=state.restart_count + 1, backoff_s=delay_s
                )
                self._core.save_state(record)
                container.record = record
        if not again:
            self._give_up(container, error=str(error), manually_stopped=state.manually_stopped)
            return
        self._start_in(container, delay_s)

    def _give_up(self, container: Container, *, manually_stopped: bool, error: str = "") -> bool:
        with container.lock:
            if container.state.status != "restarting":
                return False
            record = container.with_state(status="exited", error=error, manually_stopped=manually_stopped)
            self._core.save_state(record)
            container.record = record
            container.drop_pending()
        if error:
            log.warning("container is not restarted", container=container.id, reason=error)
        container.end_listeners()
        container.waits.ended(container.result())
        self._wake_waiting(container)
        return True

    def at_start(self) -> list[Container]:
        """Return the containers that start because sampand does, marked as `restarting`."""
        found = []
        for container in self._core.index.all():
            state = container.state
            due = state.status == "restarting" or (
                state.status == "exited"
                and starts_with_daemon(
                    container.record.host.RestartPolicy,
                    was_started=state.started_at_ns > 0,
                    manually_stopped=state.manually_stopped,
                )
            )
            if due:
                self._mark(container)
                found.append(container)
        return sorted(found, key=lambda container: container.record.created_ns)

    def _mark(self, container: Container) -> None:
        with container.lock:
            if container.state.status == "restarting":
                return
            record = container.with_state(
                status="restarting", restart_count=0, backoff_s=0.0, manually_stopped=False
            )
            self._core.save_state(record)
            container.record = record


def backoff_after(state: State, *, at_ns: int) -> float:
    """Return how many seconds after an end at at_ns the next start is due."""
    return next_delay_s(state.backoff_s, ran_s=max(0, at_ns - state.started_at_ns) / 1e9)


def _left_s(state: State) -> float:
    """Return what is left of a back-off; never more than the whole, should the clock have been set back."""
    waited_s = (time.time_ns() - state.finished_at_ns) / 1e9
    return max(0.0, state.backoff_s - max(0.0, waited_s))


class _Endless(Exception):
    """Containers wait for each other."""
