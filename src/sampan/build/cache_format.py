"""BuildKit's documents of a build cache that travels: which step came to which layer.

```
 index or manifest ── config: application/vnd.buildkit.cacheconfig.v0 ── records: key → layer
        └── layers: descriptors with the annotation of their diff id
 image's configuration ── "moby.buildkit.cache.v0" (inline): base64 of the records; layers are the image's
```

The form is BuildKit's; keys are ours (docs/build.md, "Keys"): each tool reads what the other wrote, and finds
none of its own steps there. A step that made no layer is a record of a chain of no layers, for its time.

Source: BuildKit, cache/remotecache/v1 (doc.go, spec.go), cache/remotecache/import.go and inline.go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import field

from sampan.build.state import format_time
from sampan.errors import InvalidArgument
from sampan.ids import Digest, parse_digest
from sampan.spec import gojson
from sampan.spec.image import (
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    encode,
)
from sampan.spec.times import parse_time_ns
from sampan.store.built import BuiltLayer
from sampan.store.digests import digest_of

CACHE_CONFIG: Final = "application/vnd.buildkit.cacheconfig.v0"
UNCOMPRESSED: Final = "containerd.io/uncompressed"  # the diff id of a layer
MOST_BYTES: Final = 32 << 20
_CREATED: Final = "buildkit/createdat"
_LAYERS: Final = {
    OCI_LAYER: OCI_LAYER,
    OCI_LAYER_GZIP: OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD: OCI_LAYER_ZSTD,
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
}


@dataclass(frozen=True, slots=True)
class Used:
    """A step that a build made or found. below and chain: of the layers without and with its own."""

    key: str
    below: Digest | None
    chain: Digest | None
    layer: BuiltLayer | None
    created_ns: int


@dataclass(frozen=True, slots=True)
class Offered:
    """What a cache has for a key: a layer, or none for a step that made none."""

    layer: BuiltLayer | None
    created_ns: int


class _Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    mediaType: str = ""
    diffID: str = ""
    size: int = 0


class _Layer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    blob: str = ""
    parent: int = 0  # -1: none. Go leaves 0 out
    annotations: _Note | None = None


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    layer: int
    createdAt: str = ""


class _Chain(msgspec.Struct, frozen=True, kw_only=True):
    layers: list[int]
    createdAt: str = ""


class _Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    layers: list[_Result] = []
    chains: list[_Chain] = []
    digest: str = ""


class _Config(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    layers: list[_Layer] = []
    records: list[_Record] = []


class _Top(msgspec.Struct, frozen=True, kw_only=True):
    """An index, or a manifest whose configuration is a cache's."""

    config: Descriptor | None = None
    layers: list[Descriptor] = field(default_factory=list)
    manifests: list[Descriptor] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CacheManifest:
    """A cache by itself: the descriptors of its records and of its layers."""

    config: Descriptor
    layers: Sequence[Descriptor]


def find_cache(raw: bytes) -> CacheManifest | None:
    """Read an index or manifest; None if it is an image's and no cache's.

    Raises:
        InvalidArgument: it is neither.
    """
    top = gojson.decode(raw, _Top)
    if top.config is not None:
        return CacheManifest(top.config, top.layers) if top.config.mediaType == CACHE_CONFIG else None
    config = next((one for one in top.manifests if one.mediaType == CACHE_CONFIG), None)
    if config is None:
        return None
    return CacheManifest(config, [one for one in top.manifests if one is not config])


def read_records(raw: bytes, layers: Sequence[Descriptor]) -> dict[str, Offered]:
    """Return what a cache's records offer, by key; what cannot be read of it is left out.

    Raises:
        InvalidArgument: raw is no such document.
    """
    config = gojson.decode(raw, _Config)
    by_digest = {one.digest: one for one in layers}
    return _offers(config.records, [_built(one, by_digest) for one in config.layers])


def read_inline(text: str, layers: Sequence[BuiltLayer]) -> dict[str, Offered]:
    """Return what the records in an image's configuration offer; layers: the image's, lowest first.

    Raises:
        InvalidArgument: text is no such document.
    """
    try:
        raw = base64.b64decode(text)
    except (binascii.Error, ValueError) as exc:
        raise InvalidArgument(f"the image's inline cache is damaged: {exc}") from exc
    config = gojson.decode(b'{"records":%b}' % raw, _Config)
    return _offers(config.records, layers)


