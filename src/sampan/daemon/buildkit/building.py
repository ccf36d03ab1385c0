"""One build from a client's directories: Dockerfile first, what it ignores, then the context, then the steps.

Runs in a worker thread; what it asks of the client it asks of the session's loop.
"""

from __future__ import annotations

import base64
import json
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sampan.build.ignore import read_patterns
from sampan.build.known_digests import KnownDigests
from sampan.build.remote_context import RemoteContext, Take
from sampan.daemon.buildkit.filesync import Transfer
from sampan.daemon.buildkit.options import Sources, read_request, read_sources
from sampan.daemon.buildkit.progress import Progress
from sampan.daemon.buildkit.sessions import Session
from sampan.errors import InvalidArgument

if TYPE_CHECKING:
    from sampan.build.host import Cancel
    from sampan.engine.engine import Engine

_IGNORE: Final = ".dockerignore"
_MOST_DOCUMENT: Final = 8 << 20
_HUB: Final = "docker.io"
_HUB_HOST: Final = "registry-1.docker.io"  # what clients know Docker Hub's credentials by


class Builder:
    """Builds for one call of `LLBBridge/Solve`."""

    def __init__(self, engine: Engine, session: Session, progress: Progress, cancel: Cancel) -> None:
        self._engine = engine
        self._session = session
        self._progress = progress
        self._cancel = cancel

    def build(self, options: Mapping[str, str], *, tags: Sequence[str], entitlements: Sequence[str]) -> str:
        """Build, and return the image's id.

        Raises:
            SampanError: as `engine.builds.build`. GRPCError: the client refuses something.
            ConnectionError: it has gone.
        """
        sources = read_sources(options)
        request = read_request(options, dockerfile=sources.dockerfile, tags=tags, entitlements=entitlements)
        request = replace(request, registry_auth=self._auth)
        name, documents = self._load_dockerfile(sources)
        exclude = self._load_ignore(sources, name, documents)
        with self._open_context(sources, exclude, documents) as context:
            return self._engine.builds.build_in(
                request,
                context,
                output=self._progress,
                cancel=self._cancel,
                begin=lambda: None,
                watcher=self._progress,
            )

    def _auth(self, domain: str) -> str:
        """Return the value of `X-Registry-Auth` for a registry, by the client's credentials."""
        user, secret = self._session.wait(self._session.credentials(_HUB_HOST if domain == _HUB else domain))
        if not secret:
            return ""
        fields = {"username": user, "password": secret} if user else {"identitytoken": secret}
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()

    def _load_dockerfile(self, sources: Sources) -> tuple[str, dict[str, bytes]]:
        """Return the name that the Dockerfile is found by, and it with its own list of what is ignored."""
        name = sources.dockerfile
        wanted = [name, f"{name}{_IGNORE}"]
        lower = posixpath.join(posixpath.dirname(name), posixpath.basename(name).lower())
        if posixpath.basename(name) == "Dockerfile":
            wanted.append(lower)
        with self._progress.node(f"[internal] load build definition from {posixpath.basename(name)}") as node:
            found = self._documents(sources.dockerfile_directory, wanted, node)
        if name not in found and lower in found:
            name = lower
        if name not in found:
            raise InvalidArgument(
                f"failed to read dockerfile: open {sources.dockerfile}: no such file or directory"
            )
        return name, {sources.dockerfile: found[name], **found}

    def _load_ignore(self, sources: Sources, name: str, documents: Mapping[str, bytes]) -> list[str]:
        own = f"{name}{_IGNORE}"
        if own in documents:
            return read_patterns(documents[own], file=own)
        with self._progress.node("[internal] load .dockerignore") as node:
            found = self._documents(sources.context_directory, [_IGNORE], node)
        return read_patterns(found[_IGNORE]) if _IGNORE in found else []

    def _documents(self, directory: str, names: Sequence[str], node: str) -> dict[str, bytes]:
        """Return those of a few small files that are there."""
        found: dict[str, bytes] = {}
        with self._reading(directory, follow=names) as source:
            items = [
                (number, item)
                for number, item in enumerate(source.transfer.items)
                if item is not None and item.path in names and item.entry.size
            ]
            for _, item in items:
                if item.entry.size > _MOST_DOCUMENT:
                    raise InvalidArgument(f"{item.path} is larger than {_MOST_DOCUMENT >> 20} MiB")
            found = {
                item.path: b"" for item in source.transfer.items if item is not None and item.path in names
            }
            names_of = {number: item.path for number, item in items}

            def take(number: int, data: bytes) -> None:
                found[names_of[number]] += data

            source.fetch(list(names_of), take)
        size = sum(len(data) for data in found.values())
        self._progress.count(node, f"transferring {directory}:", current=size, done=True)
        return found

    @contextmanager
    def _open_context(
        self, sources: Sources, exclude: Sequence[str], documents: Mapping[str, bytes]
    ) -> Iterator[RemoteContext]:
        """Open the context; its files can be had until the block ends."""
        known = self._known(sources.context_directory)
        with self._reading(sources.context_directory, exclude=exclude) as source:
            with self._progress.node("[internal] load build context") as node:

                def show(current: int) -> None:
                    self._progress.count(node, "transferring context:", current=current)

                source.show = show
                context = RemoteContext(
                    source.transfer.items,
                    source,
                    known,
                    spool=self._engine.builds.spool_path(),
                    documents=documents,
                )
                self._progress.count(node, "transferring context:", current=context.size_bytes, done=True)
                source.show = None
            with context:
                yield context

    def _known(self, directory: str) -> KnownDigests:
        key = self._session.shared_key
        return self._engine.builds.known_digests(f"{key}\n{directory}" if key else "")

    @contextmanager
    def _reading(
        self, directory: str, *, follow: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Iterator[_Reading]:
        session = self._session
        transfer = session.wait(session.open_directory(directory, follow=follow, exclude=exclude))
        try:
            yield _Reading(session, transfer)
        finally:
            session.wait(transfer.close())


class _Reading:
    """A transfer as a thread uses it; a `remote_context.Source`. show: is told how many bytes have come."""

    def __init__(self, session: Session, transfer: Transfer) -> None:
        self._session = session
        self.transfer = transfer
        self.show: Callable[[int], None] | None = None

    def fetch(self, numbers: Sequence[int], take: Take) -> None:
        """See `Source`."""
        size = shown = 0

        def count(number: int, data: bytes) -> None:
            nonlocal size, shown
            take(number, data)
            size += len(data)
            if self.show is not None and size - shown > _SHOWN_EVERY:
                shown = size
                self.show(size)

        if numbers:
            self._session.wait(self.transfer.fetch(numbers, count))


_SHOWN_EVERY: Final = 1 << 20
