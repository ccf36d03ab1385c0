"""A push as a whole: layers in parallel, compressed where they are plain, then configuration and manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import msgspec

from sampan.errors import SampanError
from sampan.ids import Digest, digest_hex, parse_digest
from sampan.registry.session import Session
from sampan.registry.uploads import Outcome, Uploads
from sampan.spec.image import (
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    OCI_LAYER_GZIP,
    Descriptor,
    Index,
    Manifest,
    encode,
    parse_manifest_or_index,
)
from sampan.store.arrivals import Arrivals
from sampan.store.digests import digest_of
from sampan.store.model import Image
from sampan.store.packing import Packed
from sampan.store.references import Reference

Report = Callable[[dict[str, object]], None]
_REPORT_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a registry has now under the tag."""

    digest: Digest
    size_bytes: int  # of the manifest


class Pusher:
    """Pushes images of one store as one user."""

    def __init__(self, arrivals: Arrivals, session: Session, report: Report) -> None:
        self._arrivals = arrivals
        self._session = session
        self._report = report

    def push_index(self, images: Sequence[Image], index: Descriptor, reference: Reference) -> Pushed:
        """Send the images of an index, what else it names, and the index itself under the tag, as it came.

        Raises:
            Forbidden, Unauthorized, Unavailable: as the registry says.
        """
        digest = parse_digest(index.digest)
        uploads = Uploads(self._session, reference)
        known = {image.manifest.digest for image in images}
        for image in images:
            self._push_one(uploads, image, reference, name=image.manifest.digest, as_it_is=True)
        raw = self._arrivals.read_blob(digest)
        parsed = parse_manifest_or_index(raw, media_type=index.mediaType)
        for entry in parsed.manifests if isinstance(parsed, Index) else []:
            if entry.digest not in known:
                self._push_document(uploads, entry)
        uploads.put_manifest(reference.tag, raw, index.mediaType)
        self._report({"status": f"index of {len(images)} images", "progressDetail": {}})
        return Pushed(digest, len(raw))

    def has_whole_index(self, images: Sequence[Image], index: Descriptor) -> bool:
        """Tell whether everything that an index names is here."""
        parsed = parse_manifest_or_index(
            self._arrivals.read_blob(parse_digest(index.digest)), media_type=index.mediaType
        )
        known = {image.manifest.digest for image in images}
        entries = parsed.manifests if isinstance(parsed, Index) else []
        return all(entry.digest in known or self._has_document(entry) for entry in entries)

    def _has_document(self, entry: Descriptor) -> bool:
        digest = parse_digest(entry.digest)
        with self._arrivals.holding([digest]) as here:
            if not here or entry.mediaType in INDEX_TYPES:
                return False
            manifest = parse_manifest_or_index(self._arrivals.read_blob(digest), media_type=entry.mediaType)
            if not isinstance(manifest, Manifest):
                return False
            parts = [parse_digest(part.digest) for part in (manifest.config, *manifest.layers)]
            with self._arrivals.holding(parts) as present:
                return len(present) == len(set(parts))

    def _push_document(self, uploads: Uploads, entry: Descriptor) -> None:
        raw = self._arrivals.read_blob(parse_digest(entry.digest))
        manifest = parse_manifest_or_index(raw, media_type=entry.mediaType)
        assert isinstance(manifest, Manifest)  # `has_whole_index` has seen that
        for part in (manifest.config, *manifest.layers):
            self._put(uploads, parse_digest(part.digest), part.size, [], lambda sent: None)
        uploads.put_manifest(entry.digest, raw, entry.mediaType)

    def push(self, image: Image, reference: Reference) -> Pushed:
        """Send what is missing of an image, its manifest last.

        Raises:
            Forbidden, Unauthorized, Unavailable: as the registry says.
        """
        # A manifest that a registry has under its digest goes out with that digest, plain layers and all.
        as_it_is = any(name.digest == image.manifest.digest for name in image.digests)
        uploads = Uploads(self._session, reference)
        raw = self._push_one(uploads, image, reference, name=reference.tag, as_it_is=as_it_is)
        digest = digest_of(raw)
        self._arrivals.name(image.id, [Reference(reference.domain, reference.path, "", digest)])
        return Pushed(digest, len(raw))

    def _push_one(
        self, uploads: Uploads, image: Image, reference: Reference, *, name: str, as_it_is: bool
    ) -> bytes:
        """Send an image, its manifest under a name; return the manifest."""
        raw = self._arrivals.read_blob(parse_digest(image.manifest.digest))
        manifest = parse_manifest_or_index(raw, media_type="")
        if not isinstance(manifest, Manifest):
            raise SampanError(f"image {image.id} has no manifest of its own")
        wanted = [parse_digest(layer.digest) for layer in manifest.layers]
        with self._arrivals.holding(wanted):
            packed = self._push_layers(uploads, reference, image, wanted, as_it_is=as_it_is)
            config = parse_digest(manifest.config.digest)
            self._put(uploads, config, manifest.config.size, [], lambda sent: None)
            raw, media_type = _manifest_of(raw, manifest, packed, image.manifest.mediaType)
            uploads.put_manifest(name, raw, media_type)
        return raw

    def _push_layers(
        self,
        uploads: Uploads,
        reference: Reference,
        image: Image,
        layers: Sequence[Digest],
        *,
        as_it_is: bool,
    ) -> list[Packed]:
        for diff_id in image.layers:
            self._say(diff_id, "Preparing")
        with ThreadPoolExecutor(self._session.options.uploads, thread_name_prefix="upload") as pool:
            work = [
                pool.submit(self._push_layer, uploads, reference, layer, diff_id, as_it_is=as_it_is)
                for layer, diff_id in zip(layers, image.layers, strict=True)
            ]
            try:
                return [future.result() for future in work]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _push_layer(
        self, uploads: Uploads, reference: Reference, layer: Digest, diff_id: Digest, *, as_it_is: bool
    ) -> Packed:
        packed = self._arrivals.pack(layer, as_it_is=as_it_is)
        said = 0.0

        def sent(count: int) -> None:
            nonlocal said
            if time.monotonic() - said > _REPORT_S:
                said = time.monotonic()
                self._say(diff_id, "Pushing", count, packed.size_bytes)

        near = self._arrivals.repositories_with(packed.digest, reference.domain) - {reference.path}
        outcome = self._put(uploads, packed.digest, packed.size_bytes, sorted(near), sent)
        match outcome.kind:
            case "exists":
                self._say(diff_id, "Layer already exists")
            case "mounted":
                self._say(diff_id, f"Mounted from {outcome.source}")
            case "pushed":
                self._say(diff_id, "Pushed")
        return packed

    def _put(
        self, uploads: Uploads, digest: Digest, size: int, near: Sequence[str], sent: Callable[[int], None]
    ) -> Outcome:
        path = self._arrivals.blob_path(digest)
        return uploads.put_blob(digest, path, mount_from=near, sent=sent, size_bytes=size)

    def _say(self, diff_id: Digest, status: str, current: int = 0, total: int = 0) -> None:
        detail = {"current": current, "total": total} if total else {}
        self._report({"status": status, "progressDetail": detail, "id": digest_hex(diff_id)[:12]})


def _manifest_of(
    raw: bytes, manifest: Manifest, packed: Sequence[Packed], media_type: str
) -> tuple[bytes, str]:
    """Return the manifest to push: as it came, unless layers travel in another form."""
    kind = manifest.mediaType or media_type
    if not any(one.is_new_form for one in packed):
        return raw, kind
    gzip = DOCKER_LAYER_GZIP if kind == DOCKER_MANIFEST else OCI_LAYER_GZIP
    layers = [
        Descriptor(mediaType=gzip, digest=one.digest, size=one.size_bytes) if one.is_new_form else layer
        for layer, one in zip(manifest.layers, packed, strict=True)
    ]
    return encode(msgspec.structs.replace(manifest, layers=layers, mediaType=kind)), kind