def _offers(records: Iterable[_Record], layers: Sequence[BuiltLayer | None]) -> dict[str, Offered]:
    found: dict[str, Offered] = {}
    for record in records:
        key = record.digest.removeprefix("sha256:")
        for result in record.layers:
            layer = layers[result.layer] if 0 <= result.layer < len(layers) else None
            if layer is not None and (created := _time(result.createdAt)):
                found[key] = Offered(layer, created)
        for chain in record.chains:
            if not chain.layers and (created := _time(chain.createdAt)):
                found.setdefault(key, Offered(None, created))
    return found


def _built(layer: _Layer, descriptors: Mapping[str, Descriptor]) -> BuiltLayer | None:
    descriptor = descriptors.get(layer.blob)
    if descriptor is None or descriptor.mediaType not in _LAYERS or descriptor.size < 0:
        return None
    note = layer.annotations
    diff_id = descriptor.annotations.get(UNCOMPRESSED) or (note.diffID if note else "")
    try:
        return built_layer(descriptor, parse_digest(diff_id))
    except InvalidArgument:
        return None


def built_layer(descriptor: Descriptor, diff_id: Digest) -> BuiltLayer:
    """Return a layer by its descriptor.

    Raises:
        InvalidArgument: its digest is none.
    """
    kind = _LAYERS.get(descriptor.mediaType, descriptor.mediaType)
    return BuiltLayer(diff_id, parse_digest(descriptor.digest), descriptor.size, kind)


def _time(text: str) -> int:
    try:
        return max(parse_time_ns(text), 0)
    except InvalidArgument:
        return 0


@dataclass(frozen=True, slots=True)
class CacheDocuments:
    """A cache to be written: its records, and what names them and the layers."""

    config: bytes
    top: bytes
    top_type: str


def write_cache(
    steps: Sequence[Used], packed: Mapping[Digest, Descriptor], *, as_index: bool, docker_types: bool
) -> CacheDocuments:
    """Return the documents of a cache. packed: how the steps' layers travel, by chain id."""
    places: dict[Digest, int] = {}
    layers: list[_Layer] = []
    descriptors: dict[str, Descriptor] = {}
    for step in steps:
        if step.layer is None or step.chain is None or step.chain in places:
            continue
        one = packed[step.chain]
        places[step.chain] = len(layers)
        parent = places.get(step.below, -1) if step.below is not None else -1
        note = _Note(mediaType=one.mediaType, diffID=step.layer.diff_id, size=one.size)
        layers.append(_Layer(blob=one.digest, parent=parent, annotations=note))
        annotations = {UNCOMPRESSED: str(step.layer.diff_id), _CREATED: format_time(step.created_ns)}
        described = msgspec.structs.replace(one, annotations=annotations)
        descriptors.setdefault(one.digest, described)
    config = encode(_Config(layers=layers, records=_records(steps, places)))
    own = Descriptor(mediaType=CACHE_CONFIG, digest=digest_of(config), size=len(config))
    listed = list(descriptors.values())
    if as_index:
        kind = DOCKER_INDEX if docker_types else OCI_INDEX
        top = encode(Index(schemaVersion=2, mediaType=kind, manifests=[*listed, own]))
    else:
        kind = OCI_MANIFEST
        top = encode(Manifest(schemaVersion=2, mediaType=kind, config=own, layers=listed))
    return CacheDocuments(config, top, kind)


def write_inline(steps: Sequence[Used], chain: Sequence[Digest]) -> str:
    """Return the records for an image's configuration; chain: the chain ids of its layers, lowest first."""
    records = _records(steps, {chain_id: place for place, chain_id in enumerate(chain)})
    return base64.b64encode(msgspec.json.encode(records)).decode()


def _records(steps: Sequence[Used], places: Mapping[Digest, int]) -> list[_Record]:
    found: dict[str, _Record] = {}
    for step in steps:
        digest, created = f"sha256:{step.key}", format_time(step.created_ns)
        if step.layer is None:
            found[step.key] = _Record(digest=digest, chains=[_Chain(layers=[], createdAt=created)])
        elif step.chain is not None and step.chain in places:
            result = _Result(layer=places[step.chain], createdAt=created)
            found[step.key] = _Record(digest=digest, layers=[result])
    return list(found.values())
