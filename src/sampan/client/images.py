"""Images of a daemon."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sampan.client.api import Client, Document, Filters, as_document, as_documents, encode_filters
from sampan.client.http import quote
from sampan.errors import SampanError

if TYPE_CHECKING:
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

    def load(self, archive: Iterable[bytes]) -> Lines:
        """Load images from the pieces of an archive; return the daemon's lines: `Loaded image: x:tag`.

        Raises:
            SampanError: the archive is damaged or hostile.
        """
        return _lines(self._client.documents("POST", "/images/load", [("quiet", "1")], chunks=archive))

    def import_rootfs(
        self, archive: Iterable[bytes], *, repository: str = "", tag: str = "", changes: Iterable[str] = ()
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
        return _lines(self._client.documents("POST", "/images/create", query, chunks=archive))[-1]

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
    tags, created, size = item.get("RepoTags"), item.get("Created"), item.get("Size")
    return Image(
        id=str(item["Id"]),
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
        created_unix=created if isinstance(created, int) else 0,
        size_bytes=size if isinstance(size, int) else 0,
    )


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
