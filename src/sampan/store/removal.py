"""Docker's rules for `rmi`, as a decision without effects.

Source: moby, daemon/images/image_delete.go; texts: clients match them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.errors import Conflict
from sampan.ids import Digest, digest_hex
from sampan.store.model import ImageUser
from sampan.store.references import Reference


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to be done: names taken away in this order, then the image deleted or kept."""

    untag: tuple[Reference, ...]
    delete: bool


def plan_removal(
    text: str,
    *,
    image_id: Digest,
    named: Reference | None,
    names: Sequence[Reference],
    users: Sequence[ImageUser],
    force: bool,
) -> Removal:
    """Decide about an image with these names and containers; named is the name by which it was asked for.

    Raises:
        Conflict: the rules forbid it.
    """
    if named is None:
        return _plan_by_id(image_id, names, users, force=force)
    short_id = digest_hex(image_id)[:12]
    if not force and users and _are_one(names):
        raise Conflict(
            f'conflict: unable to remove repository reference "{text}" (must force) - container '
            f"{users[0].container_id[:12]} is using its referenced image {short_id}"
        )
    untag = [named, *_orphaned_digests(named, names)]
    if any(name not in untag for name in names):
        return Removal(tuple(untag), delete=False)
    # Its last name is gone: the image goes too, unless a container needs it, which is no error here.
    running = any(user.running for user in users)
    return Removal(tuple(untag), delete=not running and (force or not users))


def _plan_by_id(
    image_id: Digest, names: Sequence[Reference], users: Sequence[ImageUser], *, force: bool
) -> Removal:
    short_id = digest_hex(image_id)[:12]
    running = next((user for user in users if user.running), None)
    if running:
        raise Conflict(
            f"conflict: unable to delete {short_id} (cannot be forced) - image is being used by running "
            f"container {running.container_id[:12]}"
        )
    if not force and not _are_one(names):
        raise Conflict(
            f"conflict: unable to delete {short_id} (must be forced) - image is referenced in multiple "
            "repositories"
        )
    if not force and users:
        raise Conflict(
            f"conflict: unable to delete {short_id} (must be forced) - image is being used by stopped "
            f"container {users[0].container_id[:12]}"
        )
    return Removal(tuple(names), delete=True)


def _are_one(names: Sequence[Reference]) -> bool:
    """Tell whether the names are at most one tag, and digests of the same repository."""
    tags = [name for name in names if not name.digest]
    return len(tags) <= 1 and len({name.name for name in names}) <= 1


def _orphaned_digests(removed: Reference, names: Sequence[Reference]) -> list[Reference]:
    """Return the digests that lose the last tag of their repository with removed, and go with it."""
    if removed.digest:
        return []
    same = [name for name in names if name.name == removed.name and name != removed]
    return [] if any(not name.digest for name in same) else same
