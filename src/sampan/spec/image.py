"""OCI image-spec 1.1 documents and what Docker adds to them: descriptor, index, manifest, configuration.

Documents are kept as the bytes they came as (their digest is their name); these types are what we read of
them and how we write our own. Source: OCI image-spec; moby, image/spec (v1.3) for `manifest.json`.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from msgspec import Struct, field

from sampan.errors import InvalidArgument
from sampan.spec import gojson
from sampan.spec.docker.common import StrList, StrMap
from sampan.spec.docker.images import ImageConfig as _DockerImageConfig

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"

INDEX_TYPES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIG_TYPES: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})

REF_NAME: Final = "org.opencontainers.image.ref.name"
CONTAINERD_NAME: Final = "io.containerd.image.name"  # the full reference; `ref.name` is often the tag only
ATTESTATION: Final = "vnd.docker.reference.type"  # on manifests that are no images (BuildKit)

MAX_DOCUMENT_BYTES: Final = 4 << 20  # as containerd and distribution limit manifests
MAX_LAYERS: Final = (
    500  # the kernel takes at most 500 lower directories (fs/overlayfs/params.h, OVL_MAX_STACK)
)

# What the configuration says about containers: the part that Docker's API shows as an image's `Config`.
ContainerDefaults = _DockerImageConfig

T = TypeVar("T", bound=Struct)


def _empty() -> str:
    """The default of a field that is written even when empty (omit_defaults leaves plain defaults out)."""
    return ""


class Platform(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an image runs on, in Go's words. Source: image-index.md, "platform"."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = field(default="", name="os.version")
    os_features: StrList = field(default_factory=list, name="os.features")

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Names content by digest. `digest` is unchecked text until `ids.parse_digest`. Source: descriptor.md."""

    mediaType: str
    digest: str
    size: int
    urls: StrList = field(default_factory=list)
    annotations: StrMap = field(default_factory=dict)
    platform: Platform | None = None
    artifactType: str = ""


