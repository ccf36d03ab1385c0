"""What a manifest says that a registry must know: what it names, and what it refers to. Pure.

Source: OCI image-spec 1.1, manifest.md and image-index.md; Docker's schema 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct, field

from sampan.errors import InvalidArgument
from sampan.registry.server.errors import RegistryError
from sampan.spec import gojson
from sampan.spec.docker.common import StrMap
from sampan.spec.image import INDEX_TYPES, MANIFEST_TYPES, MAX_DOCUMENT_BYTES, Descriptor
from sampan.store.content_names import parse_content_name
from sampan.store.repositories import Names

_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1"


class _Document(Struct, frozen=True, kw_only=True):
    schemaVersion: int = 0
    mediaType: str = ""
    artifactType: str = ""
    config: Descriptor | None = None
    layers: list[Descriptor] = field(default_factory=list)
    manifests: list[Descriptor] = field(default_factory=list)
    subject: Descriptor | None = None
    annotations: StrMap = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest or an index; digests have been checked. subject "": none."""

    media_type: str
    names: Names
    subject: str
    artifact_type: str
    annotations: dict[str, str]


def parse_document(raw: bytes, *, content_type: str) -> Document:
    """Read what a client pushes as a manifest.

    Raises:
        RegistryError: it is none that a client could use, or two clients could read two things in it.
    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        message = f"manifest of more than {MAX_DOCUMENT_BYTES} bytes"
        raise RegistryError("SIZE_INVALID", message, status=413)
    if content_type.startswith(_SCHEMA_1):
        raise RegistryError(
            "MANIFEST_INVALID", "schema 1 manifests are not taken: push with a current client"
        )
    try:
        is_index = _is_index(raw)
        found = gojson.decode(raw, _Document)
        media_type = _media_type(found.mediaType, content_type, is_index=is_index)
        return _summary(found, media_type)
    except InvalidArgument as exc:
        raise RegistryError("MANIFEST_INVALID", f"manifest invalid: {exc}") from exc


def _is_index(raw: bytes) -> bool:
    try:
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise InvalidArgument(str(exc)) from exc
    names = [name.lower() for name in fields]  # Go's readers match in any case
    if len(names) != len(set(names)):
        raise InvalidArgument("a field occurs twice in different case")
    is_index, is_manifest = "manifests" in names, "layers" in names or "config" in names
    if is_index and is_manifest:
        raise InvalidArgument("it has both 'manifests' and 'layers' or 'config'")
    if not is_index and "config" not in names:
        raise InvalidArgument("it is neither an image manifest nor an image index")
    return is_index


def _media_type(said: str, content_type: str, *, is_index: bool) -> str:
    if said and content_type and said != content_type:
        raise InvalidArgument(f"it says it is {said!r}, the request {content_type!r}")
    media_type = said or content_type
    if media_type not in (INDEX_TYPES if is_index else MANIFEST_TYPES):
        raise InvalidArgument(f"media type {media_type!r} is not one of the document's kind")
    return media_type


def _summary(found: _Document, media_type: str) -> Document:
    if found.schemaVersion != 2:
        raise InvalidArgument(f"schema version {found.schemaVersion} is not 2")
    named = [*([found.config] if found.config else []), *found.layers]
    subject = parse_content_name(found.subject.digest) if found.subject else ""
    kind = found.artifactType or (found.config.mediaType if found.config else "")
    return Document(
        media_type=media_type,
        names=Names(
            blobs=_digests(one for one in named if not one.urls),
            foreign=_digests(one for one in named if one.urls),
            children=_digests(found.manifests),
        ),
        subject=subject,
        artifact_type=kind,
        annotations=dict(found.annotations),
    )


def _digests(descriptors: Iterable[Descriptor]) -> frozenset[str]:
    return frozenset(parse_content_name(one.digest) for one in descriptors)
