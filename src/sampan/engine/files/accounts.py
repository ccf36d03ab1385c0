"""Find the user a container starts as, in the passwd and group files of its own root."""

from __future__ import annotations

import os
import threading
from typing import Final

from sampan.engine.files.users import Accounts, User, resolve_user
from sampan.engine.records import Record
from sampan.ids import ContainerId
from sampan.store.snapshots import Snapshots
from sampan.store.snapshotters import Snapshot

_KEPT_IMAGES: Final = 128
_KEPT_BYTES: Final = 64 * 1024


class UserFinder:
    """Looks users up. What an image says is remembered: most containers start with nothing changed in it."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._lock = threading.Lock()
        self._by_image: dict[str, Accounts] = {}

    def find(self, record: Record, snapshot: Snapshot) -> User:
        """Return whom a container that does not run is to start as.

        Raises:
            InvalidArgument: no such user or group; passwd or group is no proper file.
        """
        if _is_empty(snapshot.upper):
            accounts = self._of_image(record)
        else:
            accounts = self._read(record)
        return resolve_user(record.config.User, accounts, group_add=record.host.GroupAdd)

    def _of_image(self, record: Record) -> Accounts:
        known = self._by_image.get(record.image_id)
        if known is not None:
            return known
        accounts = self._read(record)
        if len(accounts.passwd) + len(accounts.group) <= _KEPT_BYTES:
            with self._lock:
                if len(self._by_image) >= _KEPT_IMAGES:
                    self._by_image.clear()
                self._by_image[record.image_id] = accounts
        return accounts

    def _read(self, record: Record) -> Accounts:
        container_id = ContainerId(record.id)
        return Accounts(
            passwd=self._snapshots.read_file(container_id, "/etc/passwd") or b"",
            group=self._snapshots.read_file(container_id, "/etc/group") or b"",
        )


def _is_empty(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None
