"""One image name and all servers that may have it: mirrors first, the registry itself last.

What a mirror does not have, refuses or breaks off is asked of the next one. A mirror that could not be
reached is left out for the rest of the pull.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from sampan import log
from sampan.errors import SampanError
from sampan.ids import Digest
from sampan.registry.listings import read_referrers
from sampan.registry.options import RegistryOptions
from sampan.registry.repository import Document, Repository
from sampan.registry.transport import Answer, ConnectFailed
from sampan.spec.image import Descriptor
from sampan.store.references import Reference

T = TypeVar("T")


class Sources:
    """The repositories that a name may be read from, the one to believe in the end last; thread-safe."""

    def __init__(self, reference: Reference, repositories: Sequence[Repository]) -> None:
        self._reference = reference
        self._repositories = repositories
        self._gone: set[Repository] = set()
        self._lock = threading.Lock()

    @property
    def reference(self) -> Reference:
        """What was asked for."""
        return self._reference

    @property
    def options(self) -> RegistryOptions:
        """The client's settings."""
        return self._repositories[-1].session.options

    def find_digest(self, name: str) -> Digest | None:
        """Return the digest that a tag has, or None if nobody tells it (`Repository.find_digest`)."""
        for repository in self._asked(name)[:-1]:
            try:
                found = repository.find_digest(name)
            except SampanError as exc:
                self._failed(repository, exc)
                continue
            if found is not None:
                return found
        return self._repositories[-1].find_digest(name)

    def get_document(self, name: str) -> Document:
        """Return the manifest or index of a tag or digest (`Repository.get_document`)."""
        return self._first(self._asked(name), lambda one: one.get_document(name))

    def get_blob(self, digest: Digest, *, size_bytes: int) -> bytes:
        """Return a small blob, compared with its digest and size (`Repository.get_blob`)."""
        return self._first(self._asked(digest), lambda one: one.get_blob(digest, size_bytes=size_bytes))

    def blob_size(self, digest: Digest) -> int:
        """Return the size of a blob (`Repository.blob_size`)."""
        return self._first(self._asked(digest), lambda one: one.blob_size(digest))

    def open_blob(self, digest: Digest, *, offset: int = 0, tries: int = 0, failures: int = 0) -> Answer:
        """Open a blob (`Repository.open_blob`); after failures in its midst the next server is asked."""
        asked = self._asked(digest)
        return self._first(
            asked[min(failures, len(asked) - 1) :],
            lambda one: one.open_blob(digest, offset=offset, tries=tries),
        )

    def tags(self) -> list[str]:
        """Return every tag: the registry's own word."""
        return self._repositories[-1].tags()

    def referrers(self, subject: Digest) -> list[Descriptor]:
        """Return what refers to a manifest: the registry's own word."""
        return read_referrers(self._repositories[-1], subject)

    def _asked(self, name: str) -> list[Repository]:
        """Return who is asked for a tag or digest; never empty: the last one always is."""
        is_tag = ":" not in name
        return [
            one
            for one in self._repositories
            if one is self._repositories[-1]
            or (one not in self._gone and (one.session.route.resolves or not is_tag))
        ]

    def _first(self, asked: Sequence[Repository], call: Callable[[Repository], T]) -> T:
        failures: list[str] = []
        for repository in asked[:-1]:
            try:
                return call(repository)
            except SampanError as exc:
                self._failed(repository, exc)
                failures.append(f"{repository.session.route.authority}: {exc}")
        try:
            return call(asked[-1])
        except SampanError as exc:
            if failures and not exc.hint:
                exc.hint = f"before that, {'; '.join(failures)}"
            raise

    def _failed(self, repository: Repository, error: SampanError) -> None:
        if isinstance(error, ConnectFailed):
            with self._lock:
                self._gone.add(repository)
        log.info(
            "mirror passed over",
            server=repository.session.route.authority,
            image=self._reference.familiar,
            reason=error,
        )
