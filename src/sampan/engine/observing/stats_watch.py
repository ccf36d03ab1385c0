"""Stats of many containers at once: who is watched follows who runs. For `sampan stats`."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.observing.sampler import Sampler
from sampan.engine.types import Subscription
from sampan.spec import docker


class StatsWatch:
    """The latest samples of some containers, or of all that run; use it in a `with` or call `close`.

    One task of one client reads it; samples come from the sampler's thread.

    Raises:
        NotFound: a name is no container's.
    """

    def __init__(self, core: Core, sampler: Sampler, *, refs: Sequence[str], stopped: bool) -> None:
        self._core = core
        self._sampler = sampler
        self._named = [core.index.get(ref) for ref in refs]
        self._stopped = stopped
        self._following: dict[str, Subscription] = {}
        self._latest: dict[str, docker.ContainerStats] = {}
        self._rated: set[str] = set()  # those whose latest sample has one before it

    def read(self) -> list[docker.ContainerStats]:
        """Return the latest sample of each container, the newest container first, or in the order named.

        Containers that have appeared are watched from now on: their first sample comes a moment later.
        """
        wanted = self._wanted()
        ids = {container.id for container in wanted}
        for container in wanted:
            if container.id not in self._following:
                self._follow(container)
        for gone in self._following.keys() - ids:
            self._following.pop(gone).cancel()
            self._latest.pop(gone, None)
            self._rated.discard(gone)
        return [self._latest[container.id] for container in wanted if container.id in self._latest]

    def complete(self, *, rates: bool) -> bool:
        """Tell whether there is a sample of each container; with rates, one that has another before it."""
        return all(
            one in self._latest and (not rates or one in self._rated or not self._runs(one))
            for one in list(self._following)
        )

    def close(self) -> None:
        """Watch nothing any more."""
        for subscription in self._following.values():
            subscription.cancel()
        self._following.clear()

    def _runs(self, container_id: str) -> bool:
        return self._latest[container_id].read != docker.ZERO_TIME

    def _wanted(self) -> list[Container]:
        if self._named:
            return [container for container in self._named if not container.removed]
        found = [one for one in self._core.index.all() if self._stopped or one.running]
        return sorted(found, key=lambda container: container.record.created_ns, reverse=True)

    def _follow(self, container: Container) -> None:
        def give(sample: docker.ContainerStats | None) -> None:
            if sample is not None:
                if sample.preread != docker.ZERO_TIME:
                    self._rated.add(container.id)
                self._latest[container.id] = sample

        self._following[container.id] = self._sampler.follow(container, give)
