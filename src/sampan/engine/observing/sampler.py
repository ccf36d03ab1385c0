"""The sampler: one thread reads every watched container once a second (docs/observing.md, "Stats")."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from typing import Final

from sampan import log
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.observing.statistics import StatsReader, after, system_cpu_ns
from sampan.engine.types import Subscription
from sampan.spec import docker

Give = Callable[[docker.ContainerStats | None], None]  # None: the container was removed

INTERVAL_S: Final = 1.0
_TOGETHER_S: Final = 0.02  # what is due so soon is read in one go
_MOST_TOGETHER: Final = 64  # the machine's CPU time is read once for them, and must not be old


class _Watched:
    """A container, its last sample and who gets the next one."""

    def __init__(self, core: Core, container: Container) -> None:
        self.container = container
        self.reader = StatsReader(core, container)
        self.latest: docker.ContainerStats | None = None
        self.followers: dict[object, Give] = {}


class Sampler:
    """Samples for any number of followers. Callbacks run in its thread, or in `follow`: be quick."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._changed = threading.Condition()
        self._watched: dict[str, _Watched] = {}
        self._due: list[tuple[float, int, _Watched]] = []  # a heap; the number breaks ties
        self._count = 0
        self._stopping = False
        self._thread: threading.Thread | None = None

    def follow(self, container: Container, give: Give) -> Subscription:
        """Give a sample now and one each second after it, each but the first with the one before it.

        A container that does not run gives its id and name; None is the last, when it has been removed.
        """
        follower = _Follower(self, container.id)
        with self._changed:
            watched = self._watched.get(container.id)
            if watched is None:
                watched = self._watched[container.id] = _Watched(self._core, container)
                self._schedule(watched, time.monotonic())
                self._start()
                self._changed.notify()
            elif watched.latest is not None:
                give(watched.latest)
            watched.followers[follower] = give
        return follower

    def unfollow(self, container_id: str, follower: object) -> None:
        """Forget a follower; nothing happens if it is unknown."""
        with self._changed:
            watched = self._watched.get(container_id)
            if watched is not None:
                watched.followers.pop(follower, None)

    def close(self) -> None:
        """Stop sampling."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sampan-sampler", daemon=True)
            self._thread.start()

    def _schedule(self, watched: _Watched, due: float) -> None:
        self._count += 1
        heapq.heappush(self._due, (due, self._count, watched))

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            machine_ns = system_cpu_ns()
            for due, watched in batch:
                try:
                    self._sample(watched, machine_ns)
                except Exception as exc:  # one container's trouble is not the others'
                    log.error("cannot sample container", container=watched.container.id, reason=repr(exc))
                with self._changed:
                    self._again(watched, due)

    def _next_batch(self) -> list[tuple[float, _Watched]] | None:
        """Wait until something is due and return it; None when the sampler is to stop."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                if self._due and self._due[0][0] <= now:
                    return self._pop(now + _TOGETHER_S)
                self._changed.wait(self._due[0][0] - now if self._due else None)
        return None

    def _pop(self, limit: float) -> list[tuple[float, _Watched]]:
        batch: list[tuple[float, _Watched]] = []
        while self._due and self._due[0][0] <= limit and len(batch) < _MOST_TOGETHER:
            due, _, watched = heapq.heappop(self._due)
            batch.append((due, watched))
        return batch

    def _sample(self, watched: _Watched, machine_ns: int) -> None:
        if watched.container.removed:
            return
        now = watched.reader.read(machine_ns)
        with self._changed:  # a follower that comes now gets either the old sample and this one, or this one
            sample = after(watched.latest, now)
            watched.latest = now
            followers = list(watched.followers.values())
        for give in followers:
            give(sample)

    def _again(self, watched: _Watched, due: float) -> None:
        """Plan the next sample, or forget a container that nobody watches or that is gone."""
        if watched.container.removed or not watched.followers:
            del self._watched[watched.container.id]
            for give in watched.followers.values():
                give(None)
            return
        self._schedule(watched, max(due + INTERVAL_S, time.monotonic()))


class _Follower:
    def __init__(self, sampler: Sampler, container_id: str) -> None:
        self._sampler = sampler
        self._container_id = container_id

    def cancel(self) -> None:
        self._sampler.unfollow(self._container_id, self)
