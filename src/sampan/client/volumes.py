"""Volumes of a daemon."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sampan.client.filters import Filters, encode_filters
from sampan.client.http import quote
from sampan.client.values import Document, Pruned, as_document, as_documents, texts
from sampan.errors import NotFound

if TYPE_CHECKING:
    from sampan.client.api import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One volume as it was when it was asked for."""

    name: str
    driver: str
    mountpoint: str
    labels: Mapping[str, str]
    client: Client = field(repr=False, compare=False)

    def inspect(self) -> Document:
        """Return everything the daemon knows about it."""
        return as_document(self.client.call("GET", f"/volumes/{quote(self.name)}"))

    def remove(self, *, force: bool = False) -> None:
        """Remove it and what it holds; force makes a missing one no error.

        Raises:
            Conflict: a container uses it.
        """
        query = [("force", "1")] if force else []
        try:
            self.client.call("DELETE", f"/volumes/{quote(self.name)}", query, patient=True)
        except NotFound:
            if not force:
                raise

    def export(self) -> Iterator[bytes]:
        """Yield the pieces of a tar archive of its content (sampand only)."""
        response = self.client.open_stream("GET", f"/sampan/v1/volumes/{quote(self.name)}/export")
        try:
            while piece := response.read_some():
                yield piece
        finally:
            response.close()

    def import_(self, archive: Iterable[bytes]) -> None:
        """Unpack the pieces of a tar archive over its content (sampand only).

        Raises:
            InvalidArgument: the archive is damaged, or leaves the volume.
        """
        self.client.open_stream(
            "POST",
            f"/sampan/v1/volumes/{quote(self.name)}/import",
            chunks=archive,
            headers=[("Content-Type", "application/x-tar")],
        ).close()


class Volumes:
    """`client.volumes`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        driver_options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume, or return the one of that name; without a name the daemon chooses one.

        Raises:
            Conflict: there is one of that name, made otherwise.
        """
        body: Document = {
            "Name": name,
            "Driver": driver,
            "DriverOpts": dict(driver_options or {}),
            "Labels": dict(labels or {}),
        }
        return self._volume(as_document(self._client.call("POST", "/volumes/create", body=body)))

    @contextmanager
    def temporary(
        self,
        *,
        driver: str = "local",
        driver_options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Iterator[Volume]:
        """Give a new volume; behind the block it is removed."""
        volume = self.create(driver=driver, driver_options=driver_options, labels=labels)
        try:
            yield volume
        finally:
            volume.remove(force=True)

    def get(self, name: str) -> Volume:
        """Return the volume of that name.

        Raises:
            NotFound: there is none.
        """
        return self._volume(as_document(self._client.call("GET", f"/volumes/{quote(name)}")))

    def list(self, *, filters: Filters | None = None) -> list[Volume]:
        """Return volumes by name."""
        found = as_document(self._client.call("GET", "/volumes", encode_filters(filters)))
        return [self._volume(item) for item in as_documents(found.get("Volumes"))]

    def prune(self, *, all: bool = False, filters: Filters | None = None) -> Pruned:
        """Remove every anonymous volume that no container uses; all: those with names too."""
        wanted = {**(filters or {}), **({"all": ["true"]} if all else {})}
        answer = self._client.call("POST", "/volumes/prune", encode_filters(wanted), patient=True)
        return Pruned.read(as_document(answer), "VolumesDeleted")

    def _volume(self, item: Document) -> Volume:
        return Volume(
            client=self._client,
            name=str(item["Name"]),
            driver=str(item.get("Driver")),
            mountpoint=str(item.get("Mountpoint")),
            labels=texts(item.get("Labels")),
        )
