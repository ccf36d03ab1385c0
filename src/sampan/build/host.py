"""What a build asks of the system it runs on. `engine.building` is the one that answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from sampan.spec.image import ImageConfig
from sampan.store.built import Stack


class Cancel:
    """A build is to stop: its client is gone, or another of its stages failed. `fd` is readable then."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.is_set = False

    def set(self) -> None:
        """Stop."""
        self.is_set = True
        os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Base:
    """An image to begin with."""

    id: str
    config: ImageConfig
    stack: Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMount:
    """Something mounted while a command runs. kind: bind (source: a path of the host) or tmpfs."""

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the client allows RUN; zeros and empty: the defaults. ulimits: name → (soft, hard)."""

    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    shm_size: int = 0
    cgroup_parent: str = ""
    ulimits: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One RUN. started: told the container's id before its first output; output: told every piece."""

    argv: tuple[str, ...]
    environment: tuple[str, ...]
    directory: str
    user: str
    network: str
    privileged: bool
    extra_hosts: tuple[str, ...]
    limits: Limits
    mounts: tuple[StepMount, ...]
    started: Callable[[str], None] = field(compare=False)
    output: Callable[[bytes], None] = field(compare=False)
    cancel: Cancel = field(compare=False)


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended, and the directory of what it changed: there until the block ends, to be taken."""

    code: int
    upper: str


@dataclass(frozen=True, slots=True)
class Change:
    """A root to be written to, and the directory where what is written lands."""

    root_fd: int
    upper: str


class Host(Protocol):
    """The system."""

    def find_base(self, name: str, *, platform: str, pull: bool) -> Base:
        """Return an image by name.

        Raises:
            NotFound: it is not there and cannot be had.
        """
        ...

    def open_root(self, stack: Stack) -> AbstractContextManager[int]:
        """Open the files of a stack to be read: an O_PATH descriptor of its root."""
        ...

    def change(self, stack: Stack) -> AbstractContextManager[Change]:
        """Open the files of a stack to be changed."""
        ...

    def run(self, stack: Stack, command: Command) -> AbstractContextManager[Ran]:
        """Run a command on a stack; nothing of it runs any more when this returns.

        Raises:
            SampanError: it cannot be started.
        """
        ...

    def lower(self, stack: Stack) -> list[str]:
        """Return the directories of a stack, lowest first."""
        ...

    def cache_folder(self, name: str) -> str:
        """Return the directory of a cache mount, which may not be there yet."""
        ...

    @property
    def temporary(self) -> str:
        """A directory for what a build needs for its own time; emptied at each start."""
        ...
