"""Who a container's program runs as: `USER`, `--user` and `--group-add` against its passwd and group files.

Numbers win over names: a passwd entry *named* "1000" is not UID 1000 (CVE-2016-3697). Numbers are
ASCII digits up to 2^31-1, nothing else (CVE-2024-40635). Source: moby's `docker run --user` and runc's
libcontainer/user for what Docker does; reference numbers 16 to 18 of the security notes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sampan.errors import InvalidArgument

MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The contents of a root file system's /etc/passwd and /etc/group; empty when absent."""

    passwd: bytes = b""
    group: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Ids to run with. groups: the supplementary ones, the primary first (CVE-2022-36109)."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class _PasswdEntry:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class _GroupEntry:
    name: str
    gid: int
    members: tuple[str, ...]


def parse_id(text: str) -> int | None:
    """Return a uid or gid, or None when text is no number.

    Raises:
        InvalidArgument: a number out of range, or a sign before digits.
    """
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not digits.isascii() or not digits.isdigit():
        return None
    if digits != text or len(digits) > 10 or int(digits) > MAX_ID:
        raise InvalidArgument(f"uids and gids must be in range 0-{MAX_ID}, not {text!r}")
    return int(text)


def resolve_user(text: str, accounts: Accounts, *, group_add: Sequence[str] = ()) -> User:
    """Look up `user`, `user:group`, by name or number, or "" for root.

    Raises:
        InvalidArgument: an unknown name, a bad number, an empty half.
    """
    user_text, colon, group_text = text.partition(":")
    if (colon and not (user_text and group_text)) or ":" in group_text:
        raise InvalidArgument(f"invalid user {text!r}: write user, user:group, or their numbers")
    groups = list(_read_group(accounts.group))
    entry = _find_user(user_text, accounts.passwd)
    gid = entry.gid
    supplementary: list[int] = []
    if colon:
        gid = _find_group(group_text, groups)
    elif entry.name:
        supplementary = [group.gid for group in groups if entry.name in group.members]
    added = [_find_group(name, groups) for name in group_add]
    unique = dict.fromkeys([gid, *supplementary, *added])
    return User(uid=entry.uid, gid=gid, groups=tuple(unique), home=entry.home)


def _find_user(text: str, passwd: bytes) -> _PasswdEntry:
    number = 0 if not text else parse_id(text)
    for entry in _read_passwd(passwd):
        if entry.uid == number if number is not None else entry.name == text:
            return entry
    if number is None:
        raise InvalidArgument(
            f"unable to find user {text}: no matching entries in passwd file",
            hint="the image has no such user; give a number, or a user of the image",
        )
    return _PasswdEntry("", number, 0, "/")


def _find_group(text: str, groups: Sequence[_GroupEntry]) -> int:
    number = parse_id(text)
    if number is not None:
        return number
    for entry in groups:
        if entry.name == text:
            return entry.gid
    raise InvalidArgument(f"unable to find group {text}: no matching entries in group file")


def _fields(raw: bytes) -> Iterator[list[str]]:
    for line in raw.decode(errors="surrogateescape").splitlines():
        if line and line[0] not in "#+-":
            yield line.strip().split(":")


def _read_passwd(raw: bytes) -> Iterator[_PasswdEntry]:
    """Yield lines: name, password, uid, gid, comment, home, shell (passwd(5)); broken ones are skipped."""
    for parts in _fields(raw):
        uid, gid = (_safe_id(part) for part in (parts + [""] * 4)[2:4])
        if uid is not None and gid is not None:
            yield _PasswdEntry(parts[0], uid, gid, (parts[5] if len(parts) > 5 else "") or "/")


def _read_group(raw: bytes) -> Iterator[_GroupEntry]:
    """Yield the usable lines: name, password, gid, members (group(5)); skip broken ones."""
    for parts in _fields(raw):
        gid = _safe_id((parts + [""] * 3)[2])
        if gid is not None:
            yield _GroupEntry(parts[0], gid, tuple(parts[3].split(",")) if len(parts) > 3 else ())


def _safe_id(text: str) -> int | None:
    try:
        return parse_id(text)
    except InvalidArgument:
        return None
