"""Blobs and manifests to one repository: missing ones only, from where they are near.

Source: OCI distribution-spec 1.1, "Push".
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote, urljoin, urlsplit

from sampan.errors import InvalidArgument, Unavailable
from sampan.ids import Digest
from sampan.registry.answers import error_of
from sampan.registry.endpoints import origin
from sampan.registry.session import Session
from sampan.registry.transport import Answer
from sampan.store.references import Reference

_ERROR_BYTES: Final = 64 * 1024
_AT_ONCE: Final = 4 << 20  # a blob up to this goes in one request, and from the beginning when that fails
_OCTETS: Final = "application/octet-stream"

Sent = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a blob came to be in the repository; source: the repository it was mounted from."""

    kind: Literal["exists", "mounted", "pushed"]
    source: str = ""


class Uploads:
    """Writes to one repository; thread-safe."""

    def __init__(self, session: Session, reference: Reference) -> None:
        self._session = session
        self._reference = reference
        self._name = session.route.reference.path
        self._scopes = (f"repository:{self._name}:pull,push",)

    def put_blob(
        self, digest: Digest, path: str, *, mount_from: Sequence[str], sent: Sent, size_bytes: int
    ) -> Outcome:
        """See to it that a blob is there: it is, or is mounted from a neighbour, or the file at path is sent.

        sent is told how many bytes have gone out.

        Raises:
            SampanError: the registry refuses, or does not answer.
        """
        if self._exists(digest):
            return Outcome("exists")
        place = ""
        for source in mount_from[:2]:
            place = self._mount(digest, source)
            if not place:
                return Outcome("mounted", source)
        self._send(digest, path, size_bytes, place or self._begin(), sent)
        return Outcome("pushed")

    def mount_blob(self, digest: Digest, source: str) -> None:
        """See to it that a blob is there: it is, or is mounted from a neighbour.

        Raises:
            Unavailable: the registry does not mount.
        """
        if not self._exists(digest) and self._mount(digest, source):
            raise Unavailable(
                f"registry {self._reference.domain} does not give {digest} from {source} to {self._name}"
            )

    def put_manifest(self, name: str, raw: bytes, media_type: str) -> None:
        """Put a manifest under a tag or digest; the blobs it names are there."""
        answer = self._session.request(
            "PUT",
            self._path(f"manifests/{name}"),
            scopes=self._scopes,
            headers={"Content-Type": media_type},
            body=lambda: raw,
        )
        with answer:
            if answer.status not in (200, 201):
                raise self._error_of(answer)
            answer.read_document(_ERROR_BYTES)

    def _exists(self, digest: Digest) -> bool:
        answer = self._session.request("HEAD", self._path(f"blobs/{digest}"), scopes=self._scopes)
        with answer:
            answer.read_document(_ERROR_BYTES)
            return answer.status == 200

    def _mount(self, digest: Digest, source: str) -> str:
        """Return "" when the registry has taken the blob from another repository, else where to upload it."""
        query = f"?mount={quote(digest)}&from={quote(source, safe='')}"
        scopes = (*self._scopes, f"repository:{source}:pull")
        answer = self._session.request("POST", self._path(f"blobs/uploads/{query}"), scopes=scopes)
        with answer:
            if answer.status == 201:
                answer.read_document(_ERROR_BYTES)
                return ""
            if answer.status == 202:
                answer.read_document(_ERROR_BYTES)
                return self._place(answer)
        return self._begin()  # it does not want to mount: the ordinary way

    def _begin(self) -> str:
        answer = self._session.request("POST", self._path("blobs/uploads/"), scopes=self._scopes)
        with answer:
            if answer.status != 202:
                raise self._error_of(answer)
            answer.read_document(_ERROR_BYTES)
            return self._place(answer)

    def _send(self, digest: Digest, path: str, size: int, place: str, sent: Sent) -> None:
        if size <= _AT_ONCE:
            with open(path, "rb") as file:
                data = file.read()
            self._finish(digest, place, data)
            sent(size)
            return
        limits = self._session.options.limits
        start = failures = 0
        while start < size:
            try:
                place = self._patch(path, start, size, place, sent)
                start = size
            except Unavailable:
                failures += 1
                if failures >= limits.attempts:
                    raise
                place, start = self._ask_progress(place)
        self._finish(digest, place, b"")

    def _patch(self, path: str, start: int, size: int, place: str, sent: Sent) -> str:
        """Send the bytes from start on; return where the upload goes on."""
        with ExitStack() as files:

            def body() -> _Body:
                return files.enter_context(_Body(path, start, sent))

            answer = self._session.request(
                "PATCH",
                place,
                scopes=self._scopes,
                headers={
                    "Content-Type": _OCTETS,
                    "Content-Length": str(size - start),
                    "Content-Range": f"{start}-{size - 1}",
                },
                body=body,
                tries=1,
            )
            with answer:
                if answer.status not in (201, 202, 204):
                    raise self._error_of(answer)
                answer.read_document(_ERROR_BYTES)
                return self._place(answer)

    def _ask_progress(self, place: str) -> tuple[str, int]:
        """Return where an upload that broke off goes on, and from which byte."""
        with self._session.request("GET", place, scopes=self._scopes) as answer:
            if answer.status != 204:
                raise self._error_of(answer)
            answer.read_document(_ERROR_BYTES)
            last = answer.header("Range").rpartition("-")[2]
            if not last.isdigit():
                return self._place(answer), 0
            return self._place(answer), int(last) + 1 if int(last) else 0

    def _finish(self, digest: Digest, place: str, data: bytes) -> None:
        joint = "&" if urlsplit(place).query else "?"
        answer = self._session.request(
            "PUT",
            f"{place}{joint}digest={quote(digest)}",
            scopes=self._scopes,
            headers={"Content-Type": _OCTETS},
            body=lambda: data,
        )
        with answer:
            if answer.status not in (201, 204):
                raise self._error_of(answer)
            answer.read_document(_ERROR_BYTES)

    def _place(self, answer: Answer) -> str:
        """Return the address in an answer's `Location`: bytes of ours go to the registry only."""
        target = answer.header("Location")
        if not target:
            raise Unavailable(f"registry {self._reference.domain} did not say where to upload to")
        place = urljoin(answer.url, target)
        if origin(place)[1] != origin(answer.url)[1]:
            raise InvalidArgument(f"registry {self._reference.domain} wants an upload sent to another host")
        return place

    def _path(self, rest: str) -> str:
        return f"/v2/{self._name}/{rest}"

    def _error_of(self, answer: Answer) -> Exception:
        body = answer.read_document(_ERROR_BYTES)
        return error_of(answer.status, body, reference=self._reference, what="push")


class _Body(io.RawIOBase):
    """A file from a position on, which tells how far it was read."""

    def __init__(self, path: str, start: int, sent: Sent) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._position = start
        self._sent = sent

    def read(self, size: int = -1, /) -> bytes:
        data = os.pread(self._fd, size if size >= 0 else 1 << 20, self._position)
        self._position += len(data)
        self._sent(self._position)
        return data

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
