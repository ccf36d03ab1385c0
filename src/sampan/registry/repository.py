"""Manifests, blobs and tags of one repository, for reading. Source: OCI distribution-spec 1.1, "Pull"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from sampan.errors import InvalidArgument, Unavailable
from sampan.ids import Digest, parse_digest
from sampan.registry.answers import error_of
from sampan.registry.session import Session
from sampan.registry.transport import Answer, BrokenOff
from sampan.spec.image import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from sampan.store.digests import digest_of
from sampan.store.references import Reference

T = TypeVar("T")

SCHEMA1: Final = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_ACCEPT: Final = ", ".join((OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST))
_ERROR_BYTES: Final = 64 * 1024
_TAG_PAGES: Final = 1000
_TAGS_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index as it came: bytes, computed digest, the type that the registry said."""

    raw: bytes
    digest: Digest
    media_type: str


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


class Repository:
    """One repository of one server, which a mirror may call by another name; thread-safe."""

    def __init__(self, session: Session, reference: Reference) -> None:
        self._session = session
        self._reference = reference
        self._path = session.route.reference.path
        self._scopes = (f"repository:{self._path}:pull",)

    @property
    def reference(self) -> Reference:
        """What was asked for."""
        return self._reference

    @property
    def session(self) -> Session:
        """The way to the registry."""
        return self._session

    def find_digest(self, name: str) -> Digest | None:
        """Return the digest that the registry tells for a tag, or None if it does not tell it.

        Raises:
            NotFound, Unauthorized, Unavailable: as the registry says; its words come with the next GET.
        """
        with self._get("HEAD", f"manifests/{name}", accept=_ACCEPT) as answer:
            answer.read_document(_ERROR_BYTES)
            text = answer.header("Docker-Content-Digest")
            if answer.status != 200 or not text:
                return None
            try:
                return parse_digest(text)
            except InvalidArgument:
                return None

    def get_document(self, name: str) -> Document:
        """Return the manifest or index of a tag or digest, whole; a digest has been compared.

        Raises:
            NotFound: there is none. InvalidArgument: it is too large, or another one than its digest says.
        """
        document = self._whole(lambda: self._read_document(name))
        if ":" in name and document.digest != name:
            raise InvalidArgument(f"manifest {name} is damaged: its content has digest {document.digest}")
        return document

    def get_blob(self, digest: Digest, *, size_bytes: int) -> bytes:
        """Return a small blob, compared with its digest and size.

        Raises:
            InvalidArgument: it is another one.
        """
        raw = self._whole(lambda: self._read_blob(digest, size_bytes))
        if len(raw) != size_bytes or digest_of(raw) != digest:
            raise InvalidArgument(f"blob {digest} is damaged: {len(raw)} bytes with digest {digest_of(raw)}")
        return raw

    def blob_size(self, digest: Digest) -> int:
        """Return how large a blob is.

        Raises:
            NotFound: it is not there. Unavailable: the registry does not tell.
        """
        with self._session.request("HEAD", self.path(f"blobs/{digest}"), scopes=self._scopes) as answer:
            if answer.status != 200:
                raise self.error_of(answer, what="blob")
            answer.read_document(_ERROR_BYTES)
            length = answer.header("Content-Length")
            if not length.isdecimal():
                raise Unavailable(f"the registry does not tell the size of blob {digest}")
            return int(length)

    def open_blob(self, digest: Digest, *, offset: int = 0, tries: int = 0) -> Answer:
        """Open a blob from an offset on (status 206), or from its beginning (200); the caller closes it."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._session.request(
            "GET", self.path(f"blobs/{digest}"), scopes=self._scopes, headers=headers, tries=tries
        )
        if answer.status in (200, 206):
            return answer
        with answer:
            raise self.error_of(answer, what="blob")

    def tags(self) -> list[str]:
        """Return every tag, over all pages.

        Raises:
            InvalidArgument: the list does not end.
        """
        found: list[str] = []
        path = self.path("tags/list")
        for _ in range(_TAG_PAGES):
            with self._session.request("GET", path, scopes=self._scopes) as answer:
                if answer.status != 200:
                    raise self.error_of(answer)
                try:
                    page = msgspec.json.decode(answer.read_document(_TAGS_BYTES), type=_Tags)
                except msgspec.DecodeError as exc:
                    raise Unavailable(f"{self._reference.familiar_name}: the registry sent no tags") from exc
                found += page.tags or []
                following = next_page(answer.header("Link"))
            if not following:
                return found
            path = following
        raise InvalidArgument(f"{self._reference.familiar_name}: the registry's list of tags does not end")

    def path(self, rest: str) -> str:
        """Return the path of something in this repository."""
        return f"/v2/{self._path}/{rest}"

    def open(self, path: str) -> Answer:
        """Ask for a list of this repository by its path; the caller closes the answer, of any status."""
        return self._session.request("GET", path, scopes=self._scopes, headers={"Accept": OCI_INDEX})

    def error_of(self, answer: Answer, *, what: str = "") -> Exception:
        """Return the error that an answer means; reads its body."""
        body = answer.read_document(_ERROR_BYTES)
        return error_of(answer.status, body, reference=self._reference, what=what)

    def _read_document(self, name: str) -> Document:
        with self._get("GET", f"manifests/{name}", accept=_ACCEPT) as answer:
            if answer.status != 200:
                raise self.error_of(answer)
            raw = answer.read_document()
            media_type = answer.header("Content-Type").partition(";")[0].strip().lower()
            return Document(raw, digest_of(raw), media_type)

    def _read_blob(self, digest: Digest, size_bytes: int) -> bytes:
        with self.open_blob(digest) as answer:
            return answer.read_document(size_bytes)

    def _whole(self, read: Callable[[], T]) -> T:
        """Return what read gives, tried again when an answer breaks off."""
        for _ in range(1, self._session.options.limits.attempts):
            try:
                return read()
            except BrokenOff:
                continue
        return read()

    def _get(self, method: str, rest: str, *, accept: str) -> Answer:
        return self._session.request(method, self.path(rest), scopes=self._scopes, headers={"Accept": accept})


def next_page(link: str) -> str:
    """Return the path in `Link: </v2/…>; rel="next"`; another host's is none."""
    target, _, attributes = link.partition(">")
    if not target.startswith("<") or 'rel="next"' not in attributes.replace("rel=next", 'rel="next"'):
        return ""
    parts = urlsplit(target[1:])
    return f"{parts.path}?{parts.query}" if parts.path.startswith("/v2/") else ""
