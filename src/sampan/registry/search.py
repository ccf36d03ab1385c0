"""Names of images by a word: a registry's search, or where it has none its catalog.

Docker Hub and a few others answer `/v1/search`; an OCI registry has only the list of all its repositories,
and not every one shows it. Source: moby, registry/search.go; distribution, docs/spec/api.md for `_catalog`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import msgspec

from sampan.errors import InvalidArgument, Unavailable
from sampan.registry.listings import read_catalog
from sampan.registry.session import Session
from sampan.store.references import DEFAULT_DOMAIN

DEFAULT_LIMIT: Final = 25
_MOST: Final = 100
_BYTES: Final = 4 << 20


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One repository that was found, as the registry calls it."""

    name: str
    description: str = ""
    star_count: int = 0
    is_official: bool = False


class _Results(msgspec.Struct, frozen=True):
    results: list[Hit] = []


@dataclass(frozen=True, slots=True)
class Term:
    """What is searched for. domain "": Docker Hub."""

    domain: str
    text: str


def parse_term(text: str) -> Term:
    """Split `[host[:port]/]words`.

    Raises:
        InvalidArgument: it is empty or has a scheme, in Docker's words.
    """
    if text.startswith(("http://", "https://")):
        raise InvalidArgument(f"invalid repository name: repository name ({text}) should not have a scheme")
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return Term(first, rest)
    if not text.strip():
        raise InvalidArgument("search term is missing: which word should names have?")
    return Term("", text.removeprefix("library/"))


def check_limit(limit: int) -> int:
    """Return how many names are wanted at most; 0 means the usual number.

    Raises:
        InvalidArgument: too many, in Docker's words.
    """
    if not limit:
        return DEFAULT_LIMIT
    if not 1 <= limit <= _MOST:
        raise InvalidArgument(f"limit {limit} is outside the range of [1, {_MOST}]")
    return limit


def search(session: Session, text: str, *, limit: int) -> list[Hit]:
    """Ask a registry.

    Raises:
        NotFound: it cannot be searched. Unauthorized, Unavailable: as it says.
    """
    query = urlencode({"q": text, "n": limit})
    with session.request("GET", f"/v1/search?{query}") as answer:
        body = answer.read_document(_BYTES)
        if answer.status == 200:
            try:
                return [_named(session, hit) for hit in _results(body)][:limit]
            except msgspec.DecodeError:
                pass  # a page for people: no search
        elif answer.status not in (400, 404, 405):
            raise Unavailable(f"search on {session.route.authority}: unexpected status {answer.status}")
    return _search_catalog(session, text, limit)


def _results(body: bytes) -> list[Hit]:
    return msgspec.json.decode(body, type=_Results).results


def _named(session: Session, hit: Hit) -> Hit:
    """Give a hit the name it is pulled by; Docker Hub's are such."""
    host = session.route.reference.domain
    if host == DEFAULT_DOMAIN or hit.name.startswith(f"{host}/"):
        return hit
    return msgspec.structs.replace(hit, name=f"{host}/{hit.name}")


def _search_catalog(session: Session, text: str, limit: int) -> list[Hit]:
    """Find names that have the word in them; names come in pages, and the walk ends with enough of them."""
    host = session.route.reference.domain
    found: list[Hit] = []
    for names in read_catalog(session):
        found += [Hit(name=f"{host}/{name}") for name in names if text.lower() in name.lower()]
        if len(found) >= limit:
            break
    return found[:limit]
