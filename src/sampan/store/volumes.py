"""Volumes: directories with names, kept in state.db with who uses them. docs/volumes.md.

A volume of another driver than `local` has a row here and its files elsewhere. What a crash leaves is put
right when the store opens (`_recover`) and by the engine, which knows the containers (`sweep`).
"""

from __future__ import annotations

import errno
import json
import os
import re
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from sampan import log
from sampan.errors import Conflict, InvalidArgument, NotFound
from sampan.kernel.projectquota import set_project_quota
from sampan.lean import Undo
from sampan.store.database import Database, Row
from sampan.store.places import Places
from sampan.store.trees import remove_tree, tree_size
from sampan.store.volume_mounts import unmount_volume
from sampan.store.volume_options import LocalOptions, parse_local_options

LOCAL: Final = "local"
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_MAX_NAME: Final = 255  # NAME_MAX (limits.h)
_COLUMNS: Final = "name, driver, created_ns, labels, options"
_STEPS: Final = (
    """
    CREATE TABLE volumes (
        name TEXT PRIMARY KEY,
        driver TEXT NOT NULL,
        created_ns INTEGER NOT NULL,
        labels TEXT NOT NULL,                   -- JSON objects
        options TEXT NOT NULL,
        made_for TEXT NOT NULL DEFAULT '',      -- a container that is still being made: gone if that is
        removing INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE volume_users (
        name TEXT NOT NULL REFERENCES volumes,  -- so a volume in use cannot go
        container_id TEXT NOT NULL,
        PRIMARY KEY (name, container_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX volume_users_by_container ON volume_users (container_id);
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One volume. path: its directory, "" for another driver's. options, labels: as given at create."""

    name: str
    driver: str
    created_ns: int
    path: str
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def local(self) -> LocalOptions:
        """What the options mean to the driver `local`."""
        return parse_local_options(self.options) if self.driver == LOCAL else LocalOptions()


List = list[Volume]  # inside the class, `list` is the method


def check_volume_name(name: str) -> None:
    """Refuse what cannot be the name of a local volume.

    Raises:
        InvalidArgument: in Docker's words.
    """
    if len(name) == 1:
        raise InvalidArgument(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if _NAME.fullmatch(name) is None or len(name) > _MAX_NAME:
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )


class Volumes:
    """All volumes of a data root; thread-safe. Making and removing hold one lock, but not while files go."""

    def __init__(self, places: Places, db: Database) -> None:
        self._places = places
        self._db = db
        self._lock = threading.RLock()
        db.migrate("volumes", _STEPS)
        self._recover()

    # Look-ups

    def find(self, name: str) -> Volume | None:
        """Return a volume, None if there is none."""
        row = self._db.query_one(
            f"SELECT {_COLUMNS} FROM volumes WHERE name = ? AND NOT removing",  # noqa: S608 -- constants
            (name,),
        )
        return None if row is None else self._volume(row)

    def get(self, name: str) -> Volume:
        """Return a volume.

        Raises:
            NotFound: `get X: no such volume`.
        """
        found = self.find(name)
        if found is None:
            raise NotFound(f"get {name}: no such volume")
        return found

    def list(self) -> List:
        """Return all volumes, by name."""
        rows = self._db.query(f"SELECT {_COLUMNS} FROM volumes WHERE NOT removing ORDER BY name")  # noqa: S608
        return [self._volume(row) for row in rows]

    def path(self, name: str) -> str:
        """Return the directory of a local volume, whether it exists or not; the name has been checked."""
        return f"{self._places.volumes}/{name}/_data"

    def users(self, name: str) -> Sequence[str]:
        """Return the ids of the containers that have a volume, running or not."""
        sql = "SELECT container_id FROM volume_users WHERE name = ? ORDER BY container_id"
        return [str(row[0]) for row in self._db.query(sql, (name,))]

    def user_counts(self) -> dict[str, int]:
        """Return how many containers have each volume; one that none has is left out."""
        rows = self._db.query("SELECT name, count(*) FROM volume_users GROUP BY name")
        return {str(name): int(str(count)) for name, count in rows}

    def usage(self, name: str) -> int:
        """Return the bytes of all files of a local volume; hard links once, mounts inside not at all.

        -1: not known here, as it is another driver's or a mount.

        Raises:
            NotFound: no such volume.
        """
        volume = self.get(name)
        if volume.driver != LOCAL or volume.local.mount is not None:
            return -1
        try:
            return tree_size(volume.path)
        except FileNotFoundError:
            return 0

    # Making

    def create(
        self,
        name: str,
        *,
        driver: str = LOCAL,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        user: str = "",
    ) -> tuple[Volume, bool]:
        """Return the volume of a name, made if there was none, and whether it was made now.

        user: a container that is being made. It has the volume from now on, and a volume made now goes with
        it until `settle`.

        Raises:
            InvalidArgument: a bad name or option, a quota where the file system keeps none.
            Conflict: another driver's volume has the name.
        """
        with self._lock:
            self._finish_marked(name)
            with self._db.transaction():
                found = self._find_for(name, driver)
                if found is not None:
                    self._use(name, user)
                    return found, False
                if driver == LOCAL:
                    check_volume_name(name)
                self._insert(name, driver, labels or {}, options or {}, user)
            with Undo() as undo:
                undo.add(self.forget, name)
                volume = self.get(name)
                if driver == LOCAL:
                    self._make_directory(volume)
                undo.commit()
            return volume, True

    def _find_for(self, name: str, driver: str) -> Volume | None:
        found = self.find(name)
        if found is not None and found.driver != driver:
            raise Conflict(
                f"create {name}: driver '{found.driver}' already has volume '{name}': "
                "volume name must be unique"
            )
        return found

    def _insert(
        self, name: str, driver: str, labels: Mapping[str, str], options: Mapping[str, str], user: str
    ) -> None:
        if driver == LOCAL:
            parse_local_options(options)
        values = (name, driver, time.time_ns(), _encode(labels), _encode(options), user)
        with self._db.transaction():
            self._db.execute(f"INSERT INTO volumes ({_COLUMNS}, made_for) VALUES (?, ?, ?, ?, ?, ?)", values)  # noqa: S608
            self._use(name, user)

    def _use(self, name: str, user: str) -> None:
        if user:
            self._db.execute("INSERT OR IGNORE INTO volume_users VALUES (?, ?)", (name, user))

    def _make_directory(self, volume: Volume) -> None:
        """Make `<name>/_data` as a whole: in `tmp/`, then renamed."""
        staged = self._places.new_temporary("volume")
        with Undo() as undo:
            undo.add(remove_tree, staged)
            os.mkdir(staged, 0o700)
            data = f"{staged}/_data"
            os.mkdir(data)
            os.chmod(data, 0o755)  # noqa: S103 -- what a container sees; the folders above are 0700
            options = volume.local
            if options.uid is not None or options.gid is not None:
                os.chown(
                    data,
                    -1 if options.uid is None else options.uid,
                    -1 if options.gid is None else options.gid,
                )
            if options.quota_bytes:
                _set_quota(data, options.quota_bytes)
            try:
                os.rename(staged, f"{self._places.volumes}/{volume.name}")
            except OSError as exc:
                raise Conflict(f"create {volume.name}: {volume.path} is in the way: {exc.strerror}") from exc
            undo.commit()

    @contextmanager
    def staged(self, name: str) -> Iterator[str]:
        """Yield an empty directory that takes the place of a local volume's empty one when the block is done.

        If the volume is not empty any more by then, what was staged is dropped.
        """
        staged = self._places.new_temporary("copy-up")
        os.mkdir(staged, 0o700)
        try:
            data = f"{staged}/_data"
            os.mkdir(data, 0o755)
            yield data
            try:
                os.rename(data, self.path(name))
            except OSError as exc:
                if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
        finally:
            remove_tree(staged)

    # Users

    def settle(self, container_id: str) -> None:
        """A container has been recorded: what was made for it no longer hangs on its making."""
        self._db.execute("UPDATE volumes SET made_for = '' WHERE made_for = ?", (container_id,))

    def release(self, container_id: str) -> None:
        """A container is gone: it has no volume any more."""
        self._db.execute("DELETE FROM volume_users WHERE container_id = ?", (container_id,))

    def undo_making(self, container_id: str) -> Sequence[Volume]:
        """A container was not made after all: forget it, and mark the volumes that were made for it.

        Return them, for `finish_removal`; one that another container has got meanwhile stays.
        """
        with self._lock, self._db.transaction():
            self.release(container_id)
            rows = self._db.query("SELECT name FROM volumes WHERE made_for = ?", (container_id,))
            gone = [volume for row in rows if (volume := self.mark_removed(str(row[0]))) is not None]
            self.settle(container_id)
        return gone

    # Removing

    def remove(self, name: str) -> Volume:
        """Forget a volume that nobody has, synced; its files go by `finish_removal`.

        Raises:
            NotFound: there is none. Conflict: `remove X: volume is in use - [ids]`.
        """
        with self._lock, self._db.transaction(durable=True):
            volume = self.get(name)
            if self.mark_removed(name) is None:
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(self.users(name))}]")
        return volume

    def mark_removed(self, name: str) -> Volume | None:
        """Mark a volume that nobody has as gone; None: there is none, or somebody has it.

        In the caller's transaction, if there is one; no lock of ours is taken, so any order of locks is fine.
        """
        with self._db.transaction():
            volume = self.find(name)
            if volume is None or self.users(name):
                return None
            self._db.execute("UPDATE volumes SET removing = 1 WHERE name = ?", (name,))
        return volume

    def unmark(self, name: str) -> None:
        """A marked volume could not be removed: it is there again."""
        self._db.execute("UPDATE volumes SET removing = 0 WHERE name = ?", (name,))

    def finish_removal(self, name: str) -> None:
        """Delete what a marked volume has on the disk; may be run again after a crash."""
        doomed = self._detach(name)
        if doomed:
            remove_tree(doomed)

    def _detach(self, name: str) -> str:
        """Move a marked volume's files to `tmp/` and forget it; "" if it is not marked."""
        doomed = self._places.new_temporary("removed-volume")
        with self._lock:
            row = self._db.query_one("SELECT removing FROM volumes WHERE name = ?", (name,))
            if row is None or not row[0]:
                return ""
            unmount_volume(self.path(name))  # a crash may have left it mounted
            try:
                os.rename(f"{self._places.volumes}/{name}", doomed)
            except FileNotFoundError:
                pass
            self.forget(name)
        return doomed

    def _finish_marked(self, name: str) -> None:
        """Get a local volume that is being removed out of the way of a new one of its name."""
        row = self._db.query_one("SELECT driver FROM volumes WHERE name = ? AND removing", (name,))
        if row is None:
            return
        if row[0] != LOCAL:
            raise Conflict(f"create {name}: a volume of that name is just being removed")
        self.finish_removal(name)

    def forget(self, name: str) -> None:
        """Forget a volume, as if it had never been; its files, if any, stay."""
        with self._db.transaction():
            self._db.execute("DELETE FROM volume_users WHERE name = ?", (name,))
            self._db.execute("DELETE FROM volumes WHERE name = ?", (name,))

    # After a crash

    def _recover(self) -> None:
        """Bring rows and directories together; nothing that holds data is deleted but what was marked."""
        for row in self._db.query("SELECT name, driver FROM volumes WHERE removing"):
            if row[1] == LOCAL:
                self.finish_removal(str(row[0]))
        for name in self.strays():
            self.mend(name)

    def strays(self) -> Sequence[str]:
        """Return the names of local volumes that have a row and no directory, or a directory and no row."""
        with self._lock:
            rows = self._db.query("SELECT name FROM volumes WHERE driver = ?", (LOCAL,))
            with os.scandir(self._places.volumes) as entries:
                present = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
        return sorted({str(row[0]) for row in rows} ^ present)

    def mend(self, name: str) -> None:
        """Bring row and directory of a stray together: an empty directory is made, one with data adopted."""
        with self._lock:
            if name not in self.strays():
                return
            volume = self.find(name)
            if volume is not None:
                log.warning("directory of a volume is made anew", volume=name)
                self._make_directory(volume)
            elif os.path.isdir(f"{self._places.volumes}/{name}"):
                self._adopt(name)

    def _adopt(self, name: str) -> None:
        """Take a directory that no row knows as a volume."""
        try:
            check_volume_name(name)
        except InvalidArgument:
            log.warning("directory is no volume", path=f"{self._places.volumes}/{name}")
            return
        log.warning("directory without a record becomes a volume", volume=name)
        os.makedirs(self.path(name), exist_ok=True)
        self._insert(name, LOCAL, {}, {}, "")

    def sweep(self, known_ids: Collection[str]) -> Sequence[Volume]:
        """Forget users that are no containers; return the volumes that were made for one, marked as removed.

        Marked volumes of other drivers are returned too. For the engine's start.
        """
        rows = self._db.query("SELECT container_id FROM volume_users UNION SELECT made_for FROM volumes")
        gone: List = []
        for container_id in {str(row[0]) for row in rows} - set(known_ids) - {""}:
            gone += self.undo_making(container_id)
        marked = self._db.query(f"SELECT {_COLUMNS} FROM volumes WHERE removing")  # noqa: S608 -- constants
        return list({volume.name: volume for volume in [*gone, *map(self._volume, marked)]}.values())

    def _volume(self, row: Row) -> Volume:
        name, driver, created_ns, labels, options = row
        return Volume(
            name=str(name),
            driver=str(driver),
            created_ns=int(str(created_ns)),
            path=self.path(str(name)) if driver == LOCAL else "",
            labels=_decode(labels),
            options=_decode(options),
        )


def _set_quota(path: str, size_bytes: int) -> None:
    try:
        set_project_quota(path, size_bytes)
    except OSError as exc:
        raise InvalidArgument(
            f"quota size requested but no quota support: {exc.strerror}",
            hint="the data root needs ext4 or xfs, mounted with prjquota",
        ) from exc


def _encode(values: Mapping[str, str]) -> str:
    return json.dumps(dict(values), ensure_ascii=False)


def _decode(text: object) -> dict[str, str]:
    found = json.loads(str(text))
    assert isinstance(found, dict)
    return found
