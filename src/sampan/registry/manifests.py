"""From a tag to the one image for a platform: index, manifest, configuration, each checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sampan import log
from sampan.errors import InvalidArgument, SampanError
from sampan.ids import Digest, parse_digest
from sampan.registry.repository import SCHEMA1, Document
from sampan.registry.sources import Sources
from sampan.spec.image import (
    ATTESTATION,
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_DOCUMENT_BYTES,
    MAX_LAYERS,
    Descriptor,
    Index,
    Manifest,
    Platform,
    parse_config,
    parse_manifest_or_index,
)
from sampan.store.platforms import choose_manifest

_MAX_NESTING: Final = 4
_ABOUT: Final = "vnd.docker.reference.digest"  # on an attestation: the image it is about
_MAX_ATTESTATIONS_BYTES: Final = 32 << 20
_MAX_LAYER_BYTES: Final = 1 << 44  # 16 TiB: more is a mistake or an attack


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """One image of a registry. top: what the tag names, an index or the manifest itself."""

    top: Document
    manifest: Document
    parsed: Manifest

    @property
    def config(self) -> Digest:
        """The image's id."""
        return parse_digest(self.parsed.config.digest)


def fetch_image(sources: Sources, name: str, *, platform: Platform) -> RemoteImage:
    """Return the image for a platform that a tag or digest names.

    Raises:
        NotFound: no such manifest, or none for the platform.
        InvalidArgument: a document is damaged, ambiguous, or of an old kind.
    """
    top = document = sources.get_document(name)
    for _ in range(_MAX_NESTING):
        parsed = parse_document(document)
        if isinstance(parsed, Manifest):
            _check(parsed, sources)
            return RemoteImage(top, document, parsed)
        chosen = choose_manifest(parsed.manifests, platform)
        document = _fetch_entry(sources, chosen)
    raise InvalidArgument(f"image indexes are nested deeper than {_MAX_NESTING} levels")


def fetch_attestations(sources: Sources, image: RemoteImage) -> tuple[bytes, ...]:
    """Return what an index has about an image (BuildKit's attestations): manifests and their content.

    Nobody needs them to run it: what cannot be had is left out.
    """
    index = parse_document(image.top)
    entries = index.manifests if isinstance(index, Index) else []
    found: list[bytes] = []
    size = 0
    for entry in entries:
        if entry.annotations.get(_ABOUT) != image.manifest.digest or ATTESTATION not in entry.annotations:
            continue
        try:
            document = _fetch_entry(sources, entry)
            manifest = parse_document(document)
            parts = [manifest.config, *manifest.layers] if isinstance(manifest, Manifest) else []
            size += sum(part.size for part in parts)
            if size > _MAX_ATTESTATIONS_BYTES or any(part.size < 0 for part in parts):
                break
            blobs = [sources.get_blob(parse_digest(part.digest), size_bytes=part.size) for part in parts]
        except SampanError as exc:
            log.info("attestation left out", image=sources.reference.familiar, reason=exc)
            continue
        found += [document.raw, *blobs]
    return tuple(found)


def parse_document(document: Document) -> Manifest | Index:
    """Read a manifest or index; the type in the header, if it is one of ours, must be the document's own.

    Raises:
        InvalidArgument: schema 1, or ambiguous (CVE-2021-41190).
    """
    if document.media_type in SCHEMA1 or b'"schemaVersion":1' in document.raw[:200].replace(b" ", b""):
        raise InvalidArgument(
            "the registry has this image as manifest version 2, schema 1, which is not supported",
            hint="push it again with an engine of 2017 or later, or copy it: skopeo copy --format v2s2",
        )
    known = document.media_type if document.media_type in INDEX_TYPES | MANIFEST_TYPES else ""
    return parse_manifest_or_index(document.raw, media_type=known)


def type_of(document: Document) -> str:
    """Return the media type that a document is recorded with."""
    own = parse_document(document).mediaType
    return own or document.media_type


def describe_document(sources: Sources, document: Document) -> tuple[Descriptor, list[Platform]]:
    """Return the descriptor of a manifest or index, and the platforms that it has images for."""
    parsed = parse_document(document)
    descriptor = Descriptor(mediaType=type_of(document), digest=document.digest, size=len(document.raw))
    if isinstance(parsed, Index):
        images = [one for one in parsed.manifests if ATTESTATION not in one.annotations]
        return descriptor, [one.platform for one in images if one.platform is not None]
    _check(parsed, sources)
    raw = sources.get_blob(parse_digest(parsed.config.digest), size_bytes=parsed.config.size)
    return descriptor, [parse_config(raw).platform]


def _fetch_entry(sources: Sources, chosen: Descriptor) -> Document:
    document = sources.get_document(parse_digest(chosen.digest))
    if len(document.raw) != chosen.size:
        raise InvalidArgument(f"manifest {chosen.digest} has {len(document.raw)} bytes, not {chosen.size}")
    parse_manifest_or_index(document.raw, media_type=chosen.mediaType)
    return Document(document.raw, document.digest, document.media_type or chosen.mediaType)


def _check(manifest: Manifest, sources: Sources) -> None:
    name = sources.reference.familiar
    if not 0 <= manifest.config.size <= MAX_DOCUMENT_BYTES:
        raise InvalidArgument(f"image {name}: configuration of {manifest.config.size} bytes is refused")
    if len(manifest.layers) > MAX_LAYERS:
        raise InvalidArgument(f"image has {len(manifest.layers)} layers; {MAX_LAYERS} is the most")
    for layer in manifest.layers:
        parse_digest(layer.digest)
        if layer.urls:
            raise InvalidArgument(f"image {name}: layer {layer.digest} lies outside of the registry: refused")
        if not 0 <= layer.size <= _MAX_LAYER_BYTES:
            raise InvalidArgument(f"image {name}: layer of {layer.size} bytes is refused")
