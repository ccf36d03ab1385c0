"""Signatures of images as cosign makes them: who signed what, checked with public keys.

A signature lies in the image's repository under the tag `sha256-<digest>.sig`: a manifest whose layers are
small JSON documents that name a digest, each with the signature of its bytes in an annotation. What a
registry says about it is worth nothing before a key has said so too.
Source: sigstore/cosign, specs/SIGNATURE_SPEC.md; containers/image, docs/containers-signature.5.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from sampan.errors import Forbidden, InvalidArgument, NotFound, SampanError
from sampan.ids import Digest, digest_hex, parse_digest
from sampan.registry.policy import Identity, Policy
from sampan.registry.sources import Sources
from sampan.spec import gojson
from sampan.spec.image import Manifest
from sampan.store.references import Reference, parse_reference

_PAYLOAD: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_TYPES: Final = ("cosign container image signature", "atomic container signature")
_MOST: Final = 100  # signatures of one image
_PAYLOAD_BYTES: Final = 64 * 1024

Verify = Callable[[bytes, bytes], bool]


class _Image(msgspec.Struct, frozen=True):
    docker_manifest_digest: str = msgspec.field(name="docker-manifest-digest")


class _Named(msgspec.Struct, frozen=True):
    docker_reference: str = msgspec.field(name="docker-reference")


class _Critical(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    identity: _Named
    image: _Image
    type: str


class _Payload(msgspec.Struct, frozen=True):
    critical: _Critical
    optional: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """One that a key has confirmed."""

    digest: Digest
    identity: Reference
    key: str  # sha256 of the public key, hexadecimal
    claims: dict[str, object]


@dataclass(frozen=True, slots=True)
class Key:
    """A public key."""

    fingerprint: str
    verify: Verify


def parse_key(pem: bytes) -> Key:
    """Read a PEM public key: ECDSA, Ed25519 or RSA.

    Raises:
        InvalidArgument: it is none.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise InvalidArgument("a public key is not PEM (-----BEGIN PUBLIC KEY-----)") from exc

    def verify(signature: bytes, data: bytes) -> bool:
        try:
            match key:
                case ec.EllipticCurvePublicKey():
                    key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
                case ed25519.Ed25519PublicKey():
                    key.verify(signature, data)
                case rsa.RSAPublicKey():
                    key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
                case _:
                    return False
        except InvalidSignature:
            return False
        return True

    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Key(hashlib.sha256(der).hexdigest(), verify)


def find_signatures(sources: Sources, digest: Digest, keys: Sequence[Key]) -> list[Signature]:
    """Return the signatures of a manifest that one of the keys has made.

    Raises:
        SampanError: the registry does not answer; no signature is an empty list.
    """
    return [
        found
        for payload, signature in _stored(sources, digest)
        if (found := _read(payload, signature, keys, digest))
    ]


def check_signed(policy: Policy, sources: Sources, digests: Sequence[Digest]) -> None:
    """See to it that one of an image's manifests (its index, or its own) is signed as a policy wants.

    Raises:
        Forbidden: it is not. InvalidArgument: a key of the policy cannot be used.
    """
    reference = sources.reference
    policy.check(reference)
    for requirement in policy.signed:
        keys = [parse_key(pem) for pem in requirement.keys()]
        found = [one for digest in digests for one in find_signatures(sources, digest, keys)]
        if not any(_is_for(requirement.signed_identity, one, reference) for one in found):
            named = sorted({one.identity.familiar for one in found})
            why = f"signatures are for {', '.join(named)}" if named else "no signature by a key that it names"
            raise Forbidden(
                f"{policy.path} wants {reference.familiar} to be signed: {why}",
                hint=f"see what is signed: sampan image verify {reference.familiar}",
            )


def _is_for(identity: Identity, signature: Signature, wanted: Reference) -> bool:
    return identity.accepts(signature.identity, wanted)


def _stored(sources: Sources, digest: Digest) -> Iterator[tuple[bytes, bytes]]:
    """Yield payload and signature of everything that lies where cosign puts it."""
    try:
        document = sources.get_document(f"sha256-{digest_hex(digest)}.sig")
    except NotFound:
        return
    manifest = gojson.decode(document.raw, Manifest)
    for layer in manifest.layers[:_MOST]:
        text = layer.annotations.get(_SIGNATURE, "")
        if layer.mediaType != _PAYLOAD or not text or not 0 < layer.size <= _PAYLOAD_BYTES:
            continue
        try:
            signature = base64.b64decode(text, validate=True)
            yield sources.get_blob(parse_digest(layer.digest), size_bytes=layer.size), signature
        except (binascii.Error, InvalidArgument):
            continue  # damaged: another one may do


def _read(payload: bytes, signature: bytes, keys: Sequence[Key], digest: Digest) -> Signature | None:
    """Return what a payload says, once a key has confirmed it and it is about this digest."""
    key = next((key for key in keys if key.verify(signature, payload)), None)
    if key is None:
        return None
    try:
        said = msgspec.json.decode(payload, type=_Payload)
        identity = parse_reference(said.critical.identity.docker_reference)
    except (msgspec.MsgspecError, SampanError):
        return None
    if said.critical.type not in _TYPES or said.critical.image.docker_manifest_digest != digest:
        return None
    return Signature(digest, identity, key.fingerprint, said.optional or {})
