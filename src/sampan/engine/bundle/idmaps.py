"""Idmapped mounts: what `-v` may say about them, and the mapping that follows. docs/volumes.md.

A line of a mapping is (id on disk, id seen, how many), as `mount_setattr(2)` reads a user namespace's
uid_map: what is inside it stands for the disk, what is outside for the container.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from sampan.engine.bundle.mount_wishes import IdLine, IdWish
from sampan.errors import InvalidArgument

ALL_IDS = 2**32 - 1  # the last number, -1, names nobody (setresuid(2))
_MAX_LINES = 340  # user_namespaces(7)


def parse_idmap(text: str) -> IdWish:
    """Read `idmap` or `idmap=uids=D-S-N#D-S-N;gids=…` (the form of podman).

    Raises:
        InvalidArgument: another form, or lines that overlap.
    """
    _, equals, rest = text.partition("=")
    if not equals:
        return IdWish()
    lines: dict[str, tuple[IdLine, ...]] = {}
    for part in rest.split(";"):
        key, _, value = part.partition("=")
        if key not in ("uids", "gids") or key in lines:
            raise InvalidArgument(f"invalid mode: {text}", hint="write idmap=uids=0-1000-1;gids=0-1000-1")
        lines[key] = tuple(_parse_line(line, text) for line in value.split("#"))
        _check_lines(lines[key], text)
    if len(lines) != 2:
        raise InvalidArgument(f"invalid mode: {text}", hint="idmap needs uids= and gids=, or neither")
    return IdWish(uids=lines["uids"], gids=lines["gids"])


def _parse_line(text: str, whole: str) -> IdLine:
    numbers = text.split("-")
    if len(numbers) != 3 or not all(
        part.isascii() and part.isdigit() and len(part) <= 10 for part in numbers
    ):
        raise InvalidArgument(f"invalid mode: {whole}", hint=f"{text!r} is not DISK-SEEN-COUNT")
    disk, seen, count = (int(part) for part in numbers)
    if not count or max(disk, seen) + count > ALL_IDS:
        raise InvalidArgument(f"invalid mode: {whole}", hint=f"{text!r}: no such ids")
    return disk, seen, count


def _check_lines(lines: tuple[IdLine, ...], whole: str) -> None:
    for side in (0, 1):
        ranges = sorted((line[side], line[side] + line[2]) for line in lines)
        if any(first[1] > second[0] for first, second in pairwise(ranges)):
            raise InvalidArgument(f"invalid mode: {whole}", hint="ranges of ids overlap")
    if len(lines) > _MAX_LINES:
        raise InvalidArgument(f"invalid mode: {whole[:40]}…", hint=f"at most {_MAX_LINES} ranges")


def parse_owner(words: Mapping[str, str]) -> IdWish | None:
    """Read `uid=N` and `gid=N`, either or both; None when neither is there.

    Raises:
        InvalidArgument: a value is no id.
    """
    if not words:
        return None
    numbers = {key: parse_id(value, what=key) for key, value in words.items()}
    return IdWish(uid=numbers.get("uid"), gid=numbers.get("gid"))


def parse_id(text: str, *, what: str) -> int:
    """Read the number of a user or group.

    Raises:
        InvalidArgument: text is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < ALL_IDS):
        raise InvalidArgument(f"invalid {what} {text!r}: a number from 0 to {ALL_IDS - 1}")
    return int(text)


def map_owner(owner: int, seen: int) -> tuple[IdLine, ...]:
    """Return the mapping that shows what owner has on disk as seen's, and all others as they are.

    The number seen has then no other owner on disk, or two would be one; owner is nobody's in the container.
    """
    if owner == seen:
        return ((0, 0, ALL_IDS),)
    first, second = sorted((owner, seen))
    rest = ((0, first), (first + 1, second), (second + 1, ALL_IDS))
    same = tuple((begin, begin, end - begin) for begin, end in rest if end > begin)
    return (*same, (owner, seen, 1))


def plan_maps(
    wish: IdWish, *, owner: tuple[int, int], user: tuple[int, int]
) -> tuple[tuple[IdLine, ...], tuple[IdLine, ...]]:
    """Return the mappings of users and groups: owner is the source's, user the container's (uid, gid)."""
    if wish.uids:
        return wish.uids, wish.gids
    explicit = wish.uid is not None or wish.gid is not None
    uid = owner[0] if explicit and wish.uid is None else user[0] if wish.uid is None else wish.uid
    gid = owner[1] if explicit and wish.gid is None else user[1] if wish.gid is None else wish.gid
    return map_owner(owner[0], uid), map_owner(owner[1], gid)


def document(lines: tuple[IdLine, ...]) -> list[dict[str, int]]:
    """Return a mapping as config.json has it: `containerID` is the disk's side (runc, idmap mounts)."""
    return [{"containerID": disk, "hostID": seen, "size": count} for disk, seen, count in lines]