class Index(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A list of manifests, often one a platform. Source: image-index.md."""

    schemaVersion: int
    manifests: list[Descriptor]
    mediaType: str = ""
    annotations: StrMap = field(default_factory=dict)


class Manifest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One image for one platform: configuration and layers, lowest layer first. Source: manifest.md."""

    schemaVersion: int
    config: Descriptor
    layers: list[Descriptor]
    mediaType: str = ""
    artifactType: str = ""
    annotations: StrMap = field(default_factory=dict)


class RootFS(Struct, frozen=True, kw_only=True):
    """Digests of the uncompressed layers, lowest first. Source: config.md, "rootfs"."""

    type: str = "layers"
    diff_ids: StrList = field(default_factory=list)


class History(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one step changed the image, oldest first. Source: config.md, "history"."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The configuration document; its digest is the image's id. Source: config.md.

    `config` has Docker's fields beyond OCI's: Healthcheck, Shell, OnBuild, ArgsEscaped.
    """

    rootfs: RootFS
    architecture: str = field(default_factory=_empty)
    os: str = field(default_factory=_empty)
    variant: str = ""
    os_version: str = field(default="", name="os.version")
    os_features: StrList = field(default_factory=list, name="os.features")
    created: str = ""
    author: str = ""
    comment: str = ""
    docker_version: str = ""
    config: ContainerDefaults = ContainerDefaults()
    history: list[History] = field(default_factory=list)
    cache: str = field(default="", name="moby.buildkit.cache.v0")  # base64; see `build.cache_format`

    @property
    def platform(self) -> Platform:
        """The platform the image says it is for."""
        return Platform(
            architecture=self.architecture,
            os=self.os,
            variant=self.variant,
            os_version=self.os_version,
            os_features=self.os_features,
        )


class DockerArchiveEntry(Struct, frozen=True, kw_only=True):
    """One image of `manifest.json` in an archive of `docker save`; paths are unchecked names in it."""

    Config: str
    RepoTags: StrList = field(default_factory=list)
    Layers: StrList = field(default_factory=list)


class LayoutMarker(Struct, frozen=True, kw_only=True):
    """The file `oci-layout`. Source: image-layout.md."""

    imageLayoutVersion: str


class _Typed(Struct, frozen=True):
    mediaType: str = ""


def parse_manifest_or_index(raw: bytes, *, media_type: str) -> Manifest | Index:
    """Read the document that a descriptor of media_type names; "" where the type is not known.

    A document that could be read as both, or says another type than its descriptor, is refused
    (CVE-2021-41190: two engines would see two different images).

    Raises:
        InvalidArgument: not a manifest nor an index, or its kind is ambiguous.
    """
    kind, is_index = _parse_kind(raw)
    if kind and media_type and kind != media_type:
        raise InvalidArgument(f"document says it is {kind!r}, its descriptor {media_type!r}")
    kind = kind or media_type
    if kind and kind not in (INDEX_TYPES if is_index else MANIFEST_TYPES):
        raise InvalidArgument(f"media type {kind!r} does not fit the document's content")
    document = _decode(raw, Index) if is_index else _check_manifest(_decode(raw, Manifest))
    if document.schemaVersion != 2:
        raise InvalidArgument(f"schema version {document.schemaVersion} is not supported; only 2 is")
    return document


def parse_config(raw: bytes) -> ImageConfig:
    """Read an image's configuration.

    Raises:
        InvalidArgument: raw is no configuration, or has too many layers to be mounted.
    """
    config = _decode(raw, ImageConfig)
    if config.rootfs.type not in ("", "layers"):
        raise InvalidArgument(f"image configuration: rootfs type {config.rootfs.type!r} is not 'layers'")
    if len(config.rootfs.diff_ids) > MAX_LAYERS:
        raise InvalidArgument(f"image has {len(config.rootfs.diff_ids)} layers; {MAX_LAYERS} is the most")
    return config


def parse_docker_archive_manifest(raw: bytes) -> list[DockerArchiveEntry]:
    """Read `manifest.json` of an archive of `docker save`.

    Raises:
        InvalidArgument: raw is no list of images.
    """
    _check_size(raw)
    try:
        entries = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InvalidArgument(f"manifest.json: {exc}") from exc
    return [gojson.decode(bytes(entry), DockerArchiveEntry) for entry in entries]


def parse_layout_marker(raw: bytes) -> LayoutMarker:
    """Read the file `oci-layout`.

    Raises:
        InvalidArgument: raw is another document or another major version.
    """
    marker = _decode(raw, LayoutMarker)
    if not marker.imageLayoutVersion.startswith("1."):
        raise InvalidArgument(f"OCI layout version {marker.imageLayoutVersion!r} is not supported")
    return marker


def encode(document: Struct) -> bytes:
    """Return a document of ours as JSON; the same value gives the same bytes."""
    return msgspec.json.encode(document)


def _parse_kind(raw: bytes) -> tuple[str, bool]:
    """Return the media type a document claims and whether it is an index, by the names of its fields."""
    _check_size(raw)
    try:
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise InvalidArgument(f"invalid image document: {exc}") from exc
    names = [name.lower() for name in fields]  # Go's readers match in any case
    if len(names) != len(set(names)):
        raise InvalidArgument("document is ambiguous: a field occurs twice in different case")
    is_index = "manifests" in names
    is_manifest = "layers" in names or "config" in names
    if is_index and is_manifest:
        raise InvalidArgument("document is ambiguous: it has both 'manifests' and 'layers' or 'config'")
    if not is_index and not is_manifest:
        raise InvalidArgument("document is neither an image manifest nor an image index")
    return _decode(raw, _Typed).mediaType, is_index


def _check_manifest(manifest: Manifest) -> Manifest:
    if manifest.config.mediaType not in CONFIG_TYPES:
        raise InvalidArgument(f"config of type {manifest.config.mediaType!r} is not an image's configuration")
    return manifest


def _check_size(raw: bytes) -> None:
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise InvalidArgument(f"image document of {len(raw)} bytes; {MAX_DOCUMENT_BYTES} is the most")


def _decode(raw: bytes, kind: type[T]) -> T:
    _check_size(raw)
    return gojson.decode(raw, kind)
