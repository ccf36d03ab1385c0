"""A container while the engine runs: its record, its shim, who waits for it."""

from __future__ import annotations

import os
import threading
from typing import Protocol

import msgspec

from sampan.engine.bundle.plan import Document
from sampan.engine.files.file_users import FileUsers
from sampan.engine.health.checks import Health
from sampan.engine.lifecycle.states import ALIVE
from sampan.engine.lifecycle.waits import Waits
from sampan.engine.records import Record, State
from sampan.engine.types import WaitResult
from sampan.runtime.launcher.client import AttachRequest, ShimHandle


class EndListener(Protocol):
    """Something that must know when a container's output is complete (a log reader that follows)."""

    def container_ended(self) -> None:
        """Nothing will be written to the log any more."""
        ...


class Container:
    """Shared by all threads. record is replaced, never changed, and only while lock is held.

    pending: connections that were attached before the start; they are ours to close. shim: while the
    program runs. ended_shim: from its end until `leftovers.release_shim`, which release_lock serialises.
    """

    def __init__(self, record: Record) -> None:
        self.id = record.id
        self.record = record
        self.lock = threading.RLock()
        self.shim: ShimHandle | None = None
        self.waits = Waits()
        self.pending: list[AttachRequest] = []
        self.listeners: set[EndListener] = set()
        self.ended_shim: ShimHandle | None = None
        self.release_lock = threading.Lock()
        self.removed = False
        self.exec_ids: set[str] = set()
        self.restarting = False  # its end is followed by a start: neither AutoRemove nor the policy acts
        self.health: Health | None = None  # replaced, never changed; None without a check, or never started
        self.checker_pid = 0  # of the process that runs its checks, 0 for none (docs/restarts-and-health.md)
        self.pauses = 0  # how often it was paused: a check across a pause says nothing
        self.untold_signals: list[int] = []  # sent, or being sent; their `kill` events come before `die`
        self.explanation: list[Document] = []
        self.file_users = FileUsers()

    @property
    def state(self) -> State:
        """What it is doing now."""
        return self.record.state

    @property
    def running(self) -> bool:
        """Whether its program runs, paused or not."""
        return self.record.state.status in ("running", "paused")

    @property
    def active(self) -> bool:
        """Whether it runs as Docker counts it: also between two runs of a restart policy."""
        return self.record.state.status in ALIVE

    def settle(self) -> None:
        """Wait until a change that is under way is done.

        A program may have spoken, and its client may answer with a signal or an exec, before the start that
        runs it has been recorded: whoever asks whether it runs has to let that start finish first.
        """
        with self.lock:
            pass

    def result(self) -> WaitResult:
        """Return the last exit, as waits report it."""
        return WaitResult(status_code=self.state.exit_code, error=self.state.error)

    def with_state(self, **changes: object) -> Record:
        """Return the record with some fields of its state changed; the container itself stays as it is."""
        state = msgspec.structs.replace(self.record.state, **changes)
        return msgspec.structs.replace(self.record, state=state)

    def drop_pending(self) -> None:
        """Close our duplicates of connections that waited for the start."""
        for attach in self.pending:
            os.close(attach.fd)
        self.pending.clear()

    def end_listeners(self) -> None:
        """Tell those who follow the log that it is complete."""
        with self.lock:
            for listener in self.listeners:
                listener.container_ended()
