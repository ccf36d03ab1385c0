"""The engine: wires store, launcher and the use cases together, and is all that a door sees."""

from __future__ import annotations

import os

from sampan import log
from sampan.engine.builds.builds import Builds
from sampan.engine.containers import Containers
from sampan.engine.core import Core
from sampan.engine.execs.execs import Execs, ExecTable
from sampan.engine.files.accounts import UserFinder
from sampan.engine.health.kept import HealthStore
from sampan.engine.health.probing import Prober
from sampan.engine.health.remedies import Remedies
from sampan.engine.images.copies import ImageCopies
from sampan.engine.images.images import Images
from sampan.engine.images.registry_queries import RegistryQueries
from sampan.engine.images.remote import RemoteImages
from sampan.engine.index import ContainerIndex
from sampan.engine.journal import Journal
from sampan.engine.lifecycle.ending import Ender
from sampan.engine.lifecycle.launchers import LauncherKeeper
from sampan.engine.lifecycle.launching import Starter
from sampan.engine.lifecycle.recovery import Recovery
from sampan.engine.lifecycle.rehearsal import write_rehearsal
from sampan.engine.lifecycle.restarting import Restarter
from sampan.engine.lifecycle.runtimes import Runtimes
from sampan.engine.lifecycle.stopping import Stopper
from sampan.engine.lifecycle.updating import Updater
from sampan.engine.machine import read_machine
from sampan.engine.networks.linking import Linking
from sampan.engine.networks.naming import Naming
from sampan.engine.networks.networking import Networking
from sampan.engine.networks.nouns import NetworkNouns
from sampan.engine.observing.events import Events
from sampan.engine.observing.sampler import Sampler
from sampan.engine.options import EngineSettings
from sampan.engine.paths import Paths
from sampan.engine.supervisor import Supervisor
from sampan.engine.system import System
from sampan.engine.volumes.archives import OpenVolume
from sampan.engine.volumes.mounting import VolumeMounting
from sampan.engine.volumes.volumes import Volumes
from sampan.errors import NotFound
from sampan.kernel import cgroups
from sampan.lean import Undo
from sampan.network.drivers import Place
from sampan.network.links import Names
from sampan.network.networks import Cni, Networks
from sampan.plugins.calling import Plugins
from sampan.store.archive.readable import Readable
from sampan.store.store import Store

_DRAIN_S = 10.0


