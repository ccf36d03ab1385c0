"""Which images an archive holds: `docker save` (old and new) and OCI layouts.

Source: moby, image/spec v1.3, "Combined Image JSON + Filesystem Changeset Format"; OCI, image-layout.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sampan.errors import InvalidArgument, NotFound
from sampan.spec.image import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    DockerArchiveEntry,
    Index,
    Manifest,
    Platform,
    encode,
    parse_config,
    parse_docker_archive_manifest,
    parse_layout_marker,
    parse_manifest_or_index,
)
from sampan.store.archive.compression import PlainStream
from sampan.store.archive_indexes import ArchiveIndex, names_of, plan_indexes, read_image, read_listed
from sampan.store.blobs import StagedBlob
from sampan.store.intake import StagedImage, StagedIndex
from sampan.store.members import Members, read_document
from sampan.store.platforms import choose_manifest, host_platform, matches
from sampan.store.references import parse_tagged
from sampan.store.staging import Staging

_MAX_NESTING = 4  # an index in an index: BuildKit makes two
_LAYER_TYPES: Final = {"none": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}


@dataclass(frozen=True, slots=True)
class PlannedArchive:
    """What an archive brings: images, and indexes that some of them came by."""

    images: list[StagedImage]
    indexes: list[StagedIndex]


def plan_archive(members: Members, staging: Staging, *, platform: Platform | None) -> PlannedArchive:
    """Return the images of an archive that are for platform; None: all that it has.

    `manifest.json` decides about names where there is one, as for Docker; a manifest of `index.json` for the
    same configuration is then kept as it is, and a name that means an index there brings all its images.

    Raises:
        InvalidArgument: documents contradict each other or the files, or there is no image.
        NotFound: no image is for the platform.
    """
    docker = members.find_document("manifest.json")
    index = members.find_document("index.json")
    marker = members.find_document("oci-layout")
    if marker is not None:
        parse_layout_marker(marker)
    if docker is not None:
        known = _manifests_by_config(members, index) if index else {}
        entries = parse_docker_archive_manifest(docker)
        images = [_docker_image(members, staging, entry, known) for entry in entries]
        indexes = list(plan_indexes(members, _parse_index(index).manifests)) if index else []
        names = {name for image in images for name in image.references}
        indexes = [one for one in indexes if names.issuperset(one.staged.references)]
    elif index is not None:
        indexes = list(plan_indexes(members, _parse_index(index).manifests))
        usual = indexes if platform is None else []  # with a platform, an index without it is an error
        images = list(_oci_images(members, index, platform or host_platform(), usual))
    else:
        raise InvalidArgument(
            "archive holds no image: neither manifest.json nor index.json is in it",
            hint="for a root file system use import",
        )
    if not images:
        raise InvalidArgument("archive holds no image")
    if platform is not None:
        images = [_for_platform_of(image, indexes, platform) for image in images]
        for image in images:
            _check_platform(image, platform)
        return PlannedArchive(images, [])
    known_ids = {image.config.digest for image in images}
    others = {image.config.digest: image for one in indexes for image in one.images}
    images += [image for image_id, image in others.items() if image_id not in known_ids]
    return PlannedArchive(images, [one.staged for one in indexes])


def _for_platform_of(image: StagedImage, indexes: Sequence[ArchiveIndex], wanted: Platform) -> StagedImage:
    """Return the image for a platform that the same names mean, image itself if there is no other."""
    for one in indexes:
        if image.references and set(image.references) <= set(one.staged.references):
            for other in one.images:
                if matches(wanted, parse_config(other.config_document).platform):
                    return replace(other, references=image.references)
    return image


def _docker_image(
    members: Members, staging: Staging, entry: DockerArchiveEntry, known: dict[str, StagedImage]
) -> StagedImage:
    config = members.get(entry.Config)
    layers = tuple(members.get(name) for name in entry.Layers)
    references = tuple(parse_tagged(tag) for tag in entry.RepoTags)
    found = known.get(config.digest)
    if found is not None:
        return StagedImage(
            found.config, found.config_document, found.manifest, found.manifest_type, found.layers, references
        )
    manifest = encode(_make_manifest(config, layers))
    return StagedImage(
        config, read_document(config), staging.add([manifest]), OCI_MANIFEST, layers, references
    )


def _make_manifest(config: StagedBlob, layers: tuple[StagedBlob, ...]) -> Manifest:
    return Manifest(
        schemaVersion=2,
        mediaType=OCI_MANIFEST,
        config=Descriptor(mediaType=OCI_CONFIG, digest=config.digest, size=config.size_bytes),
        layers=[
            Descriptor(mediaType=layer_type(layer), digest=layer.digest, size=layer.size_bytes)
            for layer in layers
        ],
    )


def layer_type(layer: StagedBlob) -> str:
    """Return the media type of a layer by its first bytes.

    Raises:
        InvalidArgument: its compression is none that OCI has a type for.
    """
    with open(layer.path, "rb") as file:
        compression = PlainStream(file).compression
    if compression not in _LAYER_TYPES:
        raise InvalidArgument(
            f"layer {layer.digest} is compressed with {compression}; only gzip and zstd are known"
        )
    return _LAYER_TYPES[compression]


def _manifests_by_config(members: Members, raw_index: bytes) -> dict[str, StagedImage]:
    """Return the whole images of an index, for any platform, by the digest of their configuration."""
    found = {}
    for descriptor in _walk(members, _parse_index(raw_index), depth=0):
        try:
            image = read_image(members, descriptor)
        except InvalidArgument:
            continue  # attestations, and platforms that were not saved
        found[image.config.digest] = image
    return {str(digest): image for digest, image in found.items()}


def _walk(members: Members, index: Index, *, depth: int) -> Iterator[Descriptor]:
    for descriptor in index.manifests:
        if descriptor.mediaType in MANIFEST_TYPES:
            yield descriptor
        elif descriptor.mediaType in INDEX_TYPES and depth < _MAX_NESTING:
            try:
                nested = read_listed(members, descriptor)
            except InvalidArgument:
                continue
            if isinstance(nested, Index):
                yield from _walk(members, nested, depth=depth + 1)


def _oci_images(
    members: Members, raw_index: bytes, platform: Platform, indexes: Sequence[ArchiveIndex]
) -> Iterator[StagedImage]:
    """Yield one image for each entry of index.json; entries with the same image join their names."""
    usual = {str(one.staged.blob.digest): one.images[0] for one in indexes}
    merged: dict[str, StagedImage] = {}
    for descriptor in _parse_index(raw_index).manifests:
        if descriptor.mediaType not in INDEX_TYPES | MANIFEST_TYPES:
            continue
        image = usual.get(descriptor.digest)
        if image is None:
            image = read_image(members, _for_platform(members, descriptor, platform))
        earlier = merged.get(image.config.digest)
        references = (earlier.references if earlier else ()) + names_of(descriptor)
        merged[image.config.digest] = replace(image, references=references)
    yield from merged.values()


def _for_platform(members: Members, descriptor: Descriptor, platform: Platform) -> Descriptor:
    for _ in range(_MAX_NESTING):
        if descriptor.mediaType not in INDEX_TYPES:
            return descriptor
        index = read_listed(members, descriptor)
        assert isinstance(index, Index)  # its media type was compared with the content
        descriptor = choose_manifest(index.manifests, platform)
    raise InvalidArgument(f"image indexes are nested deeper than {_MAX_NESTING} levels")


def _parse_index(raw: bytes) -> Index:
    index = parse_manifest_or_index(raw, media_type="")
    if not isinstance(index, Index):
        raise InvalidArgument("index.json is no image index")
    return index


def _check_platform(image: StagedImage, wanted: Platform | None) -> None:
    actual = parse_config(image.config_document).platform
    if wanted is not None and not matches(wanted, actual):
        name = image.references[0].familiar if image.references else image.config.digest
        raise NotFound(
            f"image with reference {name} was found but does not match the specified platform: "
            f"wanted {wanted}, actual: {actual}"
        )
