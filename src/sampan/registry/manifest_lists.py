"""Image indexes made of images that are in a registry already: `manifest create` and `manifest push`.

Only documents are sent. Images of other repositories of the same registry get there by mounting their blobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sampan.errors import InvalidArgument
from sampan.ids import Digest, parse_digest
from sampan.registry.manifests import parse_document, type_of
from sampan.registry.sources import Sources
from sampan.registry.uploads import Uploads
from sampan.spec.image import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    Descriptor,
    Index,
    Manifest,
    Platform,
    encode,
)
from sampan.store.digests import digest_of
from sampan.store.references import Reference

_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of an index; source has a digest."""

    source: Reference
    platform: Platform
    sources: Sources  # where its manifest is read


def push_list(uploads: Uploads, target: Reference, entries: Sequence[Entry]) -> Digest:
    """Put an index of entries under target's tag, and before that what of them is not in its repository.

    Raises:
        InvalidArgument: an entry is in another registry, or is no image.
        SampanError: as the registry says.
    """
    if not 1 <= len(entries) <= _MOST:
        raise InvalidArgument(f"an index has 1 to {_MOST} images, not {len(entries)}")
    descriptors = [_bring(uploads, target, entry) for entry in entries]
    docker = all(one.mediaType == DOCKER_MANIFEST for one in descriptors)
    media_type = DOCKER_INDEX if docker else OCI_INDEX
    raw = encode(Index(schemaVersion=2, mediaType=media_type, manifests=descriptors))
    uploads.put_manifest(target.tag, raw, media_type)
    return digest_of(raw)


def _bring(uploads: Uploads, target: Reference, entry: Entry) -> Descriptor:
    source = entry.source
    if source.domain != target.domain:
        raise InvalidArgument(
            "cannot use source images from a different registry than the target image: "
            f"{source.domain} != {target.domain}",
            hint=f"pull {source.familiar} and push it to {target.domain} first",
        )
    document = entry.sources.get_document(str(source.digest))
    parsed = parse_document(document)
    if not isinstance(parsed, Manifest):
        raise InvalidArgument(f"{source.familiar} is an image index; name the images in it")
    if source.path != target.path:
        for blob in (parsed.config, *parsed.layers):
            uploads.mount_blob(parse_digest(blob.digest), source.path)
        uploads.put_manifest(document.digest, document.raw, type_of(document))
    return Descriptor(
        mediaType=type_of(document),
        digest=document.digest,
        size=len(document.raw),
        platform=entry.platform,
    )
