"""What is told about an image, in its index: provenance and a list of its packages, as in-toto statements.

Pure: texts and values in, documents out. Source: BuildKit v0.25 `docs/attestations/attestation-storage.md`,
`slsa-provenance.md`, `sbom.md`; in-toto Statement v0.1; SLSA provenance v0.2; SPDX 2.3.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from sampan.build.attestation_options import Wanted
from sampan.build.packages import Package
from sampan.ids import Digest
from sampan.spec.image import (
    ATTESTATION,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    RootFS,
)

PROVENANCE: Final = "https://slsa.dev/provenance/v0.2"
SBOM: Final = "https://spdx.dev/Document"
_ABOUT: Final = "vnd.docker.reference.digest"
_PREDICATE: Final = "in-toto.io/predicate-type"
_IN_TOTO: Final = "application/vnd.in-toto+json"
_BUILD_TYPE: Final = "https://mobyproject.org/buildkit@v1"


@dataclass(frozen=True, slots=True)
class Material:
    """An image that a build has used: its name, and its manifest's digest."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The image that is told about, and how it was built. Times are RFC 3339."""

    manifest: Descriptor
    platform: Platform
    names: Sequence[str]
    dockerfile: str
    target: str
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    materials: Sequence[Material]
    began: str
    ended: str
    build_id: str


@dataclass(frozen=True, slots=True)
class Attested:
    """What is told about an image: the manifest that an index names, and the blobs that it leads to."""

    manifest: Descriptor
    blobs: tuple[bytes, ...]


def write_index(images: Sequence[Descriptor], told: Sequence[Attested]) -> bytes:
    """Return an index of images, whose descriptors name their platforms, and what is told about them."""
    manifests = [*images, *(one.manifest for one in told)]
    return msgspec.json.encode(Index(schemaVersion=2, mediaType=OCI_INDEX, manifests=manifests))


def attest(about: About, wanted: Wanted, packages: Sequence[Package] = ()) -> Attested:
    """Return the attestations of an image; packages: for the SBOM, in order."""
    statements: list[tuple[str, bytes]] = []
    if wanted.sbom:
        statements.append((SBOM, _statement(about, SBOM, _spdx(about, packages))))
    if wanted.provenance:
        statements.append((PROVENANCE, _statement(about, PROVENANCE, _provenance(about, wanted.provenance))))
    layers = [_descriptor(raw, _IN_TOTO, {_PREDICATE: kind}) for kind, raw in statements]
    unknown = Platform(architecture="unknown", os="unknown")
    config = msgspec.json.encode(
        ImageConfig(
            architecture="unknown",
            os="unknown",
            rootfs=RootFS(diff_ids=[Digest(layer.digest) for layer in layers]),
        )
    )
    manifest = msgspec.json.encode(
        Manifest(
            schemaVersion=2, mediaType=OCI_MANIFEST, config=_descriptor(config, OCI_CONFIG, {}), layers=layers
        )
    )
    told = _descriptor(
        manifest, OCI_MANIFEST, {_ABOUT: about.manifest.digest, ATTESTATION: "attestation-manifest"}
    )
    told = msgspec.structs.replace(told, platform=unknown)
    return Attested(told, (manifest, config, *(raw for _, raw in statements)))


def _descriptor(raw: bytes, media_type: str, annotations: dict[str, str]) -> Descriptor:
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    return Descriptor(mediaType=media_type, digest=digest, size=len(raw), annotations=annotations)


def _statement(about: About, kind: str, predicate: Mapping[str, object]) -> bytes:
    algorithm, _, digits = about.manifest.digest.partition(":")
    return msgspec.json.encode(
        {
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": kind,
            "subject": [
                {"name": _image_url(name, about.platform), "digest": {algorithm: digits}}
                for name in about.names
            ],
            "predicate": predicate,
        }
    )


def _provenance(about: About, mode: str) -> dict[str, object]:
    arguments: dict[str, str] = {"target": about.target} if about.target else {}
    if mode == "max":
        arguments |= {f"build-arg:{name}": value for name, value in about.arguments.items()}
        arguments |= {f"label:{name}": value for name, value in about.labels.items()}
    materials = [
        {
            "uri": _image_url(one.name, about.platform),
            "digest": dict([one.digest.split(":", 1)]),
        }
        for one in about.materials
    ]
    return {
        "builder": {"id": ""},
        "buildType": _BUILD_TYPE,
        "materials": materials,
        "invocation": {
            "configSource": {"entryPoint": about.dockerfile},
            "parameters": {
                "frontend": "dockerfile.v0",
                "args": arguments,
                "locals": [{"name": "context"}, {"name": "dockerfile"}],
            },
            "environment": {"platform": str(about.platform)},
        },
        "metadata": {
            "buildInvocationID": about.build_id,
            "buildStartedOn": about.began,
            "buildFinishedOn": about.ended,
            "completeness": {"parameters": mode == "max", "environment": True, "materials": False},
            "reproducible": False,
            f"{_BUILD_TYPE}#metadata": {},
        },
    }


def _image_url(name: str, platform: Platform) -> str:
    """Return a name as a package URL. Source: purl-spec, `docker`."""
    path, _, tag = name.partition("@")[0].rpartition(":")
    if not path or "/" in tag:
        path, tag = name.partition("@")[0], "latest"
    return f"pkg:docker/{path}@{tag}?platform={str(platform).replace('/', '%2F')}"


def _spdx(about: About, packages: Sequence[Package]) -> dict[str, object]:
    entries: list[dict[str, object]] = []
    for number, package in enumerate(packages, 1):
        entries.append(
            {
                "SPDXID": f"SPDXRef-Package-{number}",
                "name": package.name,
                "versionInfo": package.version,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": False,
                "licenseDeclared": package.license or "NOASSERTION",
                "licenseConcluded": "NOASSERTION",
                "copyrightText": "NOASSERTION",
                "externalRefs": [
                    {
                        "referenceCategory": "PACKAGE-MANAGER",
                        "referenceType": "purl",
                        "referenceLocator": package.url,
                    }
                ],
            }
        )
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": about.names[0],
        "documentNamespace": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, about.manifest.digest)}",
        "creationInfo": {"created": about.ended[:19] + "Z", "creators": ["Tool: sampan"]},
        "packages": entries,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": str(entry["SPDXID"]),
            }
            for entry in entries
        ],
    }
