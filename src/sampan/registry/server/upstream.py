"""Pull-through cache: what this registry has not is fetched from another one, given on, and kept.

```
 GET manifest by tag ─► upstream's digest ─► kept here? else fetched, compared, kept (upstream away: the last)
 GET blob ────────────► kept here? else a download into partial/ ─► followed by every client that wants it
                                                                 └► compared, moved to the blobs, recorded
```

A tag is always asked for: it may have moved. What is named by digest never changes and is asked for once.
Blobs that nobody wanted for a time are forgotten (`Repositories.sweep`), and fetched again when they are.
Everything here blocks; `pool` has the threads for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from sampan import log
from sampan.errors import Forbidden, NotFound, SampanError, Unauthorized
from sampan.ids import Digest, parse_digest
from sampan.registry.client import Client
from sampan.registry.credentials import NOBODY, Credentials
from sampan.registry.downloads import Download, Downloads
from sampan.registry.options import RegistryOptions
from sampan.registry.server.documents import parse_document
from sampan.registry.server.errors import RegistryError
from sampan.registry.sources import Sources
from sampan.spec.image import Descriptor
from sampan.store.archive.readable import Readable
from sampan.store.blobs import StagedBlob
from sampan.store.content_names import ContentName
from sampan.store.references import Reference, parse_reference
from sampan.store.repositories import HeldBlob, HeldManifest, Names
from sampan.store.store import Store

_THREADS: Final = 32
_DOWNLOADS: Final = 8  # blobs at once


class Upstream:
    """The registry that this one is a cache of; thread-safe."""

    def __init__(self, store: Store, address: str, credentials: Credentials = NOBODY) -> None:
        """address: `docker.io`, `host[:port]`, or with http:// in front where there is no TLS.

        Raises:
            InvalidArgument: it is no address of a registry.
        """
        host = address.removeprefix("https://").removeprefix("http://").rstrip("/")
        self.domain = parse_reference(f"{host}/name").domain
        insecure = (self.domain,) if address.startswith("http://") else ()
        self._client = Client(RegistryOptions(insecure=insecure))
        self._credentials = credentials
        self._store = store
        self._downloads = Downloads()
        self.pool = ThreadPoolExecutor(_THREADS, "upstream")
        self._fetching = ThreadPoolExecutor(_DOWNLOADS, "fetch")  # never waits for who reads
        self._keeping = threading.Lock()

    def check_namespace(self, text: str) -> None:
        """Refuse a client that wants another registry's images (containerd's `ns`); "" is any.

        Raises:
            RegistryError: it does.
        """
        if text and text != self.domain:
            raise RegistryError("NAME_UNKNOWN", f"this is a cache of {self.domain}, not of {text}")

    def bring_manifest(self, repository: str, name: str) -> None:
        """See to it that a tag or digest is here as upstream has it.

        Raises:
            RegistryError: upstream has none, or cannot be asked and nothing is here.
        """
        shelves = self._store.repositories
        if ":" in name:
            if shelves.find_manifest(repository, ContentName(name)) is None:
                with _answered():
                    self._fetch(repository, name, tags=())
            return
        known = shelves.find_tagged(repository, name)
        try:
            self._refresh(repository, name, known)
        except (NotFound, Unauthorized, Forbidden) as exc:
            raise _answer_for(exc) from exc
        except SampanError as exc:
            if known is None:
                raise _answer_for(exc) from exc
            log.warning("upstream cannot be asked", upstream=self.domain, repository=repository, reason=exc)

    def tags(self, repository: str) -> Sequence[str]:
        """Return upstream's tags, in byte order; of those here when it cannot be asked."""
        try:
            return sorted(self._sources(repository, "latest").tags())
        except (NotFound, Unauthorized, Forbidden) as exc:
            raise _answer_for(exc) from exc
        except SampanError as exc:
            log.warning("upstream cannot be asked", upstream=self.domain, repository=repository, reason=exc)
            return self._store.repositories.tags(repository)

    def catalog(self, after: str, limit: int) -> Sequence[str]:
        """Return names of upstream's repositories behind one, in byte order; -1: all of them.

        Of those here when upstream cannot be asked, or shows no list (Docker Hub does not).
        """
        found: list[str] = []
        try:
            for names in self._client.catalog(self.domain, self._credentials, last=after):
                found += names
                if 0 <= limit <= len(found):
                    break
        except SampanError as exc:
            log.info("upstream shows no catalog", upstream=self.domain, reason=exc)
            return self._store.repositories.list(after=after, limit=limit)
        return found if limit < 0 else found[:limit]

    def referrers(self, repository: str, subject: ContentName) -> Sequence[Descriptor] | None:
        """Return what refers to a manifest upstream, None when that cannot be asked."""
        try:
            return self._sources(repository, subject).referrers(parse_digest(subject))
        except (NotFound, Unauthorized, Forbidden) as exc:
            raise _answer_for(exc) from exc
        except SampanError as exc:
            log.warning("upstream cannot be asked", upstream=self.domain, repository=repository, reason=exc)
            return None

    def blob_size(self, repository: str, digest: ContentName) -> int:
        """Return the size of a blob that is not here.

        Raises:
            RegistryError: upstream does not have it.
        """
        with _answered():
            return self._sources(repository, digest).blob_size(parse_digest(digest))

    @contextmanager
    def blob(self, repository: str, digest: ContentName, *, size_bytes: int) -> Iterator[Readable]:
        """Read a blob while it comes; the whole is compared and kept. Bytes are given on before that.

        Raises:
            RegistryError: upstream does not have it.
        """
        name = parse_digest(digest)
        arrivals = self._store.arrivals
        download, is_mine = self._downloads.join(
            self._sources(repository, digest),
            name,
            size_bytes=size_bytes,
            path=arrivals.partials.path(name),
            kept_path=arrivals.blob_path(name),
        )
        try:
            if is_mine:
                self._fetching.submit(download.run)
            with _answered(), download.follow(lambda: False) as reader:
                yield reader
            self._keep(repository, download)
        finally:
            self._downloads.leave(download)

    def _keep(self, repository: str, download: Download) -> None:
        """Record a blob that has come for a repository; the first one compares it and moves it in."""
        shelves, digest = self._store.repositories, download.digest
        name = ContentName(digest)
        with self._keeping:
            if shelves.find_blob(repository, name) is not None:
                return
            there = shelves.find_blob_anywhere(name)
            if there is not None:
                shelves.mount_blob(repository, there)
                return
            try:
                download.check(lambda: False)
            except SampanError as exc:
                self._store.arrivals.partials.discard(digest)
                log.warning("upstream sent a damaged blob", upstream=self.domain, blob=digest, reason=exc)
                return
            shelves.add_blob(repository, StagedBlob(download.path, digest, download.size_bytes), name=name)

    def touch(self, repository: str, blob: HeldBlob) -> None:
        """Note that a blob was wanted."""
        self._store.repositories.touch_blob(repository, blob.digest)

    def close(self) -> None:
        """Close idle connections; downloads end with the process and go on with the next one."""
        for pool in (self._fetching, self.pool):
            pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _refresh(self, repository: str, tag: str, known: HeldManifest | None) -> None:
        digest = self._sources(repository, tag).find_digest(tag)
        if digest is not None and known is not None and known.content == digest:
            return
        if digest is not None:
            here = self._store.repositories.find_manifest(repository, ContentName(digest))
            if here is not None:
                self._store.repositories.set_tag(repository, tag, here.digest)
                return
        self._fetch(repository, digest or tag, tags=(tag,))

    def _fetch(self, repository: str, name: str, *, tags: Sequence[str]) -> None:
        found = self._sources(repository, name).get_document(name)
        document = parse_document(found.raw, content_type=found.media_type)
        held = HeldManifest(
            digest=ContentName(found.digest),
            content=found.digest,
            media_type=document.media_type,
            size_bytes=len(found.raw),
            subject=document.subject,
            artifact_type=document.artifact_type,
            annotations=document.annotations,
        )
        # What it names comes when somebody asks: no references, or the blobs would have to be here.
        self._store.repositories.add_manifest(repository, held, found.raw, names=Names(), tags=tags)

    def _sources(self, repository: str, name: str) -> Sources:
        digest: Digest | None = parse_digest(name) if ":" in name else None
        reference = Reference(self.domain, repository, "" if digest else name, digest)
        return self._client.own_sources(reference, self._credentials)


@contextmanager
def _answered() -> Iterator[None]:
    """Turn what upstream says into an answer of ours."""
    try:
        yield
    except RegistryError:
        raise
    except SampanError as exc:
        raise _answer_for(exc) from exc


def _answer_for(error: SampanError) -> RegistryError:
    match error:
        case NotFound():
            code = "BLOB_UNKNOWN" if "blob" in str(error) else "MANIFEST_UNKNOWN"
        case Unauthorized() | Forbidden():
            code = "DENIED"
        case _:
            code = "UNAVAILABLE"
    return RegistryError(code, f"upstream: {error}")
