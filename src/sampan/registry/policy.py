"""`policy.json`: which images may be pulled, and whose signatures they need. Without the file, all and none.

The file of podman and skopeo. Of its transports only `docker` (registries) has a meaning here, of its
requirements `insecureAcceptAnything`, `reject` and `sigstoreSigned`; a name whose requirements have another
one cannot be pulled. It is read for each pull; what cannot be understood refuses every pull.
Source: containers-policy.json(5).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from sampan.errors import Forbidden, InvalidArgument
from sampan.store.references import Reference, parse_reference

_MAX_BYTES: Final = 1 << 20
_KINDS: Final = ("insecureAcceptAnything", "reject", "sigstoreSigned", "signedBy", "sigstoreSignedWithRekor")

IdentityKind = Literal[
    "matchExact",
    "matchRepoDigestOrExact",
    "matchRepository",
    "exactReference",
    "exactRepository",
    "remapIdentity",
]


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """What the name in a signature must be."""

    type: IdentityKind = "matchRepoDigestOrExact"
    docker_reference: str = ""
    docker_repository: str = ""
    prefix: str = ""
    signed_prefix: str = ""

    def accepts(self, claimed: Reference, wanted: Reference) -> bool:
        """Tell whether a signature that names claimed is one for wanted."""
        match self.type:
            case "matchRepository":
                return claimed.name == wanted.name
            case "exactReference":
                return str(claimed) == str(parse_reference(self.docker_reference))
            case "exactRepository":
                return claimed.name == parse_reference(self.docker_repository).name
            case "matchExact":
                return bool(wanted.tag) and _same_tag(claimed, wanted)
            case "remapIdentity":
                wanted = self._remapped(wanted)
        return claimed.name == wanted.name if wanted.digest else _same_tag(claimed, wanted)

    def _remapped(self, wanted: Reference) -> Reference:
        name = str(wanted)
        if not name.startswith(self.prefix) or name[len(self.prefix) : len(self.prefix) + 1] not in "/:@":
            return wanted
        return parse_reference(self.signed_prefix + name.removeprefix(self.prefix))


class Requirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """One thing that must hold for an image."""

    type: str
    key_type: str = ""
    key_path: str = ""
    key_paths: list[str] = []
    key_data: str = ""
    key_datas: list[str] = []
    signed_identity: Identity = Identity()

    def keys(self) -> Iterator[bytes]:
        """Yield the public keys, PEM.

        Raises:
            InvalidArgument: a file cannot be read, or is no text.
        """
        for path in [self.key_path] if self.key_path else self.key_paths:
            try:
                with open(path, "rb") as file:
                    yield file.read(_MAX_BYTES)
            except OSError as exc:
                raise InvalidArgument(f"cannot read key {path}: {exc.strerror}") from exc
        for text in [self.key_data] if self.key_data else self.key_datas:
            try:
                yield base64.b64decode(text, validate=True)
            except binascii.Error as exc:
                raise InvalidArgument("keyData is not base64") from exc


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    default: list[Requirement]
    transports: dict[str, dict[str, list[Requirement]]] = {}


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for a name."""

    path: str
    scope: str
    requirements: Sequence[Requirement]

    @property
    def signed(self) -> Sequence[Requirement]:
        """The requirements that want a signature."""
        return [one for one in self.requirements if one.type == "sigstoreSigned"]

    def check(self, reference: Reference) -> None:
        """Refuse a name that is not to be pulled, whoever signed it.

        Raises:
            Forbidden: so the file says. InvalidArgument: it says what cannot be checked here.
        """
        for one in self.requirements:
            if one.type == "reject":
                raise Forbidden(f"{self.path} rejects {reference.familiar} (scope {self.scope!r})")
            if one.type not in ("insecureAcceptAnything", "sigstoreSigned"):
                raise InvalidArgument(
                    f"{self.path}: requirement {one.type!r} for {self.scope!r} cannot be checked by sampan",
                    hint="sigstoreSigned with keyPath can",
                )


def read_policy(path: str, reference: Reference) -> Policy:
    """Return what holds for a name; all may be pulled where there is no file.

    Raises:
        InvalidArgument: the file has no meaning.
    """
    if not path or not os.path.exists(path):
        return Policy(path, "", ())
    document = _read(path)
    scopes = document.transports.get("docker", {})
    for scope in _scopes_of(reference):
        if scope in scopes:
            return Policy(path, scope, scopes[scope])
    return Policy(path, "default", document.default)


def _scopes_of(reference: Reference) -> Iterator[str]:
    """Yield the scopes of a name, the narrowest first."""
    full = reference.with_default_tag()
    yield str(full)
    yield full.name
    path = full.name
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
    host = full.domain.partition(":")[0]
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"
    yield ""


def _read(path: str) -> _File:
    try:
        with open(path, "rb") as file:
            document = msgspec.json.decode(file.read(_MAX_BYTES), type=_File)
        every = [
            document.default,
            *(list_ for scopes in document.transports.values() for list_ in scopes.values()),
        ]
        for requirements in every:
            if not requirements:
                raise ValueError("a list of requirements is empty")
            for one in requirements:
                _check(one)
        return document
    except OSError as exc:
        raise InvalidArgument(f"cannot read {path}: {exc.strerror}") from exc
    except (ValueError, msgspec.MsgspecError) as exc:
        raise InvalidArgument(f"{path}: {exc}", hint="see containers-policy.json(5)") from exc


def _check(one: Requirement) -> None:
    if one.type not in _KINDS:
        raise ValueError(f"requirement {one.type!r} is unknown")
    if one.type == "sigstoreSigned":
        given = [one.key_path, one.key_paths, one.key_data, one.key_datas]
        if sum(map(bool, given)) != 1:
            raise ValueError("sigstoreSigned needs one of keyPath, keyPaths, keyData, keyDatas")
        identity = one.signed_identity
        for kind, text in (
            ("exactReference", identity.docker_reference),
            ("exactRepository", identity.docker_repository),
            ("remapIdentity", identity.prefix and identity.signed_prefix),
        ):
            if (identity.type == kind) != bool(text):
                raise ValueError(f"signedIdentity {identity.type!r} has too many fields, or too few")


def _same_tag(one: Reference, other: Reference) -> bool:
    return (one.name, one.with_default_tag().tag) == (other.name, other.with_default_tag().tag)
