"""The noun `build`: one build from a context, and the cache of steps."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sampan.engine.core import Core
from sampan.engine.events import image_event
from sampan.engine.folder_archives import pack_folder, unpack_folder
from sampan.engine.pruning import tell_prune
from sampan.engine.remote_images import RemoteImages
from sampan.ids import Digest
from sampan.store.archive.readable import Readable
from sampan.store.archive.writer import Sink

if TYPE_CHECKING:
    from sampan.build.cachemounts import CacheMount
    from sampan.build.checking import Checked
    from sampan.build.failed_steps import FailedImage, FailedStep
    from sampan.build.graph import Watcher
    from sampan.build.host import Cancel
    from sampan.build.index import Index
    from sampan.build.known_digests import KnownDigests
    from sampan.build.request import BuildRequest, Output
    from sampan.build.solver import Builder
    from sampan.engine.build_cache import BuildCache, Pruned, PruneWish
    from sampan.engine.image_root import OpenImageRoot
    from sampan.store.saving import OpenSave


class Builds:
    """Builds images. What it needs is loaded with the first build: the start of sampand is not for it."""

    def __init__(self, core: Core, remote: RemoteImages) -> None:
        self._core = core
        self._remote = remote
        self._lock = threading.Lock()
        self._builder: Builder | None = None

    def receive(self, stream: Readable) -> Index:
        """Take a context that a client sends as a tar stream.

        Raises:
            InvalidArgument: the archive is damaged, or a name leads out of it.
        """
        from sampan.build.context import Context

        return Context.read(stream, self.spool_path())

    def open_directory(self, fd: int) -> Index:
        """Take an open directory of this machine as a context, without reading it yet; it owns fd then."""
        from sampan.build.directory import DirectoryContext
        from sampan.build.known_digests import KnownDigests

        status = os.fstat(fd)
        name = f"{status.st_dev}:{status.st_ino}:{os.readlink(f'/proc/self/fd/{fd}')}"
        return DirectoryContext(fd, KnownDigests(f"{self._core.paths.data}/build-contexts", name))

    def fetch(self, place: str, request: BuildRequest, cancel: Cancel) -> Index:
        """Fetch a context by URL: a git repository, an archive, or a Dockerfile alone.

        Raises:
            SampanError: it cannot be had.
        """
        return self._get().fetcher.open_context(place, request, cancel)

    def build(
        self,
        request: BuildRequest,
        open_context: Callable[[], Index],
        *,
        output: Output,
        cancel: Cancel,
        begin: Callable[[], None],
        watcher: Watcher | None = None,
    ) -> str:
        """Build an image of a context, and return its id.

        open_context: called once; what it opens is closed here.
        begin: called once the Dockerfile is known to be right, before any output.

        Raises:
            SampanError: the Dockerfile is wrong, or a step failed; steps that were done are in the cache.
        """
        with open_context() as context:
            return self.build_in(request, context, output=output, cancel=cancel, begin=begin, watcher=watcher)

    def check(self, request: BuildRequest, open_context: Callable[[], Index]) -> Checked:
        """Look for what is hardly meant in a Dockerfile; nothing is built.

        Raises:
            InvalidArgument: it is wrong.
        """
        with open_context() as context:
            return self._get().check(request, context)

    def build_in(
        self,
        request: BuildRequest,
        context: Index,
        *,
        output: Output,
        cancel: Cancel,
        begin: Callable[[], None],
        watcher: Watcher | None = None,
    ) -> str:
        """Build an image of an open context, and return its id; else as `build`."""
        builder = self._get()
        plan = builder.prepare(request, context)
        begin()
        began_ns = time.time_ns()
        result = builder.run(plan, context, output, cancel, watcher=watcher)
        if request.attestations:
            from sampan.engine.attesting import attest_image

            with output.beside("attestations"):
                attest_image(self._core, builder.host, request, result, began_ns=began_ns)
        if request.tags:
            labels = self._core.store.images.get(Digest(result.image_id)).config.config.Labels
            for tag in request.tags:
                self._core.events.emit(image_event("tag", result.image_id, tag.familiar, labels))
        return result.image_id

    def spool_path(self) -> str:
        """Return where a context's content may be spooled: a new name that the next start would sweep."""
        return f"{self._core.paths.temporary}/context-{os.urandom(8).hex()}"

    def known_digests(self, key: str) -> KnownDigests:
        """Return what is remembered of a client's directory; key: whose, "" remembers nothing."""
        from sampan.build.known_digests import KnownDigests

        return KnownDigests(f"{self._core.paths.data}/build-contexts", key)

    def open_root(self, image: str) -> OpenImageRoot:
        """Return an image's whole root as an archive; the caller writes and closes it.

        Raises:
            NotFound: there is no such image.
        """
        from sampan.engine.image_root import OpenImageRoot

        return OpenImageRoot(self._core, self._remote, image)

    def open_archive(self, image: str, names: Sequence[str]) -> OpenSave:
        """Return an image as the archive of `save`, by names that it need not have; else as `open_root`."""
        from sampan.engine.hello_image import resolve_image
        from sampan.store.references import parse_tagged
        from sampan.store.saving import Wanted

        found = resolve_image(self._core, image)
        return self._core.store.saving.open([Wanted(found, tuple(parse_tagged(name) for name in names))])

    def cache(self) -> BuildCache:
        """Return what builds keep, to be listed."""
        from sampan.engine.build_cache import BuildCache

        return BuildCache(self._get(), self._core)

    def prune(self, wish: PruneWish) -> Pruned:
        """Remove what builds keep and nothing uses; see `BuildCache.prune`.

        Raises:
            InvalidArgument: an unknown filter.
        """
        pruned = self.cache().prune(wish)
        tell_prune(self._core, "builder", pruned.freed_bytes)
        return pruned

    def failed(self) -> list[FailedStep]:
        """Return the failed steps whose files are kept, the last one first."""
        return self._get().failed.all()

    def open_failed(self, unsafe_id: str) -> FailedImage:
        """Make an image of a failed step; see `FailedSteps.open`."""
        return self._get().failed.open(unsafe_id)

    def mounts(self) -> list[CacheMount]:
        """Return the cache mounts that have an id of their own, the one used last first."""
        return [one for one in self._get().mounts.all() if not one.private]

    def export_mount(self, mount_id: str) -> Callable[[Sink], None]:
        """Return what writes a cache mount as an archive.

        Raises:
            NotFound: there is none of that id.
        """
        mount = self._get().mounts.get(mount_id)
        return partial(pack_folder, mount.path)

    def import_mount(self, mount_id: str, stream: Readable) -> None:
        """Unpack an archive into a cache mount, made where it is missing.

        Raises:
            InvalidArgument: the archive is damaged, or leads out.
        """
        with self._get().mounts.filled(mount_id) as path:
            unpack_folder(stream, path, spool_directory=self._core.paths.temporary)

    def _get(self) -> Builder:
        from sampan.build.cache import StepCache
        from sampan.build.solver import Builder
        from sampan.engine.building import BuildHost

        with self._lock:
            if self._builder is None:
                store = self._core.store
                cache = StepCache(store.db, store.built)
                self._builder = Builder(BuildHost(self._core, self._remote), cache, store.built)
            return self._builder
