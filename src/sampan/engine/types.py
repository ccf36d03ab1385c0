"""Values that cross the engine's doors and are no documents of the Docker API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

WaitCondition = Literal["not-running", "next-exit", "removed"]


class Subscription(Protocol):
    """A callback that was registered; cancel may be called from any thread, any number of times."""

    def cancel(self) -> None:
        """Stop calling; returns at once, a call that has begun may still end later."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitResult:
    """The exit a wait was for: the container's code as Docker counts it (128 + signal), error or ""."""

    status_code: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachTarget:
    """What a door must know before it takes a connection over for an attach or an exec."""

    id: str
    tty: bool
    running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRequest:
    """Which lines `logs` gives.

    tail: the last so many lines, None for all. since_ns, until_ns: nanoseconds since 1970, 0 for no bound.
    whole_lines: a line that the log has in parts comes as one.
    """

    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    tail: int | None = None
    since_ns: int = 0
    until_ns: int = 0
    timestamps: bool = False
    details: bool = False
    whole_lines: bool = False


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line, prefixes (timestamp, details) included; stream is 1 for stdout, 2 for stderr."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedImage:
    """One image that `load` found: its reference when the archive names one, and its id."""

    reference: str | None
    image_id: str


ExitCallback = Callable[[WaitResult], None]
