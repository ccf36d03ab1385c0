"""From a request's path to what it names. Source: OCI distribution-spec, spec.md, "Endpoints"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from sampan.errors import InvalidArgument
from sampan.registry.server.errors import RegistryError
from sampan.store.content_names import ContentName, parse_content_name

Kind = Literal[
    "base", "ping", "search", "catalog", "tags", "manifest", "upload start", "upload", "blob", "referrers"
]

_MAX_NAME: Final = 255
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_FORMS: Final[tuple[tuple[Kind, re.Pattern[str]], ...]] = (
    ("upload start", re.compile(r"(?P<name>.+)/blobs/uploads/?")),
    ("upload", re.compile(r"(?P<name>.+)/blobs/uploads/(?P<last>[^/]+)")),
    ("blob", re.compile(r"(?P<name>.+)/blobs/(?P<last>[^/]+)")),
    ("manifest", re.compile(r"(?P<name>.+)/manifests/(?P<last>[^/]+)")),
    ("tags", re.compile(r"(?P<name>.+)/tags/list/?")),
    ("referrers", re.compile(r"(?P<name>.+)/referrers/(?P<last>[^/]+)")),
)
# What dockerd asks of a registry for `docker search`. Source: moby, registry/search_endpoint_v1.go.
_FIXED: Final[dict[str, Kind]] = {"/v2/_catalog": "catalog", "/v1/_ping": "ping", "/v1/search": "search"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about: a repository, and of it a tag, a digest or an upload's id (unchecked)."""

    kind: Kind
    repository: str = ""
    unsafe_last: str = ""


def parse_path(path: str) -> Target | None:
    """Read the decoded path of a request; None where nothing is served.

    Raises:
        RegistryError: the name of the repository has another form than the grammar's.
    """
    if path in ("/v2", "/v2/"):
        return Target("base")
    if path in _FIXED:
        return Target(_FIXED[path])
    rest = path.removeprefix("/v2/")
    for kind, form in _FORMS:
        match = form.fullmatch(rest) if rest != path else None
        if match:
            return Target(kind, check_name(match["name"]), match.groupdict().get("last") or "")
    return None


def check_name(text: str) -> str:
    """Return the name of a repository.

    Raises:
        RegistryError: it has another form.
    """
    if len(text) > _MAX_NAME or _NAME.fullmatch(text) is None:
        raise RegistryError(
            "NAME_INVALID", f"repository name {text[:_MAX_NAME]!r} does not fit the grammar of names"
        )
    return text


def parse_digest_part(text: str) -> ContentName:
    """Read a digest of a path or a query.

    Raises:
        RegistryError: it is none, or of an algorithm that is not kept here.
    """
    try:
        return parse_content_name(text)
    except InvalidArgument as exc:
        raise RegistryError("DIGEST_INVALID", str(exc)) from exc


def check_tag(text: str) -> str:
    """Return a tag.

    Raises:
        RegistryError: it has another form.
    """
    if _TAG.fullmatch(text) is None:
        raise RegistryError("TAG_INVALID", f"tag {text[:200]!r} does not fit the grammar of tags")
    return text


def is_digest(text: str) -> bool:
    """Tell whether the last part of a manifest's path is meant as a digest: tags have no colon."""
    return ":" in text
