"""Containers of a daemon: make, run, find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sampan.client.container import Container
from sampan.client.filters import Filters, encode_filters
from sampan.client.http import quote
from sampan.client.options import ContainerOptions
from sampan.client.values import Document, Finished, Pruned, as_document, as_documents, texts

if TYPE_CHECKING:
    from sampan.client.api import Client

_DEFAULT = ContainerOptions()


class Containers:
    """`client.containers`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self, image: str, command: Sequence[str] = (), options: ContainerOptions = _DEFAULT
    ) -> Container:
        """Make a container; it does not run yet.

        Raises:
            NotFound: no such image. Conflict: the name is in use. InvalidArgument: an option is wrong.
        """
        return self._create(options.to_body(image, command), options)

    def start(
        self, image: str, command: Sequence[str] = (), options: ContainerOptions = _DEFAULT
    ) -> Container:
        """Make a container, start it, and leave it running. One that cannot be started is removed again."""
        container = self.create(image, command, options)
        try:
            container.start()
        except BaseException:
            container.remove(force=True, volumes=True)
            raise
        return container

    @contextmanager
    def running(
        self, image: str, command: Sequence[str] = (), options: ContainerOptions = _DEFAULT
    ) -> Iterator[Container]:
        """Give a running container; behind the block it is removed, with its anonymous volumes."""
        container = self.start(image, command, options)
        try:
            yield container
        finally:
            container.remove(force=True, volumes=True)

    def run(
        self,
        image: str,
        command: Sequence[str] = (),
        options: ContainerOptions = _DEFAULT,
        *,
        stdin: bytes | None = None,
    ) -> Finished:
        """Make a container, run it to its end, and return what it wrote.

        Raises:
            SampanError: it could not be made or started; a container that could not be started is removed
                if auto_remove was asked for.
        """
        body = options.to_body(image, command)
        body |= {"AttachStdin": stdin is not None, "AttachStdout": True, "AttachStderr": True}
        if stdin is not None:
            body |= {"OpenStdin": True, "StdinOnce": True}
        container = self._create(body, options)
        return container.run(stdin, removed=options.auto_remove, framed=not options.tty)

    def get(self, reference: str) -> Container:
        """Return the container of that name, id, or unique start of an id.

        Raises:
            NotFound: there is none.
        """
        found = as_document(self._client.call("GET", f"/containers/{quote(reference)}/json"))
        config = as_document(found.get("Config"))
        return Container(
            client=self._client,
            id=str(found["Id"]),
            name=str(found.get("Name")).removeprefix("/"),
            image=str(config.get("Image")),
            state=str(as_document(found.get("State")).get("Status")),
            labels=texts(config.get("Labels")),
        )

    def list(
        self, *, all: bool = False, limit: int | None = None, filters: Filters | None = None
    ) -> list[Container]:
        """Return containers, newest first; only running ones unless all, limit or a filter says else."""
        query = [("all", "1")] if all else []
        query += [("limit", str(limit))] if limit is not None else []
        found = self._client.call("GET", "/containers/json", [*query, *encode_filters(filters)])
        return [self._listed(item) for item in as_documents(found)]

    def prune(self, *, filters: Filters | None = None) -> Pruned:
        """Remove every container that does not run."""
        answer = self._client.call("POST", "/containers/prune", encode_filters(filters), patient=True)
        return Pruned.read(as_document(answer), "ContainersDeleted")

    def _listed(self, item: Document) -> Container:
        names = item.get("Names")
        first = str(names[0]) if isinstance(names, list) and names else ""
        return Container(
            client=self._client,
            id=str(item["Id"]),
            name=first.removeprefix("/"),
            image=str(item.get("Image")),
            state=str(item.get("State")),
            labels=texts(item.get("Labels")),
        )

    def _create(self, body: Document, options: ContainerOptions) -> Container:
        query = [
            (key, value) for key, value in (("name", options.name), ("platform", options.platform)) if value
        ]
        made = as_document(self._client.call("POST", "/containers/create", query, body=body))
        return Container(
            client=self._client,
            id=str(made["Id"]),
            name=options.name,
            image=str(body["Image"]),
            state="created",
            labels=dict(options.labels),
        )
