"""Steps that other builds have exported: asked for after our own cache, in the order of `--cache-from`.

A source is opened when a step first misses here, so a build that hits everywhere asks nobody. A source that
cannot be had is told of once and costs hits, not the build.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sampan.build.cache_format import MOST_BYTES, Offered, find_cache, read_inline, read_records
from sampan.build.cache_history import HistoryCache
from sampan.build.cache_places import CacheFrom, CacheSource
from sampan.build.host import Base, Cancel, Host, ImageOfRegistry
from sampan.build.request import BuildRequest, Output
from sampan.build.state import StageState
from sampan.errors import InvalidArgument, NotFound, SampanError
from sampan.spec.image import Descriptor
from sampan.store.archive.readable import Readable
from sampan.store.built import BuiltLayer


@dataclass(frozen=True, slots=True)
class Wanted:
    """A step that missed. created_by: its line in the history."""

    key: str
    document: Mapping[str, object]
    created_by: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a source has. open: its layer's blob, where that is not here."""

    offered: Offered
    open: Callable[[], AbstractContextManager[Readable]]
    shown: str


class ImportedSteps:
    """All sources of one build; its stages' threads ask."""

    def __init__(self, host: Host, request: BuildRequest, output: Output, cancel: Cancel) -> None:
        self._host = host
        self._output = output
        self._cancel = cancel
        self._sources = [_Source(host, one, request) for one in request.cache_from]
        self._lock = threading.Lock()

    def find(self, wanted: Wanted, state: StageState) -> Found | None:
        """Return what a source has for a step, None if none has it."""
        for source in self._sources:
            with self._lock:
                if not source.is_open:
                    self._open(source)
            found = source.find(wanted, state)
            if found is not None:
                return found
        return None

    def failed(self, found: Found, error: SampanError | OSError) -> None:
        """Tell that what was found could not be had; the step is made instead.

        Raises:
            SampanError, OSError: the build was cancelled.
        """
        if self._cancel.is_set:
            raise error
        self._output.warn(f"the cache of {found.shown} cannot be used: {error}")

    def _open(self, source: _Source) -> None:
        source.is_open = True
        try:
            with self._output.beside(f"importing cache manifest from {source.shown}"):
                source.open()
        except (SampanError, OSError) as exc:
            if self._cancel.is_set:
                raise
            self._output.warn(f"the cache of {source.shown} cannot be used: {exc}")


class _Source:
    """One `--cache-from`."""

    def __init__(self, host: Host, wanted: CacheFrom, request: BuildRequest) -> None:
        self._host = host
        self._wanted = wanted
        self._request = request
        self._offers: dict[str, Offered] = {}
        self._history: HistoryCache | None = None
        self._source: CacheSource | None = None
        self.shown = wanted.option.place
        self.is_open = False

    def find(self, wanted: Wanted, state: StageState) -> Found | None:
        """Return what it has for a step."""
        offered = self._offers.get(wanted.key)
        if offered is None and self._history is not None:
            offered = self._history.find(wanted.document, wanted.created_by, state)
        if offered is None:
            return None
        return Found(offered, lambda: self._open_layer(offered.layer), self.shown)

    def _open_layer(self, layer: BuiltLayer | None) -> AbstractContextManager[Readable]:
        if layer is None or self._source is None:
            raise NotFound("the layer is not here any more")
        return self._source.open(
            Descriptor(mediaType=layer.media_type, digest=layer.blob, size=layer.blob_bytes)
        )

    def open(self) -> None:
        """Read what there is.

        Raises:
            SampanError: it cannot be had.
        """
        option = self._wanted.option
        if self._wanted.source is not None:
            self._take(self._wanted.source())
            return
        here = self._host.find_here(option.place, platform=self._request.platform) if option.plain else None
        if here is not None:
            self._take_image(here)
        elif self._wanted.asks:
            found = self._host.open_cache(
                option.place, platform=self._request.platform, auth=self._request.registry_auth
            )
            self._take(found, found.image)

    def _take(self, source: CacheSource, image: Callable[[], ImageOfRegistry] | None = None) -> None:
        self._source = source
        raw = source.top()
        cache = find_cache(raw)
        if cache is not None:
            if not 0 <= cache.config.size <= MOST_BYTES:
                raise InvalidArgument(f"the cache's records have {cache.config.size} bytes")
            self._offers = read_records(source.read(cache.config), cache.layers)
        elif image is not None:
            found = image()
            if not found.inline:
                raise NotFound("the image has no cache in it", hint="build it with --cache-to type=inline")
            self._offers = read_inline(found.inline, found.layers)
        else:
            raise InvalidArgument("there is an image, and no cache")

    def _take_image(self, image: Base) -> None:
        self._history = HistoryCache(image.config, image.stack)
        if image.config.cache:
            self._offers = read_inline(image.config.cache, image.stack)
