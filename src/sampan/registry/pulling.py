"""A pull as a whole: documents, then layers that are unpacked while they come. docs/registry.md, "Pull"."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from sampan.errors import InvalidArgument, NotFound
from sampan.ids import Digest, digest_hex, parse_digest
from sampan.registry.downloads import Cancelled, Download, Downloads
from sampan.registry.manifests import RemoteImage, fetch_attestations, fetch_image, type_of
from sampan.registry.policy import read_policy
from sampan.registry.pull_progress import LayerLine, PullProgress
from sampan.registry.signatures import check_signed
from sampan.registry.sources import Sources
from sampan.spec.image import Platform, parse_config
from sampan.store.archive.readable import Readable
from sampan.store.arrivals import Arrivals, KeptIndex
from sampan.store.blobs import StagedBlob
from sampan.store.intake import StagedImage
from sampan.store.platforms import host_platform, matches
from sampan.store.references import Reference

_TRIES: Final = 2  # the second one without what an earlier process has left


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull has done. digest: of what the tag names; is_new: something was fetched or the tag moved."""

    image_id: Digest
    digest: Digest
    is_new: bool


class Puller:
    """Pulls one image; `cancel` may be called from any thread."""

    def __init__(self, arrivals: Arrivals, downloads: Downloads, *, progress: PullProgress) -> None:
        self._arrivals = arrivals
        self._downloads = downloads
        self._progress = progress
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Let the pull end with an error soon; what has come so far is kept for the next one."""
        self._cancelled.set()

    def pull(self, sources: Sources, *, platform: Platform, is_wanted: bool) -> Pulled:
        """Fetch the image that sources.reference names, and give it its names.

        is_wanted: the user named the platform; then the image itself must say the same.

        Raises:
            NotFound, Unauthorized, Unavailable: as the registry says.
            InvalidArgument: what it sends is damaged or hostile; nothing is recorded.
        """
        reference = sources.reference
        policy = read_policy(sources.options.policy, reference)
        policy.check(reference)
        asked = reference.digest or reference.tag
        self._check_cancelled()
        known = self._find_known(sources, asked, platform) if not policy.signed else None
        if known is not None:
            self._progress.found()
            return known
        image = fetch_image(sources, asked, platform=platform)
        if policy.signed:
            check_signed(policy, sources, [image.top.digest, image.manifest.digest])
        self._progress.found()
        names = _names(reference, image.top.digest)
        before = self._arrivals.find_variant(names[0], platform)
        index = _kept_index(sources, image)
        if self._arrivals.has_image(image.config):
            image_id = image.config
        else:
            image_id = self._fetch(sources, image, () if index else names, platform if is_wanted else None)
        self._name(image_id, names, index)
        return Pulled(image_id, image.top.digest, is_new=before != image_id)

    def _name(self, image_id: Digest, names: Sequence[Reference], index: KeptIndex | None) -> None:
        """Give an image its names; one of an index stands beside those for other platforms."""
        if index is None:
            self._arrivals.name(image_id, names)
            return
        before = self._arrivals.find_named(names[0])
        first = self._is_native(image_id) or before is None or not self._is_native(before)
        self._arrivals.name_by_index(image_id, names, index, first=first)

    def _is_native(self, image_id: Digest) -> bool:
        return matches(host_platform(), parse_config(self._arrivals.read_blob(image_id)).platform)

    def _find_known(self, sources: Sources, asked: str, platform: Platform) -> Pulled | None:
        """Return the image if the registry's digest for the tag is one whose image is here."""
        reference = sources.reference
        digest = reference.digest or sources.find_digest(asked)
        if digest is None:
            return None
        names = _names(reference, digest)
        image_id = self._arrivals.find_variant(names[-1], platform)
        if image_id is None:
            return None
        before = self._arrivals.find_variant(names[0], platform)
        if before != image_id:
            index = self._arrivals.index_of(names[-1])
            raw = self._arrivals.read_blob(parse_digest(index.digest)) if index else b""
            self._name(image_id, names, KeptIndex(raw, index.mediaType) if index else None)
        return Pulled(image_id, digest, is_new=before != image_id)

    def _fetch(
        self, sources: Sources, image: RemoteImage, names: Sequence[Reference], wanted: Platform | None
    ) -> Digest:
        raw_config = sources.get_blob(image.config, size_bytes=image.parsed.config.size)
        config = parse_config(raw_config)
        if wanted is not None and not matches(wanted, config.platform):
            raise NotFound(
                f"image with reference {sources.reference.familiar} was found but does not match the "
                f"specified platform: wanted {wanted}, actual: {config.platform}"
            )
        diff_ids = [parse_digest(text) for text in config.rootfs.diff_ids]
        if len(diff_ids) != len(image.parsed.layers):
            raise InvalidArgument(
                f"image has {len(image.parsed.layers)} layers in its manifest, "
                f"{len(diff_ids)} in its configuration"
            )
        lines = _lines(image, diff_ids)
        self._progress.begin(lines, unpacked=self._arrivals.unpacked(diff_ids))
        for attempt in range(1, _TRIES + 1):
            with self._arriving(sources, image) as arriving, self._arrivals.staging() as staging:
                staged = StagedImage(
                    config=staging.add([raw_config]),
                    config_document=raw_config,
                    manifest=staging.add([image.manifest.raw]),
                    manifest_type=type_of(image.manifest),
                    layers=tuple(
                        StagedBlob(self._arrivals.partials.path(line.blob), line.blob, line.size_bytes)
                        for line in lines
                    ),
                    references=tuple(names),
                )
                try:
                    image_id = self._arrivals.take(staged, arriving, progress=self._progress.on_unpacking)
                except InvalidArgument:
                    was_resumed = arriving.discard()
                    if not was_resumed or attempt == _TRIES:
                        raise
                    continue
            self._progress.complete()
            return image_id
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def _arriving(self, sources: Sources, image: RemoteImage) -> Iterator[_ArrivingBlobs]:
        """Begin the downloads that are needed, lowest layer first; at the end, leave all of them."""
        sizes = {parse_digest(layer.digest): layer.size for layer in image.parsed.layers}
        with ExitStack() as stack:
            here = stack.enter_context(self._arrivals.holding(list(sizes)))
            pool = stack.enter_context(
                ThreadPoolExecutor(sources.options.downloads, thread_name_prefix="download")
            )
            joined: dict[Digest, Download] = {}
            for digest, size in sizes.items():
                if digest in here:
                    self._progress.on_present(digest)
                    continue
                download, is_mine = self._downloads.join(
                    sources,
                    digest,
                    size_bytes=size,
                    path=self._arrivals.partials.path(digest),
                    kept_path=self._arrivals.blob_path(digest),
                )
                stack.callback(self._downloads.leave, download)
                joined[digest] = download
                if is_mine:
                    pool.submit(download.run)
            stack.enter_context(self._progress.watching(joined))
            yield _ArrivingBlobs(self._arrivals, joined, here, sizes, self._cancelled.is_set)

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("the pull was cancelled")


