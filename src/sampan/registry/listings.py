"""Lists that a registry gives: its repositories, and what refers to a manifest.

Source: OCI distribution-spec 1.1, "Listing Referrers", "Referrers Tag Schema"; distribution, docs/spec/api.md
for `_catalog`. Tags are `Repository.tags`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlencode

import msgspec

from sampan.errors import NotFound, Unauthorized, Unavailable
from sampan.ids import Digest, digest_hex
from sampan.registry.repository import Repository, next_page
from sampan.registry.session import Session
from sampan.spec.image import Descriptor, Index, parse_manifest_or_index

_BYTES: Final = 4 << 20
_PAGES: Final = 1000
_PAGE: Final = 1000


class _Catalog(msgspec.Struct, frozen=True):
    repositories: list[str] | None = None


def read_catalog(session: Session, *, last: str = "") -> Iterator[Sequence[str]]:
    """Yield the names of a registry's repositories behind last, a page at a time.

    Raises:
        NotFound: it has no such list. Unauthorized: not for us. Unavailable: as it says.
    """
    host = session.route.reference.domain
    for _ in range(_PAGES):
        query = urlencode({"n": _PAGE, **({"last": last} if last else {})})
        with session.request("GET", f"/v2/_catalog?{query}", scopes=("registry:catalog:*",)) as answer:
            body = answer.read_document(_BYTES)
            if answer.status in (401, 403):
                raise Unauthorized(f"{host} does not show its catalog to you", hint=f"sampan login {host}")
            if answer.status != 200:
                raise NotFound(f"{host} cannot be searched: it has neither a search nor a catalog")
            try:
                names = msgspec.json.decode(body, type=_Catalog).repositories or []
            except msgspec.DecodeError as exc:
                raise Unavailable(f"{host} sent no catalog") from exc
            has_more = 'rel="next"' in answer.header("Link").replace("rel=next", 'rel="next"')
        yield names
        if not has_more or not names or names[-1] <= last:
            return
        last = names[-1]


def read_referrers(repository: Repository, subject: Digest) -> list[Descriptor]:
    """Return what refers to a manifest, by the registry's list or, where it has none, by the tag for it.

    Raises:
        SampanError: as the registry says.
    """
    found: list[Descriptor] = []
    path = repository.path(f"referrers/{subject}")
    for _ in range(_PAGES):
        with repository.open(path) as answer:
            if answer.status == 404 and not found:
                return _by_tag(repository, subject)
            if answer.status != 200:
                raise repository.error_of(answer)
            found += _listed(answer.read_document(_BYTES))
            path = next_page(answer.header("Link"))
        if not path:
            break
    return found


def _by_tag(repository: Repository, subject: Digest) -> list[Descriptor]:
    try:
        return _listed(repository.get_document(f"sha256-{digest_hex(subject)}").raw)
    except NotFound:
        return []


def _listed(raw: bytes) -> list[Descriptor]:
    index = parse_manifest_or_index(raw, media_type="")
    return list(index.manifests) if isinstance(index, Index) else []
