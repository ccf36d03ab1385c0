"""Indexes in an archive of images: which of the images that they name the archive has.

An archive of one name for several platforms, as `save` and `skopeo copy --all` write it: an entry of
index.json is an index itself. Images that were left out of the archive are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sampan.errors import InvalidArgument
from sampan.ids import parse_digest
from sampan.spec.image import (
    ATTESTATION,
    CONTAINERD_NAME,
    INDEX_TYPES,
    MANIFEST_TYPES,
    REF_NAME,
    Descriptor,
    Index,
    Manifest,
    parse_config,
    parse_manifest_or_index,
)
from sampan.store.blobs import StagedBlob
from sampan.store.intake import StagedImage, StagedIndex
from sampan.store.members import Members, read_document
from sampan.store.platforms import host_platform, matches
from sampan.store.references import Reference, parse_reference


@dataclass(frozen=True, slots=True)
class ArchiveIndex:
    """An index with a name, and those of its images that come along; the usual one first."""

    staged: StagedIndex
    images: tuple[StagedImage, ...]


def plan_indexes(members: Members, entries: Sequence[Descriptor]) -> Iterator[ArchiveIndex]:
    """Yield the indexes that have a name, and an image in the archive.

    Raises:
        InvalidArgument: a document is damaged.
    """
    merged: dict[str, list[Descriptor]] = {}
    for entry in entries:
        if entry.mediaType in INDEX_TYPES and names_of(entry):
            merged.setdefault(entry.digest, []).append(entry)
    for same in merged.values():
        names = tuple(dict.fromkeys(name for entry in same for name in names_of(entry)))
        found = _plan_index(members, same[0], names)
        if found is not None:
            yield found


def _plan_index(members: Members, entry: Descriptor, names: tuple[Reference, ...]) -> ArchiveIndex | None:
    index = read_listed(members, entry)
    assert isinstance(index, Index)  # its media type was compared with the content
    images: list[StagedImage] = []
    more: dict[str, StagedBlob] = {}
    for listed in index.manifests:
        if listed.mediaType not in MANIFEST_TYPES or not is_whole(members, listed):
            continue
        if ATTESTATION in listed.annotations:
            more |= {str(blob.digest): blob for blob in _blobs(members, listed)}
            continue
        image = read_image(members, listed)
        if parse_config(image.config_document).os in ("linux", ""):
            images.append(image)
    if not images:
        return None
    images.sort(key=lambda one: not matches(host_platform(), parse_config(one.config_document).platform))
    staged = StagedIndex(
        members.get_blob(entry),
        entry.mediaType,
        names,
        tuple(one.config.digest for one in images),
        tuple(more.values()),
    )
    return ArchiveIndex(staged, tuple(images))


def read_listed(members: Members, descriptor: Descriptor) -> Manifest | Index:
    """Return a document that another one lists.

    Raises:
        InvalidArgument: it is missing, damaged, or of another type than it is listed as.
    """
    raw = read_document(members.get_blob(descriptor))
    return parse_manifest_or_index(raw, media_type=descriptor.mediaType)


def read_image(members: Members, descriptor: Descriptor) -> StagedImage:
    """Return an image without names by its manifest.

    Raises:
        InvalidArgument: a blob is missing or damaged.
    """
    manifest = read_listed(members, descriptor)
    if not isinstance(manifest, Manifest):
        raise InvalidArgument(f"blob {descriptor.digest} is no image manifest")
    config = members.get_blob(manifest.config)
    layers = tuple(members.get_blob(layer) for layer in manifest.layers)
    blob = members.get_blob(descriptor)
    return StagedImage(config, read_document(config), blob, descriptor.mediaType, layers)


def is_whole(members: Members, descriptor: Descriptor) -> bool:
    """Tell whether the archive has a manifest and all that it names; what it has is not compared yet."""
    if not members.has_blob(parse_digest(descriptor.digest)):
        return False
    manifest = read_listed(members, descriptor)
    if not isinstance(manifest, Manifest):
        return False
    return all(members.has_blob(parse_digest(part.digest)) for part in (manifest.config, *manifest.layers))


def _blobs(members: Members, descriptor: Descriptor) -> list[StagedBlob]:
    manifest = read_listed(members, descriptor)
    assert isinstance(manifest, Manifest)  # `is_whole` has seen that
    return [members.get_blob(part) for part in (descriptor, manifest.config, *manifest.layers)]


def names_of(descriptor: Descriptor) -> tuple[Reference, ...]:
    """Return the full name in an index entry's annotations; a bare tag names no repository."""
    full = descriptor.annotations.get(CONTAINERD_NAME, "")
    short = descriptor.annotations.get(REF_NAME, "")
    text = full or (short if "/" in short or ":" in short else "")
    return (parse_reference(text).key(),) if text else ()
