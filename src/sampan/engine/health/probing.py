"""Run health checks on time, none of them waiting for another.

```
 timers: due ─► free start slot? ─► begin: a packet to the shim ─► supervisor: it runs (slot free) ─► ended
                └ no: queue ◄── a slot becomes free                                                    │
 timers: due ◄── end + interval ◄── health, log, events, remedy ◄──────────────────────────────────────┘
```

Where checks come often, `begin` asks a checker (runtime/launcher/checker.py) instead, which is there already.
The timers' thread and the supervisor's do all of it; no thread waits for a check. A start that hangs gives
its slot away after a second; the shim kills a check that takes too long, and if the shim does not answer, it
is given up here.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import msgspec

from sampan import log
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.health.checks import (
    MAX_OUTPUT,
    Check,
    Health,
    Remedy,
    Result,
    after_result,
    find_check,
    next_delay_s,
)
from sampan.engine.observing.events import container_event
from sampan.engine.supervisor import Last
from sampan.engine.timers import Timer
from sampan.errors import SampanError, Unavailable
from sampan.ids import new_exec_id
from sampan.kernel.files import read_file
from sampan.runtime.launcher.client import CheckerCall, ExecStart, ProbeCall, ProbeStarted
from sampan.spec import docker

if TYPE_CHECKING:
    from sampan.fastjson import JsonValue

_SLOTS: Final = 4 * (os.cpu_count() or 1)  # starts at once; running checks are not counted
_SLOT_S: Final = 1.0  # a start that takes longer holds nobody up
_START_S: Final = 30.0  # as Docker: what a start may take, apart from the check's own time-out
_GRACE_S: Final = 10.0  # beyond the time-out, for a shim that should have said so
_OFTEN_S: Final = 5.0  # checks that come more often than this are worth a checker, which costs memory
_CHECKER_TRIES: Final = 2  # a checker that fails so often without a result is done without


class _Monitor:
    """The checks of one run of one container. Everything but `stopped` belongs to whoever runs its check."""

    def __init__(self, container: Container, check: Check) -> None:
        self.container = container
        self.check = check
        self.stopped = False
        self.timer: Timer | None = None
        self.process: dict[str, JsonValue] | None = None
        self.call: ProbeCall | None = None  # of the check that runs, or a checker that waits for the next
        self.is_running = False
        self.checker_failures = 0
        self.guard: Timer | None = None
        self.slot = _Slot()
        self.exec_id = ""
        self.begun_ns = 0
        self.pauses = 0


class _Slot:
    """A permission to start one check; given back once, whoever does it."""

    def __init__(self) -> None:
        self.held = False


class Prober:
    """Checks the health of all running containers. Thread-safe."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._monitors: dict[str, _Monitor] = {}
        self._free = _SLOTS
        self._queue: deque[_Monitor] = deque()
        self.on_unhealthy: Callable[[Container, Remedy], None] = lambda _container, _remedy: None

    def begin(self, container: Container) -> None:
        """Check a container from now on: it was started, or found running, or its check was changed."""
        self._stop(container)
        check = find_check(container.record.config)
        if check is None:
            container.health = None
            return
        started_at_ns = container.state.started_at_ns
        health = container.health
        if health is None or health.started_at_ns != started_at_ns:
            kept = () if health is None else health.log
            container.health = Health(started_at_ns=started_at_ns, log=kept)
        monitor = _Monitor(container, check)
        with self._lock:
            self._monitors[container.id] = monitor
        is_new = (time.time_ns() - started_at_ns) / 1e9 < check.interval_s
        self._schedule(monitor, share=1.0 if is_new else _spread(container.id))

    def end(self, container: Container) -> None:
        """A container has ended: it is unhealthy until it runs again (as Docker)."""
        self._stop(container)
        if container.health is not None:
            container.health = msgspec.structs.replace(container.health, status="unhealthy")

    def close(self) -> None:
        """Give up the checks that run, behind the end of timers and supervisor; their shims end them."""
        for monitor in self._monitors.values():
            monitor.stopped = True
            if monitor.call is not None:
                monitor.call.close()

    def _stop(self, container: Container) -> None:
        with self._lock:
            monitor = self._monitors.pop(container.id, None)
        if monitor is not None:
            monitor.stopped = True
            if monitor.timer is not None:
                monitor.timer.cancel()
            call = monitor.call
            if call is not None and call.lasting:
                call.abandon()  # `_read` closes it

    def _schedule(self, monitor: _Monitor, *, share: float = 1.0) -> None:
        """Set the time of the next check; share is the part of its interval that is waited for."""
        health = monitor.container.health
        if monitor.stopped or health is None:
            return
        delay_s = share * next_delay_s(health, monitor.check, now_ns=time.time_ns())
        monitor.timer = self._core.timers.call_later(delay_s, lambda: self._due(monitor))

    # Start slots.

    def _due(self, monitor: _Monitor) -> None:
        with self._lock:
            if self._free == 0:
                self._queue.append(monitor)
                return
            self._free -= 1
        self._begin(monitor)

    def _give_back(self, slot: _Slot) -> None:
        """Free a start slot, and begin the check that waits longest."""
        with self._lock:
            if not slot.held:
                return
            slot.held = False
            if not self._queue:
                self._free += 1
                return
            following = self._queue.popleft()
        self._core.timers.call_later(0, lambda: self._begin(following))

    # One check.

    def _begin(self, monitor: _Monitor) -> None:
        """Send a check to the shim; its slot is ours. Runs in the timers' thread."""
        slot = monitor.slot = _Slot()
        slot.held = True
        container = monitor.container
        shim = container.shim
        if monitor.stopped or shim is None or container.state.status != "running":
            self._schedule(monitor)  # paused: later
            self._give_back(slot)
            return
        monitor.begun_ns, monitor.pauses, monitor.exec_id = time.time_ns(), container.pauses, new_exec_id()
        self._tell(monitor, "exec_create", "exec_start")
        self._start(monitor)

    def _start(self, monitor: _Monitor) -> None:
        """Start a check, by the checker if there is one; its slot is held."""
        slot, begun_ns = monitor.slot, monitor.begun_ns
        monitor.is_running = True
        monitor.guard = self._core.timers.call_later(_SLOT_S, lambda: self._late(monitor, slot, begun_ns))
        try:
            if not _ask_checker(monitor.call):
                self._open_call(monitor)
        except (SampanError, OSError, ValueError) as exc:
            self._finish(monitor, exit_code=-1, output=str(exc))

    def _open_call(self, monitor: _Monitor) -> None:
        shim, health, check = monitor.container.shim, monitor.container.health, monitor.check
        if shim is None or health is None:
            raise Unavailable("the container has just ended")
        order = self._make_order(monitor)
        often = next_delay_s(health, check, now_ns=time.time_ns()) <= _OFTEN_S
        wants_checker = often and monitor.checker_failures < _CHECKER_TRIES
        call = shim.open_checker(order) if wants_checker else shim.probe(order)
        monitor.call = call
        self._core.supervisor.watch(call.fd, lambda: self._read(monitor, call))

    def _late(self, monitor: _Monitor, slot: _Slot, begun_ns: int) -> None:
        """A check has neither begun nor ended in a second: let others begin, and give it up in the end."""
        self._give_back(slot)
        if monitor.is_running and monitor.begun_ns == begun_ns and monitor.call is not None:
            self._guard(monitor, _START_S)

    def _guard(self, monitor: _Monitor, limit_s: float) -> None:
        call, begun_ns = monitor.call, monitor.begun_ns

        def give_up() -> None:
            if call is not None and monitor.begun_ns == begun_ns:
                monitor.checker_failures = _CHECKER_TRIES  # it had its time: not once more
                call.abandon()

        monitor.guard = self._core.timers.call_later(limit_s, give_up)

    def _make_order(self, monitor: _Monitor) -> ExecStart:
        """Return the check as an exec of the container's own process, with other arguments."""
        if monitor.process is None:
            path = f"{self._core.paths.bundle(monitor.container.id)}/config.json"
            config = msgspec.json.decode(read_file(path, limit_bytes=16 << 20))
            process = cast("dict[str, JsonValue]", config["process"])  # we wrote it
            process.pop("consoleSize", None)
            monitor.process = {**process, "args": list(monitor.check.args), "terminal": False}
        return ExecStart(
            exec_id=monitor.exec_id,
            process=monitor.process,
            capture=MAX_OUTPUT,
            timeout_s=monitor.check.timeout_s,
        )

    def _read(self, monitor: _Monitor, call: ProbeCall) -> Last | None:
        """Take what shim or checker says; runs in the supervisor's thread."""
        try:
            news = call.read()
        except SampanError as exc:
            text = str(exc)
            if call.lasting:
                return lambda: self._lose_checker(monitor, call, text)
            return lambda: self._end(monitor, exit_code=-1, output=text)
        if news is None:
            if isinstance(call, CheckerCall):
                monitor.container.checker_pid = call.checker_pid
            return None
        if isinstance(news, ProbeStarted):
            self._give_back(monitor.slot)
            if monitor.guard is not None:
                monitor.guard.cancel()
            self._guard(monitor, monitor.check.timeout_s + _GRACE_S)
            return None
        code, output = news.code, news.output
        if news.timed_out:
            code = -1
            output = f"Health check exceeded timeout ({_go_duration(monitor.check.timeout_s)})" + (
                f": {output}" if output else ""
            )
        if not call.lasting:
            return lambda: self._end(monitor, exit_code=code, output=output)
        monitor.checker_failures = 0
        self._finish(monitor, exit_code=code, output=output)
        return None

    def _lose_checker(self, monitor: _Monitor, call: ProbeCall, reason: str) -> None:
        """A checker has ended: with its container, or it was killed, or cannot work here."""
        call.close()
        if monitor.call is not call:
            return  # `_start` found it gone, and has opened another
        monitor.call = None
        monitor.container.checker_pid = 0
        if not monitor.is_running:
            return
        monitor.checker_failures += 1
        if monitor.stopped or monitor.checker_failures > _CHECKER_TRIES:
            self._finish(monitor, exit_code=-1, output=reason)
        else:
            self._start(monitor)

    def _end(self, monitor: _Monitor, *, exit_code: int, output: str) -> None:
        """A check by an exec of its own has ended, or could not begin."""
        if monitor.call is not None:
            monitor.call.close()
            monitor.call = None
        self._finish(monitor, exit_code=exit_code, output=output)

    def _finish(self, monitor: _Monitor, *, exit_code: int, output: str) -> None:
        """Note the end of a check and set the time of the next."""
        monitor.is_running = False
        self._tell(monitor, "exec_die", exitCode=str(exit_code))
        if monitor.guard is not None:
            monitor.guard.cancel()
        self._give_back(monitor.slot)
        result = Result(start_ns=monitor.begun_ns, end_ns=time.time_ns(), exit_code=exit_code, output=output)
        self._note(monitor, result)
        self._schedule(monitor)

    def _note(self, monitor: _Monitor, result: Result) -> None:
        container = monitor.container
        with container.lock:
            health = container.health
            at_rest = container.state.status != "running" or container.pauses != monitor.pauses
            if monitor.stopped or health is None or at_rest:
                return
            container.health = changed = after_result(health, result, monitor.check)
            if changed.status == health.status:
                return
            event = container_event(container, f"health_status: {changed.status}")
            self._save(container, changed, event)
        self._core.events.publish(event)
        if changed.status == "unhealthy":
            self.on_unhealthy(container, monitor.check.remedy)

    def _save(self, container: Container, health: Health, event: docker.Event) -> None:
        try:
            with self._core.journal.transaction():
                self._core.health.save(container.id, health)
                self._core.journal.add_event(event)
        except Exception as exc:  # a full disk: it is so all the same
            log.error("health cannot be saved", container=container.id, reason=repr(exc))

    def _tell(self, monitor: _Monitor, *actions: str, **attributes: str) -> None:
        """Tell events of a check to those who listen; kept, they would push out all others."""
        events = self._core.events
        if not events.listener_count:
            return
        command = " ".join(monitor.check.args)
        for action in actions:
            text = action if action == "exec_die" else f"{action}: {command}"
            events.publish(container_event(monitor.container, text, execID=monitor.exec_id, **attributes))


def _ask_checker(call: ProbeCall | None) -> bool:
    """Ask a checker for a check; False if there is none."""
    if not isinstance(call, CheckerCall):
        return False
    try:
        call.again()
    except OSError:
        return False  # it has just ended; `_read` closes it
    return True


def _spread(container_id: str) -> float:
    """Return a number from 0 to 1 by the id: checks of containers found again must not all come at once."""
    return zlib.crc32(container_id.encode()) / 0xFFFFFFFF


def _go_duration(seconds: float) -> str:
    """Return a duration as Go prints it: 500ms, 30s, 1m30s."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    head = (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "")
    return f"{head}{rest:g}s"
