"""What the use cases share: the parts of one open engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sampan import log
from sampan.engine.container import Container
from sampan.engine.files.accounts import UserFinder
from sampan.engine.health.kept import HealthStore
from sampan.engine.index import ContainerIndex
from sampan.engine.journal import Journal
from sampan.engine.lifecycle.launchers import LauncherKeeper
from sampan.engine.lifecycle.runtimes import Runtimes
from sampan.engine.machine import Machine
from sampan.engine.networks.linking import Linking
from sampan.engine.networks.networking import Networking
from sampan.engine.observing.events import Events
from sampan.engine.options import EngineSettings
from sampan.engine.paths import Paths
from sampan.engine.pool import Pool
from sampan.engine.records import Record
from sampan.engine.supervisor import Supervisor
from sampan.engine.timers import Timers
from sampan.engine.turns import Turn
from sampan.engine.volumes.volumes import Volumes
from sampan.engine.workers import Worker
from sampan.kernel import cgroups
from sampan.kernel.cgroups import Hierarchy
from sampan.spec import docker
from sampan.store.store import Store

if TYPE_CHECKING:  # exists for type checkers only (sampan.kernel.cgroups is lean)
    from sampan.kernel.cgroups import CgroupManager


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """One engine's parts; made by `Engine.open`, closed by `Engine.close`."""

    settings: EngineSettings
    machine: Machine
    hierarchy: Hierarchy
    paths: Paths
    runtimes: Runtimes
    store: Store
    journal: Journal
    health: HealthStore
    index: ContainerIndex
    events: Events
    launchers: LauncherKeeper
    users: UserFinder
    supervisor: Supervisor
    volumes: Volumes
    networking: Networking
    linking: Linking
    releases: Worker = field(default_factory=lambda: Worker("release"))
    removals: Worker = field(default_factory=lambda: Worker("removal"))
    acknowledgements: Worker = field(default_factory=lambda: Worker("ack"))
    timers: Timers = field(default_factory=Timers)
    starts: Pool = field(default_factory=lambda: Pool("start", 8))  # restarts
    remedies: Pool = field(default_factory=lambda: Pool("remedy", 16))  # stops and kills for bad health
    container_prune: Turn = field(default_factory=Turn)
    image_prune: Turn = field(default_factory=Turn)
    check: Turn = field(default_factory=lambda: Turn("check"))

    def cgroup(self, container: Container) -> CgroupManager:
        """Return the manager of a container's cgroup; the caller closes it."""
        return cgroups.open_manager(self.hierarchy, container.record.cgroup)

    def save_state(self, record: Record, *events: docker.Event) -> bool:
        """Remember what has happened to a container, with its events; return whether that worked.

        It has happened whether it can be written down or not (the disk may be full): memory goes on, and the
        next start of sampand finds the truth in the run directory.
        """
        try:
            with self.journal.transaction():
                self.journal.save_state(record)
                for event in events:
                    self.journal.add_event(event)
        except Exception as exc:
            log.error("state cannot be saved", container=record.id, reason=repr(exc))
            return False
        return True
