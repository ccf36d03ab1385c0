"""Unpacked layers, shared by all images and containers that have them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from sampan.errors import InvalidArgument
from sampan.ids import Digest, digest_hex
from sampan.kernel.files import sync_file_system
from sampan.lean import Undo
from sampan.store.archive.feed import Feed
from sampan.store.archive.readable import Readable
from sampan.store.archive.unpack import Unpacked, unpack
from sampan.store.blobs import Blobs
from sampan.store.database import Database
from sampan.store.inherit import inherit_attributes
from sampan.store.model import Progress, ProgressCallback
from sampan.store.pins import Pins
from sampan.store.places import Places
from sampan.store.trees import remove_tree

_AT_ONCE = 2  # layers unpacked at the same time; each has a thread that inflates and one that writes
_REPORT_BYTES = 4 << 20


class BlobSource(Protocol):
    """Where layers are read from: the store's blobs, or a registry's that still arrive."""

    def open(self, digest: Digest) -> AbstractContextManager[Readable]:
        """Open a blob from its beginning; reading may wait, and raise what keeps the rest away."""
        ...

    def size(self, digest: Digest) -> int:
        """Return the bytes that a blob has when it is whole."""
        ...


@dataclass(frozen=True, slots=True)
class LayerSource:
    """A layer of an image, and the blob it is unpacked from."""

    chain_id: Digest
    diff_id: Digest
    parent: Digest | None
    blob: Digest


@dataclass(frozen=True, slots=True)
class _Record:
    number: int
    parent: Digest | None
    size_bytes: int
    hides_below: bool


class LayerLease:
    """Keeps layers on the disk until `release`; use it in a `with`."""

    def __init__(self, pins: Pins, chain: Sequence[Digest], lower: Sequence[str]) -> None:
        self._pins = pins
        self._chain: Sequence[Digest] = chain
        self.lower = tuple(lower)  # directories, lowest first

    def release(self) -> None:
        """Let go; may be called twice."""
        self._pins.drop(self._chain)
        self._chain = ()

    def __enter__(self) -> LayerLease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Layers:
    """All unpacked layers; thread-safe."""

    def __init__(self, places: Places, db: Database, blobs: Blobs, pins: Pins) -> None:
        self._places = places
        self._db = db
        self._blobs = blobs
        self._pins = pins
        self._records = self._read_records()
        self._busy: dict[Digest, tuple[threading.Lock, int]] = {}
        self._busy_lock = threading.Lock()

    def ensure(
        self,
        sources: Sequence[LayerSource],
        *,
        progress: ProgressCallback | None = None,
        blobs: BlobSource | None = None,
    ) -> LayerLease:
        """Unpack what is missing of a chain of layers, lowest first, and pin all of them.

        blobs: where they are read from, by default the store's own.
        The same layer wanted twice at once is unpacked once: the second waits.

        Raises:
            InvalidArgument: a layer is damaged or hostile, or is not the one its diff id names.
        """
        chain = [source.chain_id for source in sources]
        self._pins.add(chain)
        try:
            missing = [source for source in sources if source.chain_id not in self._records]
            if missing:
                self._unpack_missing(missing, blobs or self._blobs, progress)
            return LayerLease(self._pins, chain, self.lower(chain[-1] if chain else None))
        except BaseException:
            self._pins.drop(chain)
            raise

    def directory(self, chain_id: Digest) -> str:
        """Return the (short) path of an unpacked layer's files."""
        return f"{self._places.links}/{self._records[chain_id].number}"

    def adopt(self, source: LayerSource, staged: str, unpacked: Unpacked) -> None:
        """Take in a layer that was unpacked beside: staged is a directory in `tmp/` with its `diff`.

        The caller has a pin on the chain, and its parent is unpacked. One that is here already stays.
        """
        with self._alone(source.chain_id):
            if source.chain_id not in self._records:
                self._complete([source], {source.chain_id: staged}, [unpacked])
                self._record([source], {source.chain_id: staged}, [unpacked])

    def size(self, chain_id: Digest) -> int:
        """Return the bytes of a layer's files; 0 if it is not unpacked."""
        record = self._records.get(chain_id)
        return record.size_bytes if record else 0

    def chain(self, top: Digest | None) -> list[Digest]:
        """Return the chain ids from the lowest to top, of layers that are unpacked."""
        chain: list[Digest] = []
        while top is not None:
            chain.append(top)
            top = self._records[top].parent
        return chain[::-1]

    def lower(self, top: Digest | None) -> list[str]:
        """Return the directories that make up the tree of a chain, lowest first: down to an opaque root."""
        directories: list[str] = []
        for chain_id in reversed(self.chain(top)):
            directories.append(self.directory(chain_id))
            if self._records[chain_id].hides_below:
                break
        return directories[::-1]

    def known(self) -> set[Digest]:
        """Return the chain ids of all unpacked layers."""
        return set(self._records)

    def forget(self, chain_ids: Iterable[Digest]) -> list[str]:
        """Drop the records of layers; return the temporary directories that hold them now, to be removed.

        The caller holds `Pins.lock` and has seen that nothing needs them.
        """
        doomed = []
        chain_ids = list(chain_ids)
        with self._db.transaction(durable=True):
            for chain_id in chain_ids:
                self._db.execute("DELETE FROM layers WHERE chain_id = ?", (chain_id,))
        for chain_id in chain_ids:
            record = self._records.pop(chain_id)
            _unlink(f"{self._places.links}/{record.number}")
            doomed.append(self._places.new_temporary("layer"))
            os.rename(self._places.layer(chain_id), doomed[-1])
        return doomed

    def sweep(self) -> list[str]:
        """Move directories and links that no record knows away; return the places where they lie now."""
        doomed = []
        directories = {digest_hex(chain_id) for chain_id in self._records} | {"scratch"}
        for name in set(os.listdir(self._places.layers)) - directories:
            doomed.append(self._places.new_temporary("layer"))
            os.rename(f"{self._places.layers}/{name}", doomed[-1])
        numbers = {str(record.number) for record in self._records.values()}
        for name in set(os.listdir(self._places.links)) - numbers:
            os.unlink(f"{self._places.links}/{name}")
        for chain_id, record in self._records.items():
            self._link(chain_id, record.number)
        return doomed

    def _read_records(self) -> dict[Digest, _Record]:
        rows = self._db.query("SELECT chain_id, number, parent, size_bytes, hides_below FROM layers")
        return {
            Digest(str(chain_id)): _Record(
                int(str(number)),
                None if parent is None else Digest(str(parent)),
                int(str(size)),
                hides_below == 1,
            )
            for chain_id, number, parent, size, hides_below in rows
        }

    def _unpack_missing(
        self, missing: Sequence[LayerSource], blobs: BlobSource, progress: ProgressCallback | None
    ) -> None:
        with ExitStack() as stack:
            for source in missing:  # lowest first, as everybody: no two can wait for each other
                stack.enter_context(self._alone(source.chain_id))
            missing = [source for source in missing if source.chain_id not in self._records]
            staged = {source.chain_id: self._places.new_temporary("layer") for source in missing}
            for path in staged.values():
                stack.callback(remove_tree, path)
            unpacked = self._unpack_all(missing, staged, blobs, progress)
            self._complete(missing, staged, unpacked)
            self._record(missing, staged, unpacked)

    @contextmanager
    def unpacked_anew(self, source: LayerSource) -> Iterator[tuple[str, frozenset[bytes]]]:
        """Unpack a layer once more, aside; give the directory, and which of its directories have no entry.

        Raises:
            InvalidArgument: its blob is damaged.
        """
        staged = self._places.new_temporary("layer")
        try:
            result = self._unpack_one(source, staged, self._blobs, None)
            inherit = [self.directory(chain_id) for chain_id in self._below(source, [])]
            inherit_attributes(f"{staged}/diff", result.unnamed, inherit)
            yield f"{staged}/diff", result.unnamed
        finally:
            remove_tree(staged)

    @contextmanager
    def _alone(self, chain_id: Digest) -> Iterator[None]:
        """Let one thread at a time make a layer."""
        with self._busy_lock:
            lock, users = self._busy.get(chain_id, (threading.Lock(), 0))
            self._busy[chain_id] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._busy_lock:
                users = self._busy[chain_id][1] - 1
                self._busy[chain_id] = (lock, users)
                if not users:
                    del self._busy[chain_id]

    def _unpack_all(
        self,
        missing: Sequence[LayerSource],
        staged: dict[Digest, str],
        blobs: BlobSource,
        progress: ProgressCallback | None,
    ) -> list[Unpacked]:
        with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="unpack") as pool:
            work = [
                pool.submit(self._unpack_one, source, staged[source.chain_id], blobs, progress)
                for source in missing
            ]
            try:
                return [future.result() for future in work]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _unpack_one(
        self, source: LayerSource, path: str, blobs: BlobSource, progress: ProgressCallback | None
    ) -> Unpacked:
        os.mkdir(path, 0o700)
        os.mkdir(f"{path}/diff", 0o755)
        with blobs.open(source.blob) as blob, Feed(blob) as feed, _directory(f"{path}/diff") as root_fd:
            os.fchmod(root_fd, 0o755)  # whatever the umask
            read = _reporting(feed, source, blobs.size(source.blob), progress)
            result = unpack(read, root_fd, spool_directory=self._places.temporary)
            feed.drain()
            _check_digest("layer", source.diff_id, feed.plain_digest)
            _check_digest("blob", source.blob, feed.input_digest)
        return result

    def _complete(
        self, missing: Sequence[LayerSource], staged: dict[Digest, str], unpacked: Sequence[Unpacked]
    ) -> None:
        """Give directories that an archive does not name the attributes they have below."""
        for source, result in zip(missing, unpacked, strict=True):
            below = [
                f"{staged[chain_id]}/diff" if chain_id in staged else self.directory(chain_id)
                for chain_id in self._below(source, missing)
            ]
            inherit_attributes(f"{staged[source.chain_id]}/diff", result.unnamed, below)

    def _below(self, source: LayerSource, missing: Sequence[LayerSource]) -> list[Digest]:
        """Return the chain ids below a layer, the next one first."""
        parents = {one.chain_id: one.parent for one in missing}
        below: list[Digest] = []
        parent = source.parent
        while parent is not None:
            below.append(parent)
            parent = parents[parent] if parent in parents else self._records[parent].parent
        return below

    def _record(
        self, missing: Sequence[LayerSource], staged: dict[Digest, str], unpacked: Sequence[Unpacked]
    ) -> None:
        """Put finished layers in their places: all content is on the disk before any record says so."""
        with _directory(self._places.layers) as fd, Undo() as undo:
            sync_file_system(fd)
            for source in missing:
                place = self._places.layer(source.chain_id)
                os.rename(staged[source.chain_id], place)
                undo.add(os.rename, place, staged[source.chain_id])
            os.fsync(fd)
            records = {}
            with self._db.transaction():
                for source, result in zip(missing, unpacked, strict=True):
                    records[source.chain_id] = self._insert(source, result)
            undo.commit()
        self._records.update(records)

    def _insert(self, source: LayerSource, result: Unpacked) -> _Record:
        self._db.execute(
            "INSERT INTO layers (chain_id, parent, size_bytes, hides_below) VALUES (?, ?, ?, ?)",
            (source.chain_id, source.parent, result.size_bytes, int(result.hides_below)),
        )
        row = self._db.query_one("SELECT number FROM layers WHERE chain_id = ?", (source.chain_id,))
        assert row is not None  # inserted above
        number = int(str(row[0]))
        self._link(source.chain_id, number)
        return _Record(number, source.parent, result.size_bytes, result.hides_below)

    def _link(self, chain_id: Digest, number: int) -> None:
        link, target = f"{self._places.links}/{number}", f"../layers/{digest_hex(chain_id)}/diff"
        try:
            if os.readlink(link) == target:
                return
            os.unlink(link)
        except FileNotFoundError:
            pass
        os.symlink(target, link)


@contextmanager
def _directory(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _check_digest(what: str, wanted: Digest, actual: Digest) -> None:
    if wanted != actual:
        raise InvalidArgument(f"{what} {wanted} is damaged: its content has digest {actual}")


def _reporting(
    feed: Feed, source: LayerSource, total_bytes: int, progress: ProgressCallback | None
) -> Callable[[], bytes]:
    """Return feed's `read_chunk` with a report every few MiB."""
    if progress is None:
        return feed.read_chunk
    short = digest_hex(source.diff_id)[:12]
    reported = 0

    def read_chunk() -> bytes:
        nonlocal reported
        chunk = feed.read_chunk()
        if not chunk:
            progress(Progress(short, "done", total_bytes, total_bytes))
        elif feed.input_bytes - reported >= _REPORT_BYTES:
            reported = feed.input_bytes
            progress(Progress(short, "unpacking", reported, total_bytes))
        return chunk

    return read_chunk


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
