"""Images of a daemon."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sampan.client.archives import Data, Download, pieces_of
from sampan.client.filters import Filters, encode_filters
from sampan.client.http import quote
from sampan.client.values import Document, Pruned, as_document, as_documents, whole
from sampan.errors import SampanError

if TYPE_CHECKING:
    from sampan.client.api import Client
    from sampan.fastjson import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image. tags: `repository:tag`; created_unix: seconds since 1970; size_bytes: of all its layers."""

    id: str
    tags: tuple[str, ...]
    created_unix: int
    size_bytes: int


Lines = list[str]  # inside the class, `list` is the method
Documents = list[Document]


class Images:
    """`client.images`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, *, all: bool = False, filters: Filters | None = None) -> list[Image]:
        """Return images, newest first."""
        query = [("all", "1")] if all else []
        found = self._client.call("GET", "/images/json", [*query, *encode_filters(filters)])
        return [_image(item) for item in as_documents(found)]

    def inspect(self, reference: str) -> Document:
        """Return everything the daemon knows about an image.

        Raises:
            NotFound: there is none of that name.
        """
        return as_document(self._client.call("GET", f"/images/{quote(reference)}/json"))

    def get(self, reference: str) -> Image:
        """Return the image of that name or id.

        Raises:
            NotFound: there is none.
        """
        found = self.inspect(reference)
        tags = found.get("RepoTags")
        return Image(
            id=str(found["Id"]),
            tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
            created_unix=_unix_time(str(found.get("Created") or "")),
            size_bytes=whole(found.get("Size")),
        )

    def load(self, archive: Data) -> Lines:
        """Load images from an archive, whole or in pieces; return the daemon's lines: `Loaded image: x:tag`.

        Raises:
            SampanError: the archive is damaged or hostile.
        """
        return _lines(
            self._client.documents("POST", "/images/load", [("quiet", "1")], chunks=pieces_of(archive))
        )

    def save(self, references: Sequence[str]) -> Download:
        """Return an archive of images, as `load` takes it; the caller closes it.

        Raises:
            NotFound: there is no image of one of the names.
        """
        query = [("names", reference) for reference in references]
        return Download(self._client.open_stream("GET", "/images/get", query, patient=True))

    def pull(self, reference: str, *, platform: str = "") -> Image:
        """Fetch an image from its registry and return it; without a tag the latest one.

        Raises:
            NotFound: the registry has none of that name.
        """
        name, colon, tag = reference.rpartition(":")
        if not colon or "/" in tag:
            name, tag = reference, "latest"
        query = [("fromImage", reference if "@" in reference else name)]
        query += [("tag", tag)] if "@" not in reference else []
        query += [("platform", platform)] if platform else []
        _lines(self._client.documents("POST", "/images/create", query))
        return self.get(reference)

    def prune(self, *, all: bool = False, filters: Filters | None = None) -> Pruned:
        """Remove every image without a name that no container uses; all: those with names too."""
        wanted = {**(filters or {}), **({"dangling": ["false"]} if all else {})}
        answer = self._client.call("POST", "/images/prune", encode_filters(wanted), patient=True)
        return Pruned.read(as_document(answer), "ImagesDeleted")

    def import_rootfs(
        self, archive: Data, *, repository: str = "", tag: str = "", changes: Iterable[str] = ()
    ) -> str:
        """Make an image from a tar archive of a root file system; return its id.

        Raises:
            SampanError: the archive is damaged or hostile.
        """
        query = [
            ("fromSrc", "-"),
            ("repo", repository),
            ("tag", tag),
            *(("changes", text) for text in changes),
        ]
        return _lines(self._client.documents("POST", "/images/create", query, chunks=pieces_of(archive)))[-1]

    def bootstrap(self, name: str, *, suite: str = "") -> Lines:
        """Have sampand make a base image (`busybox`, `debian`, `hello`) from the distribution's packages.

        Raises:
            NotFound: the daemon is no sampand. SampanError: the packages could not be fetched.
        """
        query = [("name", name), *([("suite", suite)] if suite else [])]
        return _lines(self._client.documents("POST", "/sampan/v1/images/bootstrap", query))

    def tag(self, reference: str, *, repository: str, tag: str = "latest") -> None:
        """Give an image another name."""
        self._client.call("POST", f"/images/{quote(reference)}/tag", [("repo", repository), ("tag", tag)])

    def remove(self, reference: str, *, force: bool = False) -> Documents:
        """Remove a name, and the image with its last one; return what was untagged and deleted.

        Raises:
            Conflict: a container uses it.
        """
        query = [("force", "1")] if force else []
        return as_documents(self._client.call("DELETE", f"/images/{quote(reference)}", query))

    def history(self, reference: str) -> Documents:
        """Return the steps an image was made by, newest first."""
        return as_documents(self._client.call("GET", f"/images/{quote(reference)}/history"))


def _image(item: Document) -> Image:
    tags = item.get("RepoTags")
    return Image(
        id=str(item["Id"]),
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
        created_unix=whole(item.get("Created")),
        size_bytes=whole(item.get("Size")),
    )


def _unix_time(text: str) -> int:
    """Return RFC 3339 text, of which Go writes nine digits of a fraction, in seconds since 1970."""
    try:
        return int(datetime.fromisoformat(f"{text[:19]}+00:00").timestamp())
    except ValueError:
        return 0


def _lines(documents: Iterable[dict[str, JsonValue]]) -> list[str]:
    """Return the texts of a progress stream; its error is raised."""
    lines = []
    for document in documents:
        if document.get("error"):
            raise SampanError(str(document["error"]), hint=str(document.get("hint") or ""))
        text = document.get("stream") or document.get("status")
        if text and not document.get("progressDetail"):
            lines.append(str(text).strip())
    return lines
