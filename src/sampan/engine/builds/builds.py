"""The noun `build`: one build from a context, and the cache of steps."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sampan.engine.core import Core
from sampan.engine.files.folder_archives import pack_folder, unpack_folder
from sampan.engine.images.remote import RemoteImages
from sampan.engine.lifecycle.pruning import tell_prune
from sampan.engine.observing.events import image_event
from sampan.ids import Digest
from sampan.store.archive.readable import Readable
from sampan.store.archive.writer import Sink
from sampan.store.platforms import host_platform, matches, parse_platform

if TYPE_CHECKING:
    from sampan.build.cachemounts import CacheMount
    from sampan.build.checking import Checked
    from sampan.build.failed_steps import FailedImage, FailedStep
    from sampan.build.graph import Watcher
    from sampan.build.host import Cancel
    from sampan.build.index import Index
    from sampan.build.known_digests import KnownDigests
    from sampan.build.request import BuildRequest, Output
    from sampan.build.solver import Builder, Plan
    from sampan.engine.builds.cache import BuildCache, Pruned, PruneWish
    from sampan.engine.images.root_archive import OpenImageRoot
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
            return self.build_in(
                request, context, output=output, cancel=cancel, begin=begin, watcher=watcher
            )[0]

    def check(self, request: BuildRequest, open_context: Callable[[], Index]) -> Checked:
        """Look for what is hardly meant in a Dockerfile; nothing is built.

        Raises:
            InvalidArgument: it is wrong.
        """
        with open_context() as context:
            return self._get().check(request, context)

    def outline(self, request: BuildRequest) -> dict[str, object]:
        """Return what the target of a Dockerfile takes, of a request that has it; else as `check`."""
        from sampan.build.outlines import outline

        with self.no_context() as context:
            plan = self._get().prepare(request, context)
        raw = request.document or b""
        return outline(plan.dockerfile, plan.stages, raw, build_args=request.build_args)

    def targets(self, request: BuildRequest) -> dict[str, object]:
        """Return the targets of a Dockerfile; else as `outline`."""
        from sampan.build.outlines import targets

        with self.no_context() as context:
            plan = self._get().prepare(request, context)
        return targets(plan.dockerfile, plan.stages, request.document or b"")

    def no_context(self) -> Index:
        """Return a context without files."""
        from sampan.build.index import Index

        return Index()

    def build_in(
        self,
        request: BuildRequest,
        context: Index,
        *,
        output: Output,
        cancel: Cancel,
        begin: Callable[[], None],
        watcher: Watcher | None = None,
    ) -> Sequence[str]:
        """Build an image of an open context for each platform, and return their ids; else as `build`.

        The first is the one that the names mean where nobody says a platform.
        """
        builder = self._get()
        several = split_platforms(request)
        if len(several) > 1:  # it may be gone from the context after the first has read it
            from sampan.build.request import find_dockerfile

            name, raw = find_dockerfile(request, context)
            several = [replace(one, dockerfile=name, document=raw) for one in several]
        plans = [builder.prepare(one, context) for one in several]
        begin()
        if len(plans) == 1 and not request.attestations:
            image_ids = [builder.run(plans[0], context, output, cancel, watcher=watcher).image_id]
        else:
            image_ids = self._build_listed(request, plans, context, output, cancel, watcher)
        if request.tags:
            labels = self._core.store.images.get(Digest(image_ids[0])).config.config.Labels
            for tag in request.tags:
                self._core.events.emit(image_event("tag", image_ids[0], tag.familiar, labels))
        return image_ids

    def _build_listed(
        self,
        request: BuildRequest,
        plans: Sequence[Plan],
        context: Index,
        output: Output,
        cancel: Cancel,
        watcher: Watcher | None,
    ) -> list[str]:
        """Build images that an index lists: of several platforms, or with attestations."""
        from sampan.engine.builds.attesting import list_image, name_listed

        builder, listed = self._get(), []
        for plan in plans:
            began_ns = time.time_ns()
            if len(plans) > 1:
                output.text(f"# {plan.platform}\n")
            result = builder.run(plan, context, output, cancel, watcher=watcher)
            with output.beside("attestations") if request.attestations else nullcontext():
                listed.append(list_image(self._core, builder.host, request, result, began_ns=began_ns))
        name_listed(self._core, request.tags, listed)
        image_ids = [str(one.image.id) for one in listed]
        if len(plans) > 1:
            output.image(image_ids[0])
            for tag in request.tags:
                output.text(f"Successfully tagged {tag.familiar}\n")
        return image_ids

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
        from sampan.engine.images.root_archive import OpenImageRoot

        return OpenImageRoot(self._core, self._remote, image)

    def open_archive(self, images: Sequence[str], names: Sequence[str]) -> OpenSave:
        """Return images as the archive of `save`, by names that they need not have; else as `open_root`."""
        from sampan.engine.images.hello_image import resolve_image
        from sampan.store.references import parse_tagged
        from sampan.store.saving import Wanted

        references = tuple(parse_tagged(name) for name in names)
        found = [resolve_image(self._core, image) for image in images]
        return self._core.store.saving.open([Wanted(one, references) for one in found])

    def cache(self) -> BuildCache:
        """Return what builds keep, to be listed."""
        from sampan.engine.builds.cache import BuildCache

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
        from sampan.engine.builds.host import BuildHost

        with self._lock:
            if self._builder is None:
                store = self._core.store
                cache = StepCache(store.db, store.built)
                self._builder = Builder(BuildHost(self._core, self._remote), cache, store.built)
            return self._builder


def split_platforms(request: BuildRequest) -> list[BuildRequest]:
    """Return a request for each platform: one as it is, or several without names; this machine's first.

    Raises:
        InvalidArgument: one is none.
    """
    platforms = list(dict.fromkeys(part for part in request.platform.split(",") if part))
    if len(platforms) < 2:
        return [request]
    own = host_platform()
    platforms.sort(key=lambda text: not matches(own, parse_platform(text)))
    return [replace(request, platform=text, tags=(), of_several=True) for text in platforms]