class Engine:
    """The use cases over one data root and one run root. Every method may be called from any thread.

    containers, execs, images, volumes, networks, events, system: the nouns, each with its own verbs.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        table = ExecTable(core)
        restarter = Restarter(core)
        self._prober = prober = Prober(core)
        ender = Ender(core, table, restarter, prober)
        starter = Starter(core, ender)
        self._ender = ender
        self._starter = starter
        self._restarter = restarter
        self._sampler = Sampler(core)
        stopper = Stopper(core, starter, restarter)
        prober.on_unhealthy = Remedies(core, stopper).apply
        updater = Updater(core, restarter, prober)
        self.containers = Containers(core, ender, starter, stopper, updater, self._sampler)
        self.execs = Execs(core, table)
        self.images = Images(core)
        self.copies = ImageCopies(core, self.images)
        self.remote = RemoteImages(core)
        self.registries = RegistryQueries(self.remote)
        self.volumes = core.volumes
        self.networks = NetworkNouns(core)
        self.events: Events = core.events
        self.builds = Builds(core, self.remote)
        self.system = System(core, self.images, self.builds)

    @classmethod
    def open(cls, settings: EngineSettings) -> Engine:
        """Open the store, start the launcher, find every container again, and begin to watch them.

        Raises:
            Unavailable: another engine holds one of the roots, the launcher does not come up, or the storage
                driver that was asked for cannot be used here.
        """
        paths = Paths(settings.roots)
        for folder in (paths.data, paths.run, paths.containers, paths.run_containers):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        with Undo() as undo:
            store = Store(settings.roots.data, storage_driver=settings.storage_driver)
            undo.add(store.close)
            machine = read_machine()
            rehearsal = write_rehearsal(
                paths,
                machine,
                cgroup_parent=settings.cgroup_parent,
                storage_driver=store.snapshots.drivers.choose(),
            )
            launchers = LauncherKeeper(settings.roots, rehearsal=rehearsal)
            undo.add(launchers.close)
            journal = Journal(store.db)
            events = Events(journal)
            index, supervisor = ContainerIndex(), Supervisor()
            networks = Networks(
                store.db,
                Names(settings.roots.run),
                watch=supervisor.watch,
                strict_firewall=settings.firewall == "strict",
                default=settings.default_bridge,
                bases=settings.address_pools,
                cni=Cni(
                    lists=settings.cni_lists,
                    programs=settings.cni_programs,
                    notes=f"{settings.roots.data}/cni",
                ),
            )
            naming = Naming(settings, networks, index, supervisor)
            networking = Networking(networks, launchers, events, naming, bind_address=settings.bind_address)
            mounting = VolumeMounting(store.volumes, Plugins(settings.plugins))
            core = Core(
                settings=settings,
                machine=machine,
                hierarchy=cgroups.detect(),
                paths=paths,
                runtimes=Runtimes(settings),
                store=store,
                journal=journal,
                health=HealthStore(store.db),
                index=index,
                events=events,
                launchers=launchers,
                users=UserFinder(store.snapshots),
                supervisor=supervisor,
                volumes=Volumes(store.volumes, mounting, events),
                networking=networking,
                linking=Linking(index, networks),
            )
            engine = cls(core)
            Recovery(core, engine._ender).run()
            networking.networks.recover({one.id for one in core.index.all() if one.running})
            naming.restore()
            core.linking.restore()
            core.health.sweep({container.id for container in core.index.all()})
            networks.on_lost = engine._heal
            launchers.watch(core.supervisor)
            core.supervisor.start()
            engine._restarter.begin(engine._starter, engine._restarter.at_start())
            undo.commit()
        return engine

    def _heal(self, place: Place) -> None:
        """An interface of a container was removed by hand."""
        try:
            container = self._core.index.get(place[1].container)
        except NotFound:
            return
        if container.running:
            self._core.networking.heal(container, place)

    def open_volume(self, name: str) -> OpenVolume:
        """Open a volume for its content; the caller closes it.

        Raises:
            NotFound: there is none. SampanError: it cannot be mounted.
        """
        return OpenVolume(self.volumes, self._core.store.volumes, self.volumes.get(name))

    def import_volume(self, volume: OpenVolume, stream: Readable) -> None:
        """Unpack an archive over an open volume's content (`OpenVolume.read`)."""
        volume.read(stream, spool_directory=self._core.paths.temporary)

    def close(self) -> None:
        """Stop watching and end the launcher; containers run on and are found again by the next `open`."""
        core = self._core
        self._sampler.close()
        core.timers.close()
        core.starts.close(_DRAIN_S)
        core.remedies.close(0.0)  # one may wait for its container; the next open finds how far it came
        core.supervisor.close()
        self._prober.close()
        for worker in (core.releases, core.removals, core.acknowledgements):
            worker.close(_DRAIN_S)
        core.networking.close(_DRAIN_S)
        core.volumes.mounting.close(_DRAIN_S)
        core.launchers.close()
        self.remote.close()
        for container in core.index.all():
            container.drop_pending()
            container.end_listeners()
            for shim in (container.shim, container.ended_shim):
                if shim is not None:
                    shim.close()
        core.store.close()
        log.info("engine closed")

    def settle(self, timeout_s: float = _DRAIN_S) -> bool:
        """Wait until releases and removals that were begun are done; return whether that was in time."""
        core = self._core
        core.volumes.mounting.settle()
        core.networking.settle(timeout_s)
        return core.releases.drain(timeout_s) and core.removals.drain(timeout_s)
