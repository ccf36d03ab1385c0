"""The cache of steps in state.db: key → layer and time. docs/build.md, "Keys" and "On disk".

Layers named here stay on the disk (`store.built`). Nothing to sweep: a row is written with its layer.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from sampan.build.reusing import EarlierLayer
from sampan.ids import Digest
from sampan.spec.image import OCI_LAYER
from sampan.store.built import Built, BuiltLayer, OpenBlob, Stack, top_of
from sampan.store.database import Database, Row

COMPONENT: Final = "build"
_STEPS: Final = (
    """
    CREATE TABLE build_steps (
        key TEXT PRIMARY KEY,
        document TEXT NOT NULL,         -- what the key was made of, JSON
        line TEXT NOT NULL,             -- the instruction as it was written
        chain_id TEXT NOT NULL,         -- of the layers with this step's, "" if it made none
        diff_id TEXT NOT NULL,
        blob TEXT NOT NULL,
        blob_bytes INTEGER NOT NULL,
        created_ns INTEGER NOT NULL,
        used_ns INTEGER NOT NULL,
        uses INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX build_steps_by_line ON build_steps (line, created_ns);
    """,
    # Of the blob: a layer that came from elsewhere is compressed.
    f"ALTER TABLE build_steps ADD COLUMN media_type TEXT NOT NULL DEFAULT '{OCI_LAYER}'",
)
_EARLIER: Final = 4  # layers of one line that are looked at,
_USED: Final = 2  # and taken: records are large
_COLUMNS: Final = "chain_id, diff_id, blob, blob_bytes, created_ns, media_type"

Document = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Done:
    """What a step came to: its layer, None if it changed no file, and when that was."""

    layer: BuiltLayer | None
    created_ns: int


@dataclass(frozen=True, slots=True)
class CacheRecord:
    """One row, for listings."""

    key: str
    line: str
    chain_id: str
    size_bytes: int
    created_ns: int
    used_ns: int
    uses: int


class StepCache:
    """Results of steps by key; thread-safe."""

    def __init__(self, db: Database, built: Built) -> None:
        self._db = db
        self._built = built
        self._lock = threading.Lock()
        self._busy: dict[str, tuple[threading.Lock, int]] = {}
        self._used: list[tuple[int, str]] = []
        db.migrate(COMPONENT, _STEPS)

    def find(self, key: str, below: Stack) -> Done | None:
        """Return what a step came to, if its layer is still there; see `note_uses`."""
        row = self._db.query_one(f"SELECT {_COLUMNS} FROM build_steps WHERE key = ?", (key,))  # noqa: S608
        if row is None:
            return None
        done = _done(row)
        if done.layer is not None and not self._built.has((*below, done.layer)):
            return None
        with self._lock:
            self._used.append((time.time_ns(), key))
        return done

    def note_uses(self) -> None:
        """Record what `find` has found, in one transaction: for the end of a build."""
        with self._lock:
            used, self._used = self._used, []
        if used:
            with self._db.transaction():
                for one in used:
                    self._db.execute("UPDATE build_steps SET used_ns = ?, uses = uses + 1 WHERE key = ?", one)

    def make(
        self,
        below: Stack,
        upper: str,
        *,
        document: Document,
        line: str,
        at_ns: int | None = None,
        files: bytes = b"",
    ) -> Done:
        """Make a layer of an upper directory, and remember it under its document's key; else as `record`.

        files: what `earlier` is to give for it.
        """
        done: list[Done] = []

        def keep(layer: BuiltLayer | None) -> None:
            done.append(self.record(below, layer, document=document, line=line, at_ns=at_ns))

        self._built.add(below, upper, keep=keep, files=files)
        return done[0]

    @contextmanager
    def earlier(self, line: str) -> Iterator[Sequence[EarlierLayer]]:
        """Give layers that an instruction has made before, the latest two with a record of their files."""
        rows = self._db.query(
            "SELECT chain_id FROM build_steps WHERE line = ? AND chain_id <> '' "
            "ORDER BY created_ns DESC, used_ns DESC LIMIT ?",
            (line, _EARLIER),
        )
        layers: list[EarlierLayer] = []
        with ExitStack() as held:
            for row in rows:
                found = held.enter_context(self._built.files_of(Digest(str(row[0]))))
                if found is not None and len(layers) < _USED:
                    layers.append(EarlierLayer(*found))
            yield layers

    def take(
        self,
        below: Stack,
        layer: BuiltLayer | None,
        open_blob: OpenBlob,
        *,
        document: Document,
        line: str,
        at_ns: int,
    ) -> Done:
        """Remember what another build has come to; its layer's blob is read where it is not here.

        Raises:
            SampanError: it cannot be had, or is damaged; nothing is recorded.
        """
        done: list[Done] = []

        def keep(layer: BuiltLayer | None) -> None:
            done.append(self.record(below, layer, document=document, line=line, at_ns=at_ns))

        if layer is None:
            keep(None)
        else:
            self._built.fetch(below, layer, open_blob, keep=keep)
        return done[0]

    def place(self, below: Stack, layer: BuiltLayer, *, line: str) -> None:
        """Put a layer that was made by itself onto others, where it is not yet; else as `make`."""
        if not below:
            return
        document = {"op": "place", "below": top_of(below), "layer": layer.diff_id}
        with self.alone(key_of(document)):
            if self.find(key_of(document), below) is None:

                def keep(placed: BuiltLayer | None) -> None:
                    self.record(below, placed, document=document, line=line)

                with self._built.held((layer,)):
                    self._built.place(below, layer, keep=keep)

    def record(
        self,
        below: Stack,
        layer: BuiltLayer | None,
        *,
        document: Document,
        line: str,
        at_ns: int | None = None,
    ) -> Done:
        """Remember what a step came to. at_ns: when it shall have been, None for now."""
        now = time.time_ns()
        created = now if at_ns is None else at_ns
        chain = top_of((*below, layer)) if layer is not None else ""
        self._db.execute(
            "INSERT OR REPLACE INTO build_steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
            (
                key_of(document),
                json.dumps(document, sort_keys=True),
                line,
                chain or "",
                layer.diff_id if layer else "",
                layer.blob if layer else "",
                layer.blob_bytes if layer else 0,
                created,
                now,
                layer.media_type if layer else "",
            ),
        )
        return Done(layer, created)

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Let one build at a time make a step."""
        with self._lock:
            lock, users = self._busy.get(key, (threading.Lock(), 0))
            self._busy[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                users = self._busy[key][1] - 1
                self._busy[key] = (lock, users)
                if not users:
                    del self._busy[key]

    def explain_miss(self, document: Document, line: str) -> str:
        """Say what is different from the last time that this line was made; see `--explain-cache`."""
        row = self._db.query_one(
            "SELECT document FROM build_steps WHERE line = ? ORDER BY created_ns DESC LIMIT 1", (line,)
        )
        if row is None:
            return "never made before"
        before = json.loads(str(row[0]))
        now = json.loads(json.dumps(document))
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        return ", ".join(_difference(name, before.get(name), now.get(name)) for name in changed) or (
            "its layer was removed"
        )

    def records(self) -> list[CacheRecord]:
        """Return every record, the one used last first."""
        rows = self._db.query(
            "SELECT key, line, chain_id, blob_bytes, created_ns, used_ns, uses FROM build_steps "
            "ORDER BY used_ns DESC"
        )
        return [
            CacheRecord(str(row[0]), str(row[1]), str(row[2]), *(int(str(value)) for value in row[3:]))
            for row in rows
        ]

    def forget(self, keys: Collection[str]) -> int:
        """Forget records, and remove the layers that nothing else needs; return the bytes that were freed."""
        gone = [record for record in self.records() if record.key in keys]
        sizes = {record.chain_id: self._built.layer_size(Digest(record.chain_id)) for record in gone}
        with self._db.transaction():
            for record in gone:
                self._db.execute("DELETE FROM build_steps WHERE key = ?", (record.key,))
        kept = {record.chain_id for record in self.records()}
        chains = {record.chain_id for record in gone if record.chain_id} - kept
        removed = self._built.forget([Digest(chain) for chain in sorted(chains)])
        return sum(sizes.get(chain, 0) for chain in removed)


def key_of(document: Document) -> str:
    """Return the key of a document."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _done(row: Row) -> Done:
    _chain, diff_id, blob, size, created, media_type = row
    if not diff_id:
        return Done(None, int(str(created)))
    layer = BuiltLayer(Digest(str(diff_id)), Digest(str(blob)), int(str(size)), str(media_type))
    return Done(layer, int(str(created)))


_WORDS: Final = {
    "below": "the layers below",
    "content": "the files",
    "environment": "the environment",
    "argv": "the command",
    "accounts": "/etc/passwd or /etc/group of the target",
}


def _difference(name: str, before: object, now: object) -> str:
    what = _WORDS.get(name, name)
    if isinstance(before, list) and isinstance(now, list) and name == "environment":
        changed = sorted({str(one).partition("=")[0] for one in {*before} ^ {*now}})
        return f"{what} changed ({', '.join(changed)})"
    return f"{what} changed"
