"""Find containers by id, name or the beginning of an id. In memory; the lock is held for look-ups only."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort

from sampan.engine.container import Container
from sampan.errors import Conflict, InvalidArgument, NotFound

Containers = list[Container]


class ContainerIndex:
    """All containers. Names are reserved before anything is made, so two creates never meet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, Container] = {}
        self._sorted_ids: list[str] = []
        self._ids_by_name: dict[str, str] = {}

    def reserve_name(self, name: str, container_id: str) -> None:
        """Take a name for a container that is about to be.

        Raises:
            Conflict: it is in use; in Docker's words.
        """
        with self._lock:
            holder = self._ids_by_name.setdefault(name, container_id)
        if holder != container_id:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )

    def is_name_free(self, name: str) -> bool:
        """Tell whether a name could be reserved now."""
        return name not in self._ids_by_name

    def reserved_ids(self) -> set[str]:
        """Return the ids of all containers, also of those that are being made."""
        with self._lock:
            return self._by_id.keys() | set(self._ids_by_name.values())

    def release_name(self, name: str, container_id: str) -> None:
        """Give a name back, if that container has it."""
        with self._lock:
            if self._ids_by_name.get(name) == container_id:
                del self._ids_by_name[name]

    def add(self, container: Container) -> None:
        """Make a container findable; its name must be reserved."""
        with self._lock:
            self._by_id[container.id] = container
            insort(self._sorted_ids, container.id)

    def remove(self, container: Container) -> None:
        """Forget a container and free its name."""
        with self._lock:
            if self._by_id.pop(container.id, None) is not None:
                del self._sorted_ids[bisect_left(self._sorted_ids, container.id)]
        self.release_name(container.record.name, container.id)

    def get(self, ref: str) -> Container:
        """Return the container of a full id, a name (leading slash or not), or a unique prefix of an id.

        Raises:
            NotFound: `No such container: X`.
            InvalidArgument: several ids begin so.
        """
        with self._lock:
            found = self._by_id.get(ref) or self._by_id.get(self._ids_by_name.get(ref.removeprefix("/"), ""))
            if found is not None:
                return found
            matches = self._matches(ref)
        if len(matches) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {ref}")
        if not matches:
            raise NotFound(f"No such container: {ref}")
        return matches[0]

    def _matches(self, prefix: str) -> Containers:
        if not prefix:
            return []
        start = bisect_left(self._sorted_ids, prefix)
        ids = [one for one in self._sorted_ids[start : start + 2] if one.startswith(prefix)]
        return [self._by_id[one] for one in ids]

    def all(self) -> Containers:
        """Return every container, in no order."""
        with self._lock:
            return list(self._by_id.values())
