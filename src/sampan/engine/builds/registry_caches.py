"""Build caches in registries, read and written by the code of pull and push; a builder's `build.host`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sampan.build.cache_format import MOST_BYTES, built_layer
from sampan.build.host import ImageOfRegistry
from sampan.engine.images.remote import RemoteImages, unprompted
from sampan.errors import InvalidArgument
from sampan.ids import Digest, parse_digest
from sampan.spec.image import INDEX_TYPES, MANIFEST_TYPES, Descriptor, parse_config
from sampan.store.archive.readable import Readable
from sampan.store.built import Stack
from sampan.store.platforms import host_platform, parse_platform
from sampan.store.references import Reference, parse_reference

if TYPE_CHECKING:
    from sampan.registry.downloads import Downloads
    from sampan.registry.sources import Sources
    from sampan.registry.uploads import Uploads

_PARTS: Final = INDEX_TYPES | MANIFEST_TYPES  # what lies among a registry's manifests


class RegistryCache:
    """See `build.host.RegistryCache`. The policy for pulls counts here too: layers of it run in builds."""

    def __init__(self, remote: RemoteImages, name: str, *, platform: str, auth: Callable[[str], str]) -> None:
        self._remote = remote
        self._reference = _parse(name)
        self._platform = parse_platform(platform) if platform else host_platform()
        self._auth = auth(self._reference.domain)
        self._opened: Sources | None = None

    def _sources(self) -> Sources:
        from sampan.registry.policy import read_policy
        from sampan.registry.signatures import check_signed

        if self._opened is None:
            sources = self._remote.client().sources(self._reference, self._auth)
            policy = read_policy(sources.options.policy, self._reference)
            policy.check(self._reference)
            if policy.signed:
                document = sources.get_document(self._reference.digest or self._reference.tag)
                check_signed(policy, sources, [document.digest])
            self._opened = sources
        return self._opened

    def top(self) -> bytes:
        """See `build.cache_places.CacheSource`."""
        with unprompted():
            return self._sources().get_document(self._reference.digest or self._reference.tag).raw

    def read(self, descriptor: Descriptor) -> bytes:
        """See `build.cache_places.CacheSource`."""
        digest = parse_digest(descriptor.digest)
        with unprompted():
            if descriptor.mediaType in _PARTS:
                return self._sources().get_document(digest).raw
            if not 0 <= descriptor.size <= MOST_BYTES:
                raise InvalidArgument(f"blob {digest} of {descriptor.size} bytes is no document")
            return self._sources().get_blob(digest, size_bytes=descriptor.size)

    def image(self) -> ImageOfRegistry:
        """See `build.host.RegistryCache`."""
        from sampan.registry.manifests import fetch_image

        with unprompted():
            sources = self._sources()
            asked = self._reference.digest or self._reference.tag
            found = fetch_image(sources, asked, platform=self._platform)
            raw = sources.get_blob(found.config, size_bytes=found.parsed.config.size)
        config = parse_config(raw)
        if len(config.rootfs.diff_ids) != len(found.parsed.layers):
            raise InvalidArgument(f"image {self._reference.familiar}: its manifest has other layers")
        layers: Stack = tuple(
            built_layer(layer, parse_digest(diff_id))
            for layer, diff_id in zip(found.parsed.layers, config.rootfs.diff_ids, strict=True)
        )
        return ImageOfRegistry(config.cache, layers)

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[Readable]:
        """See `build.cache_places.CacheSource`."""
        digest = parse_digest(descriptor.digest)
        arrivals = self._remote.arrivals
        downloads: Downloads = self._remote.client().downloads
        with unprompted():
            download, is_mine = downloads.join(
                self._sources(),
                digest,
                size_bytes=descriptor.size,
                path=arrivals.partials.path(digest),
                kept_path=arrivals.blob_path(digest),
            )
            thread = threading.Thread(target=download.run, name="download of a cached layer", daemon=True)
            try:
                if is_mine:
                    thread.start()
                with download.follow(lambda: False) as stream:
                    yield stream
            finally:
                downloads.leave(download)
                if is_mine:
                    thread.join()
                    arrivals.partials.discard(digest)  # a copy is kept, or it was damaged


class RegistryTarget:
    """See `build.cache_places.CacheTarget`."""

    def __init__(self, remote: RemoteImages, name: str, *, auth: Callable[[str], str]) -> None:
        self._remote = remote
        self._reference = _parse(name)
        if self._reference.digest:
            raise InvalidArgument(f"a cache cannot be written to a digest: {name}")
        self._auth = auth(self._reference.domain)
        self._opened: Uploads | None = None

    def _uploads(self) -> Uploads:
        if self._opened is None:
            self._opened = self._remote.client().uploads(self._reference, self._auth)
        return self._opened

    def put_blob(self, digest: Digest, path: str, *, size_bytes: int) -> None:
        """See `build.cache_places.CacheTarget`."""
        near = self._remote.arrivals.repositories_with(digest, self._reference.domain)
        with unprompted():
            self._uploads().put_blob(
                digest,
                path,
                mount_from=sorted(near - {self._reference.path}),
                sent=lambda _count: None,
                size_bytes=size_bytes,
            )

    def put_top(self, raw: bytes, media_type: str) -> None:
        """See `build.cache_places.CacheTarget`."""
        with unprompted():
            self._uploads().put_manifest(self._reference.tag, raw, media_type)


def _parse(name: str) -> Reference:
    return parse_reference(name).with_default_tag()
