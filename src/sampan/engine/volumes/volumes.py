"""Volumes: the verbs of the Docker API on them, over the driver `local` and plugins. docs/volumes.md."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Final

import msgspec
from msgspec import UNSET

from sampan import log
from sampan.engine.observing.events import Events, make_event
from sampan.engine.patterns import compile_filter
from sampan.engine.volumes.mounting import VolumeMounting, needs_mount
from sampan.errors import Conflict, InvalidArgument, NotFound, SampanError
from sampan.ids import new_container_id
from sampan.spec import docker
from sampan.store import volumes as store
from sampan.store.volumes import LOCAL, Volume

ANONYMOUS: Final = "com.docker.volume.anonymous"  # Docker's label of a volume that nobody named
_FILTERS: Final = frozenset(("dangling", "driver", "label", "name"))
_PRUNE_FILTERS: Final = frozenset(("all", "label", "label!"))
_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")
_FALSE: Final = ("0", "f", "F", "false", "FALSE", "False")

Filters = Mapping[str, Sequence[str]]
VolumeDocuments = list[docker.Volume]
Texts = list[str]


class Volumes:
    """The volumes of one engine. `mounting` makes them usable."""

    def __init__(self, kept: store.Volumes, mounting: VolumeMounting, events: Events) -> None:
        self._kept = kept
        self._events = events
        self.mounting = mounting
        self._pruning = Lock()

    def create(self, request: docker.VolumeCreate) -> docker.Volume:
        """Return the volume of a name, made if there was none; an empty name makes an anonymous one.

        Raises:
            InvalidArgument: a bad name or option. Conflict: another driver has the name.
            NotFound: no such driver. SampanError: the plugin refuses.
        """
        if request.ClusterVolumeSpec is not None:
            raise InvalidArgument("cluster volumes need a swarm, which there is none")
        volume = self.make(
            request.Name, driver=request.Driver, labels=request.Labels, options=request.DriverOpts
        )
        return self._document(volume)

    def make(
        self,
        name: str,
        *,
        driver: str = "",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        user: str = "",
    ) -> Volume:
        """As `create`, for a container that is being made: user has the volume from now on."""
        labels = labels or {}
        if not name:
            name, driver = str(new_container_id()), driver or LOCAL
            labels = {**labels, ANONYMOUS: ""}
        if not driver:
            known = self._find_anywhere(name)
            driver = LOCAL if known is None else known.driver
        try:
            plugin = None if driver == LOCAL else self.mounting.plugin(driver)
            volume, made = self._kept.create(name, driver=driver, labels=labels, options=options, user=user)
            if made and plugin is not None:
                try:
                    plugin.create(name, options or {})
                except BaseException:
                    self._kept.forget(name)
                    raise
        except SampanError as exc:
            if str(exc).startswith("create "):
                raise
            raise type(exc)(f"create {name}: {exc}", hint=exc.hint) from exc
        if made:
            self._events.emit(volume_event(volume, "create"))
        return volume

    def _find_anywhere(self, name: str) -> Volume | None:
        """Return a volume that is known, or that a plugin has; what a plugin has is known from then on."""
        found = self._kept.find(name)
        if found is not None:
            return found
        for driver in self.mounting.plugin_names():
            try:
                self.mounting.plugin(driver).get(name)
            except SampanError:
                continue
            return self._kept.create(name, driver=driver)[0]
        return None

    def inspect(self, name: str) -> docker.Volume:
        """Tell about a volume; a plugin is asked.

        Raises:
            NotFound: `get X: no such volume`.
        """
        volume = self._find_anywhere(name)
        if volume is None:
            raise NotFound(f"get {name}: no such volume")
        document = self._document(volume)
        if volume.driver == LOCAL:
            return document
        found = self.mounting.plugin(volume.driver).get(name)
        return msgspec.structs.replace(
            document,
            Mountpoint=found.mountpoint or document.Mountpoint,
            Status=dict(found.status) or UNSET,
            Scope=self.mounting.plugin(volume.driver).scope(),
        )

    def drivers(self) -> Texts:
        """Return the names of the drivers: our own, and plugins that answer."""
        found = [LOCAL]
        for name in self.mounting.plugin_names():
            try:
                self.mounting.plugin(name)
            except SampanError:
                continue
            found.append(name)
        return found

    def get(self, name: str) -> Volume:
        """Return a volume as it is kept.

        Raises:
            NotFound: `get X: no such volume`.
        """
        return self._kept.get(name)

    def list(self, filters: Filters | None = None) -> docker.VolumeList:
        """List volumes by name; plugins that do not answer are named in the warnings.

        Raises:
            InvalidArgument: an unknown filter, or a bad value.
        """
        filters = filters or {}
        _check_filters(filters, _FILTERS)
        counts = self._kept.user_counts()
        warnings = self._ask_plugins()
        patterns = [compile_filter(value, key="name") for value in filters.get("name", ())]
        dangling = parse_bool(filters["dangling"], "dangling") if filters.get("dangling") else None
        found = [
            self._document(volume)
            for volume in self._kept.list()
            if (not patterns or any(pattern.search(volume.name) for pattern in patterns))
            and (not filters.get("driver") or volume.driver in filters["driver"])
            and all(_has_label(volume, wanted) for wanted in filters.get("label", ()))
            and (dangling is None or dangling == (volume.name not in counts))
        ]
        return docker.VolumeList(Volumes=found, Warnings=warnings or None)

    def _ask_plugins(self) -> Texts:
        """Take in what plugins have beside what we know."""
        warnings = []
        for driver in self.mounting.plugin_names():
            try:
                for item in self.mounting.plugin(driver).list():
                    if item.name and self._kept.find(item.name) is None:
                        self._kept.create(item.name, driver=driver)
            except InvalidArgument:
                continue  # a plugin of another kind
            except SampanError as exc:
                warnings.append(f"list {driver}: {exc}")
        return warnings

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume that no container has. force: an unknown one is fine, a plugin's refusal too.

        Raises:
            NotFound: there is none. Conflict: it is in use. SampanError: its plugin refuses.
        """
        if self._find_anywhere(name) is None:
            if force:
                return
            raise NotFound(f"get {name}: no such volume")
        volume = self._kept.remove(name)
        try:
            self.finish_removal(volume)
        except SampanError as exc:
            if not force:
                self._kept.unmark(name)
                raise type(exc)(f"remove {name}: {exc}", hint=exc.hint) from exc
            log.warning("volume is forgotten, its plugin refuses", volume=name, reason=exc)
            self._kept.finish_removal(name)
        self._events.emit(volume_event(volume, "destroy"))

    def finish_removal(self, volume: Volume) -> None:
        """Delete what a marked volume has, here or at its plugin."""
        self.mounting.retire(volume)
        if volume.driver != LOCAL:
            self.mounting.plugin(volume.driver).remove(volume.name)
        self._kept.finish_removal(volume.name)

    def prune(self, filters: Filters | None = None) -> docker.VolumesPrune:
        """Remove volumes that no container has: anonymous ones, with the filter `all` named ones too.

        Volumes of plugins, and those that are a mount, stay (as in Docker).

        Raises:
            InvalidArgument: an unknown filter. Conflict: somebody prunes already.
        """
        filters = filters or {}
        _check_filters(filters, _PRUNE_FILTERS)
        everything = bool(filters.get("all")) and parse_bool(filters["all"], "all")
        if not self._pruning.acquire(blocking=False):
            raise Conflict("a prune operation is already running")
        try:
            return self._prune(filters, everything=everything)
        finally:
            self._pruning.release()

    def _prune(self, filters: Filters, *, everything: bool) -> docker.VolumesPrune:
        counts = self._kept.user_counts()
        deleted, freed = [], 0
        for volume in self._kept.list():
            if volume.name in counts or needs_mount(volume):
                continue
            if not everything and ANONYMOUS not in volume.labels:
                continue
            if not all(_has_label(volume, wanted) for wanted in filters.get("label", ())):
                continue
            if any(_has_label(volume, unwanted) for unwanted in filters.get("label!", ())):
                continue
            try:
                size = self._kept.usage(volume.name)
                self.remove(volume.name)
            except (Conflict, NotFound):
                continue  # taken or removed meanwhile
            deleted.append(volume.name)
            freed += max(size, 0)
        self._events.emit(make_event("volume", "prune", "", {"reclaimed": str(freed)}))
        return docker.VolumesPrune(VolumesDeleted=deleted, SpaceReclaimed=freed)

    def usage(self, name: str) -> int:
        """Return the bytes of a volume's files, -1 for one that is a mount or a plugin's."""
        return self._kept.usage(name)

    def disk_usage(self) -> VolumeDocuments:
        """List volumes with `UsageData`: bytes (-1: not known here) and how many containers have each."""
        counts = self._kept.user_counts()
        found = []
        for volume in self._kept.list():
            try:
                size = self._kept.usage(volume.name)
            except NotFound:
                continue  # removed meanwhile
            usage = docker.VolumeUsage(Size=size, RefCount=counts.get(volume.name, 0))
            found.append(msgspec.structs.replace(self._document(volume), UsageData=usage))
        return found

    def _document(self, volume: Volume) -> docker.Volume:
        return docker.Volume(
            Name=volume.name,
            Driver=volume.driver,
            Mountpoint=self.mounting.path(volume),
            CreatedAt=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(volume.created_ns // 10**9)),
            Labels=dict(volume.labels) or None,
            Options=dict(volume.options) or None,
        )


def volume_event(volume: Volume, action: str, **attributes: str) -> docker.Event:
    """Return an event of a volume."""
    return make_event("volume", action, volume.name, {"driver": volume.driver, **attributes})


def _check_filters(filters: Filters, known: frozenset[str]) -> None:
    for key in filters:
        if key not in known:
            raise InvalidArgument(f"invalid filter '{key}'")


def parse_bool(values: Sequence[str], key: str) -> bool:
    """Read the one value of a filter that is true or false, as Go reads it.

    Raises:
        InvalidArgument: another value, or several.
    """
    if len(values) == 1 and values[0] in (*_TRUE, *_FALSE):
        return values[0] in _TRUE
    raise InvalidArgument(f"invalid filter '{key}={','.join(values)}': true or false is expected")


def _has_label(volume: Volume, wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in volume.labels and (not equals or volume.labels[key] == value)
