"""What a build asks of the system it runs on. `engine.building` is the one that answers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from sampan.build.cache_places import CacheSource, CacheTarget
from sampan.spec.image import Descriptor, ImageConfig
from sampan.store.built import BuiltLayer, Stack


class Cancel:
    """A build is to stop: its client is gone, or another of its stages failed. `fd` is readable then."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.is_set = False
        self._lock = threading.Lock()
        self._calls: list[Callable[[], None]] = []

    def set(self) -> None:
        """Stop."""
        with self._lock:
            self.is_set = True
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)
            calls = tuple(self._calls)
        for call in calls:
            call()

    @contextmanager
    def calling(self, call: Callable[[], None]) -> Iterator[None]:
        """Call something, from any thread, if the build is stopped within the block."""
        with self._lock:
            self._calls.append(call)
            is_set = self.is_set
        try:
            if is_set:
                call()
            yield
        finally:
            with self._lock:
                self._calls.remove(call)

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            fd, self.fd = self.fd, -1
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Base:
    """An image to begin with. manifest: its manifest's digest, for what is told about a build."""

    id: str
    config: ImageConfig
    stack: Stack
    manifest: str = ""


@dataclass(frozen=True, slots=True)
class ImageOfRegistry:
    """An image that is elsewhere: the records in its configuration ("": none), and its layers."""

    inline: str
    layers: Stack


class RegistryCache(CacheSource, Protocol):
    """What a registry has under a name, if it is no cache by itself."""

    def image(self) -> ImageOfRegistry:
        """Return the image for the build's platform.

        Raises:
            SampanError: there is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """A layer as it travels: the file of its compressed blob."""

    descriptor: Descriptor
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """How an image that is not here is got. always: ask its registry though one is here.

    auth: the value of `X-Registry-Auth` for a registry's domain; report: told progress as `docker pull` is.
    """

    always: bool
    auth: Callable[[str], str]
    report: Callable[[dict[str, object]], None]
    cancel: Cancel


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
    architecture: str
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
    """A root to be written to. collect gives the directory of what was written, to be taken, for a block.

    in_place: what is written lands in that directory under its own path at once.
    """

    root_fd: int
    collect: Callable[[], AbstractContextManager[str]]
    in_place: bool


class Host(Protocol):
    """The system."""

    def find_base(self, name: str, *, platform: str, fetch: Fetch) -> Base:
        """Return an image by name, pulled where it is not here.

        Raises:
            NotFound, SampanError: it is not here, and its registry does not give it.
        """
        ...

    def find_local(self, name: str) -> ImageConfig | None:
        """Return the configuration of an image that is here, None for one that is not."""
        ...

    def find_here(self, name: str, *, platform: str) -> Base | None:
        """Return an image that is here, None for one that is not."""
        ...

    def open_cache(self, name: str, *, platform: str, auth: Callable[[str], str]) -> RegistryCache:
        """Return what a registry has under a name, not asked yet; auth: see `Fetch`.

        Raises:
            InvalidArgument: the name is none.
        """
        ...

    def cache_target(self, name: str, *, auth: Callable[[str], str]) -> CacheTarget:
        """Return what writes to a registry under a name; nothing is sent yet.

        Raises:
            InvalidArgument: the name is none.
        """
        ...

    def packed(self, layer: BuiltLayer) -> AbstractContextManager[PackedLayer]:
        """Give a layer's compressed blob, which stays for the block."""
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
    def failed(self) -> str:
        """A directory for what failed steps left, which need not be there yet."""
        ...

    @property
    def downloads(self) -> str:
        """A directory for what is fetched, which need not be there yet."""
        ...

    @property
    def private(self) -> str:
        """A directory of root's in memory, which need not be there yet; gone at each start."""
        ...

    @property
    def temporary(self) -> str:
        """A directory for what a build needs for its own time; emptied at each start."""
        ...
