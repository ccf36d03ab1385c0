"""Stop, kill, restart, pause: what users do to a running container."""

from __future__ import annotations

import threading

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.events import container_event
from sampan.engine.launching import Starter
from sampan.engine.lifecycle import check_transition
from sampan.engine.records import Status
from sampan.engine.signals import parse_signal
from sampan.errors import Conflict, NotModified, SampanError, Unavailable

SIGKILL = 9
_DEATH_S = 10.0


class Stopper:
    """Brings running containers to their end."""

    def __init__(self, core: Core, starter: Starter) -> None:
        self._core = core
        self._starter = starter

    def stop(self, container: Container, *, signal: str, timeout_s: int | None) -> None:
        """See `Containers.stop`."""
        record = container.record
        number = parse_signal(signal or record.config.StopSignal or "TERM")
        if timeout_s is None:
            timeout_s = record.config.StopTimeout
        if timeout_s is None:
            timeout_s = self._core.settings.stop_timeout_s
        ended = _EndWatch(container)
        try:
            if not container.running:
                raise NotModified(f"container {container.id} does not run")
            self._send(container, number)
            if not ended.wait(None if timeout_s < 0 else float(timeout_s)):
                self._kill_for_good(container, ended)
        finally:
            ended.cancel()
        self._core.events.emit(container_event(container, "stop"))

    def kill(self, container: Container, *, signal: str, ref: str) -> None:
        """See `Containers.kill`."""
        number = parse_signal(signal or "KILL")
        ended = _EndWatch(container)
        try:
            if not container.running:
                raise Conflict(f"cannot kill container: {ref}: container {container.id} is not running")
            if number == SIGKILL:
                self._kill_for_good(container, ended)
            else:
                self._send(container, number)
        finally:
            ended.cancel()

    def restart(self, container: Container, *, signal: str, timeout_s: int | None) -> None:
        """See `Containers.restart`."""
        container.restarting = True
        try:
            self.stop(container, signal=signal, timeout_s=timeout_s)
        except NotModified:
            pass
        finally:
            container.restarting = False
        try:
            self._starter.start(container)
        except NotModified:
            pass  # somebody else has started it meanwhile
        self._core.events.emit(container_event(container, "restart"))

    def _kill_for_good(self, container: Container, ended: _EndWatch) -> None:
        """Kill the first process, and every process if that is not enough.

        Raises:
            Unavailable: a process does not die even so (it hangs in the kernel).
        """
        self._send(container, SIGKILL)
        if ended.wait(_DEATH_S):
            return
        shim = container.shim
        if shim is not None:
            shim.kill_all()
        if not ended.wait(_DEATH_S):
            raise Unavailable(
                f"container {container.id} does not die", hint="a process hangs in the kernel: see dmesg"
            )

    def _send(self, container: Container, number: int) -> None:
        """Send a signal to the first process; a frozen one is thawed to see a fatal one.

        The stop signal and SIGKILL wake a paused container, others wait for its unpause (as Docker).
        """
        shim = container.shim
        if shim is None:
            return  # it has just ended; whoever waits for that is told
        try:
            shim.signal(number)
        except (Conflict, Unavailable):
            return
        self._core.events.emit(container_event(container, "kill", signal=str(number)))
        stop_number = parse_signal(container.record.config.StopSignal or "TERM")
        if container.state.status == "paused" and number in (SIGKILL, stop_number):
            self._thaw(container)

    def pause(self, container: Container) -> None:
        """See `Containers.pause`."""
        with container.lock:
            check_transition(container.id, container.state.status, "paused")
            manager = self._core.cgroup(container)
            try:
                manager.freeze()
            finally:
                manager.close()
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
            manager = self._core.cgroup(container)
            try:
                manager.thaw()
            finally:
                manager.close()
            self._save_status(container, "running", "unpause")

    def _save_status(self, container: Container, status: Status, action: str) -> None:
        record = container.with_state(status=status)
        event = container_event(container, action)
        self._core.save_state(record, event)
        container.record = record
        self._core.events.publish(event)


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