class _ArrivingBlobs:
    """Where the store reads a pull's layers from (`store.intake.Arriving`)."""

    def __init__(
        self,
        arrivals: Arrivals,
        downloads: dict[Digest, Download],
        here: frozenset[Digest],
        sizes: dict[Digest, int],
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._arrivals = arrivals
        self._downloads = downloads
        self._here = here
        self._sizes = sizes
        self._is_cancelled = is_cancelled
        self._compared: set[Digest] = set()

    def open(self, digest: Digest) -> AbstractContextManager[Readable]:
        """Follow a blob; the layers' unpacker compares its digest."""
        if digest in self._here:
            return open(self._arrivals.blob_path(digest), "rb", buffering=0)
        self._compared.add(digest)
        return self._downloads[digest].follow(self._is_cancelled)

    def size(self, digest: Digest) -> int:
        """Return the size that the manifest says."""
        return self._sizes[digest]

    def finish(self, digest: Digest) -> None:
        """Wait for a blob, and compare its digest unless the unpacker has."""
        download = self._downloads.get(digest)
        if download is None:
            return  # a document: it was compared when it came
        download.wait(self._is_cancelled)
        if digest not in self._compared:
            download.check(self._is_cancelled)

    def discard(self) -> bool:
        """Throw away what has come; tell whether some of it was left by an earlier pull."""
        was_resumed = any(download.resumed_at for download in self._downloads.values())
        for digest in self._downloads:
            self._arrivals.partials.discard(digest)
        return was_resumed


def _kept_index(sources: Sources, image: RemoteImage) -> KeptIndex | None:
    """Return the index that led to an image, with what it says about it; None if the tag names it alone."""
    if image.top is image.manifest:
        return None
    return KeptIndex(image.top.raw, type_of(image.top), fetch_attestations(sources, image))


def _names(reference: Reference, digest: Digest) -> list[Reference]:
    """Return the names that a pulled image gets: its tag, if one was asked for, and its digest."""
    by_digest = Reference(reference.domain, reference.path, "", digest)
    if reference.digest:
        return [by_digest]
    return [Reference(reference.domain, reference.path, reference.tag, None), by_digest]


def _lines(image: RemoteImage, diff_ids: Sequence[Digest]) -> list[LayerLine]:
    return [
        LayerLine(parse_digest(layer.digest), digest_hex(diff_id)[:12], layer.size)
        for layer, diff_id in zip(image.parsed.layers, diff_ids, strict=True)
    ]
