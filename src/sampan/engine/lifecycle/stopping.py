"""Stop, kill, restart, pause: what users do to a running container."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sampan import log
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.lifecycle.dispositions import Disposition, program_name, read_disposition
from sampan.engine.lifecycle.launching import Starter
from sampan.engine.lifecycle.restarting import Restarter
from sampan.engine.lifecycle.states import check_transition
from sampan.engine.observing.events import container_event
from sampan.engine.records import Status
from sampan.errors import Conflict, NotFound, NotModified, SampanError, Unavailable
from sampan.spec.signals import parse_signal, signal_name

if TYPE_CHECKING:
    from sampan.kernel.cgroups import CgroupManager

SIGKILL = 9
# Signals that are sent to end a program; with the container's own stop signal they call the restart policy
# off. Differs: Docker takes every signal for that, so that a reload by HUP ends it (moby#11065).
_ENDING: Final = frozenset((2, 3, SIGKILL, 15))
_DEATH_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReport:
    """How a stop went. killed: it took SIGKILL; reason: why, for people, "" when the signal was enough."""

    signal: int
    killed: bool = False
    waited_s: float = 0.0
    reason: str = ""


class Stopper:
    """Brings running containers to their end."""

    def __init__(self, core: Core, starter: Starter, restarter: Restarter) -> None:
        self._core = core
        self._starter = starter
        self._restarter = restarter

    def stop(
        self,
        container: Container,
        *,
        signal: str = "",
        timeout_s: int | None = None,
        now_if_unhandled: bool = False,
    ) -> StopReport:
        """See `Containers.stop`."""
        number = parse_signal(signal) if signal else self._stop_signal(container)
        ended = _EndWatch(container)
        try:
            if self._restarter.cancel(container):
                report = StopReport(signal=number)
            elif self._mark_stopped(container):
                report = self._end(
                    container, number, ended, self._limit_s(container, timeout_s), now_if_unhandled
                )
            elif self._restarter.cancel(container):  # it has just ended by itself
                report = StopReport(signal=number)
            else:
                raise NotModified(f"container {container.id} does not run")
        finally:
            ended.cancel()
        self._core.events.emit(container_event(container, "stop"))
        return report

    def _end(
        self,
        container: Container,
        number: int,
        ended: _EndWatch,
        limit_s: float | None,
        now_if_unhandled: bool,
    ) -> StopReport:
        """Send the signal, wait, and kill what is left."""
        began_s = time.monotonic()
        name = program_name(container)
        before = read_disposition(container, number)
        try:
            self._send(container, number)
        except Unavailable as exc:
            self._kill_with_shim(container, ended, exc)
            return StopReport(
                signal=number, killed=True, waited_s=time.monotonic() - began_s, reason=str(exc)
            )
        lost = ("unhandled", "ignored")
        if now_if_unhandled and before in lost and read_disposition(container, number) in lost:
            limit_s = 0.0  # read twice: a program may install its handler at any moment
        if ended.wait(limit_s):
            return StopReport(signal=number, waited_s=time.monotonic() - began_s)
        after = read_disposition(container, number)
        waited_s = time.monotonic() - began_s
        self._kill_for_good(container, ended)
        reason = _describe_kill(name, signal_name(number), after, waited_s=waited_s)
        log.info("container had to be killed", container=container.id, reason=reason)
        return StopReport(signal=number, killed=True, waited_s=waited_s, reason=reason)

    def _limit_s(self, container: Container, timeout_s: int | None) -> float | None:
        if timeout_s is None:
            timeout_s = container.record.config.StopTimeout
        if timeout_s is None:
            timeout_s = self._core.settings.stop_timeout_s
        return None if timeout_s < 0 else float(timeout_s)

    @staticmethod
    def _stop_signal(container: Container) -> int:
        return parse_signal(container.record.config.StopSignal or "TERM")

    def _mark_stopped(self, container: Container) -> bool:
        """Remember that a user ends the container, before it ends; False if it does not run."""
        with container.lock:
            if not container.running:
                return False
            if not container.state.manually_stopped:
                record = container.with_state(manually_stopped=True)
                self._core.save_state(record)
                container.record = record
            return True

    def kill(self, container: Container, *, signal: str, ref: str) -> None:
        """See `Containers.kill`."""
        number = parse_signal(signal or "KILL")
        ends = number in _ENDING or number == self._stop_signal(container)
        ended = _EndWatch(container)
        try:
            if ends and self._restarter.cancel(container):
                return
            if not (self._mark_stopped(container) if ends else container.running):
                raise Conflict(f"cannot kill container: {ref}: container {container.id} is not running")
            if number == SIGKILL:
                self._kill_for_good(container, ended)
            else:
                self._send(container, number)
        finally:
            ended.cancel()

    def kill_unhealthy(self, container: Container) -> None:
        """Kill a container; unlike a user's kill, the restart policy decides what follows."""
        ended = _EndWatch(container)
        try:
            if container.running:
                self._kill_for_good(container, ended)
        finally:
            ended.cancel()

    def restart(
        self, container: Container, *, signal: str = "", timeout_s: int | None = None, by_itself: bool = False
    ) -> None:
        """See `Containers.restart`. by_itself: it counts as a restart of the policy."""
        container.restarting = True
        try:
            self.stop(container, signal=signal, timeout_s=timeout_s)
        except NotModified:
            pass
        finally:
            container.restarting = False
        count = container.state.restart_count + 1 if by_itself else 0
        try:
            self._starter.start(container, restart_count=count)
        except NotModified:
            pass  # somebody else has started it meanwhile
        self._core.events.emit(container_event(container, "restart"))

    def _kill_for_good(self, container: Container, ended: _EndWatch) -> None:
        """Kill the first process, and every process if that is not enough.

        Raises:
            Unavailable: a process does not die even so (it hangs in the kernel).
        """
        shim = container.shim
        try:
            self._send(container, SIGKILL)
            if ended.wait(_DEATH_S):
                return
            if shim is not None:
                shim.kill_all()
        except Unavailable as exc:
            return self._kill_with_shim(container, ended, exc)
        self._await_death(container, ended)

    def _kill_with_shim(self, container: Container, ended: _EndWatch, reason: Unavailable) -> None:
        """Kill a shim that does not answer; the kernel kills the container with it."""
        log.warning("shim does not answer, killing it", container=container.id, reason=reason)
        shim = container.shim
        if shim is not None:
            shim.kill_shim()
        self._await_death(container, ended)

    def _await_death(self, container: Container, ended: _EndWatch) -> None:
        if not ended.wait(_DEATH_S):
            raise Unavailable(
                f"container {container.id} does not die", hint="a process hangs in the kernel: see dmesg"
            )

    def _send(self, container: Container, number: int) -> None:
        """Send a signal to the first process; a frozen one is thawed to see it.

        As Docker: with a stop signal of its own only that and SIGKILL thaw a container.

        Raises:
            Unavailable: the shim hangs. No lock was held, so that it delayed nobody else.
        """
        with container.lock:
            shim = container.shim
            if shim is None:
                return  # it has just ended; whoever waits for that is told
            container.untold_signals.append(number)
        sent = False
        try:
            shim.signal(number)
            sent = True
        except (Conflict, NotFound):
            return  # it has ended, and its shim may have gone, too
        finally:
            self._tell_signal(container, number, sent=sent)
        wakes = not container.record.config.StopSignal or number in (SIGKILL, self._stop_signal(container))
        if wakes and container.state.status == "paused":
            self._thaw(container)

    def _tell_signal(self, container: Container, number: int, *, sent: bool) -> None:
        """Tell of a signal that was sent, unless the end came first and told of it (`Ender.ended`)."""
        with container.lock:
            if number not in container.untold_signals:
                return
            container.untold_signals.remove(number)
            if sent:
                self._core.events.emit(container_event(container, "kill", signal=str(number)))

    def pause(self, container: Container) -> None:
        """See `Containers.pause`."""
        with container.lock:
            check_transition(container.id, container.state.status, "paused")
            with self._living_cgroup(container) as manager:
                manager.freeze()
            container.pauses += 1
            self._save_status(container, "paused", "pause")

    def unpause(self, container: Container) -> None:
        """See `Containers.unpause`."""
        with container.lock:
            if container.state.status != "paused":
                raise SampanError(f"Container {container.id} is not paused")
            self._thaw(container)

    def _thaw(self, container: Container) -> None:
        with container.lock:
            if container.state.status != "paused":
                return
            with self._living_cgroup(container) as manager:
                manager.thaw()
            self._save_status(container, "running", "unpause")

    @contextmanager
    def _living_cgroup(self, container: Container) -> Iterator[CgroupManager]:
        """Give the cgroup of a container that may end, and its cgroup with it, at any moment.

        Raises:
            Conflict: it has.
        """
        manager = self._core.cgroup(container)
        try:
            yield manager
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENODEV):  # the second: it goes while its file is open
                raise
            raise Conflict(f"Container {container.id} is not running") from exc
        finally:
            manager.close()

    def _save_status(self, container: Container, status: Status, action: str) -> None:
        record = container.with_state(status=status)
        event = container_event(container, action)
        self._core.save_state(record, event)
        container.record = record
        self._core.events.publish(event)


def _describe_kill(name: str, signal: str, after: Disposition, *, waited_s: float) -> str:
    first = f"PID 1 ({name})" if name else "PID 1"
    match after:
        case "unhandled":
            return f"{first} has no handler for {signal}"
        case "ignored":
            return f"{first} ignores {signal}"
        case "noticed" | "unknown":
            return f"{first} did not end within {waited_s:.0f} s of {signal}"


class _EndWatch:
    """Waits for a container's end from the moment it is made."""

    def __init__(self, container: Container) -> None:
        self._event = threading.Event()
        self._wait = container.waits.add("next-exit", lambda _result: self._event.set())

    def wait(self, timeout_s: float | None) -> bool:
        """Return whether the end came in time."""
        return self._event.wait(timeout_s)

    def cancel(self) -> None:
        """Stop waiting."""
        self._wait.cancel()
