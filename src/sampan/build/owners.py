"""`--chown` and `--chmod`. Source: BuildKit, reference.md, "COPY --chown --chmod"."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final

from sampan.errors import InvalidArgument
from sampan.kernel.files import reopen
from sampan.kernel.resolve import mkdir_in_root, open_in_root

_MAX_FILE: Final = 10 << 20
_MAX_ID: Final = 2**31 - 1
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][rwxXst]*)+)")
_ACTION = re.compile(r"([-+=])([rwxXst]*)")
_BITS: Final = {"r": 0o444, "w": 0o222, "x": 0o111}
_WHO: Final = {"u": 0o4700, "g": 0o2070, "o": 0o1007}

ChangeMode = Callable[[int, bool], int]  # (mode, whether it is a directory) → mode


def needs_accounts(text: str) -> bool:
    """Tell whether an owner has to be looked up in the target's files."""
    return any(part and not part.isdigit() for part in text.split(":"))


def find_owner(text: str, root_fd: int) -> tuple[int, int]:
    """Return uid and gid of `user[:group]`, by the passwd and group files below root_fd.

    Raises:
        InvalidArgument: there is no such user or group.
    """
    user, colon, group = text.partition(":")
    uid, gid = _find(user or "0", root_fd, "/etc/passwd", "user")
    if colon and group:
        gid = _find(group, root_fd, "/etc/group", "group")[0]
    return uid, gid


def make_owned(root_fd: int, path: str, user: str) -> None:
    """Make a directory and those that it lies in; what was missing gets a user as its owner, "" is root.

    Source: BuildKit, `dispatchWorkdir`; classic Docker's are root's always.

    Raises:
        InvalidArgument: something is missing, and there is no such user.
    """
    missing = [one for one in _prefixes(path) if user and not _is_there(root_fd, one)]
    owner = find_owner(user, root_fd) if missing else (0, 0)
    os.close(mkdir_in_root(root_fd, path, 0o755))
    for one in missing:
        fd = open_in_root(root_fd, one, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fchown(fd, *owner)
        finally:
            os.close(fd)


def _prefixes(path: str) -> list[str]:
    parts = path.strip("/").split("/")
    return ["/".join(parts[: at + 1]) for at in range(len(parts))]


def _is_there(root_fd: int, path: str) -> bool:
    try:
        os.close(open_in_root(root_fd, path, os.O_PATH))
    except FileNotFoundError:
        return False
    return True


def _find(text: str, root_fd: int, file: str, what: str) -> tuple[int, int]:
    if text.isascii() and text.isdigit():
        if int(text) > _MAX_ID:
            raise InvalidArgument(f"{what} {text} is out of range")
        return int(text), int(text)
    for line in accounts_file(root_fd, file).splitlines():
        fields = line.split(":")
        if fields[0] == text and len(fields) > 3 - (what == "group") and fields[2].isdigit():
            return int(fields[2]), int(fields[3]) if what == "user" and fields[3].isdigit() else 0
    raise InvalidArgument(
        f"unable to convert uid/gid chown string to host mapping: can't find {what[0]}id for {what} {text}: "
        f"no such {what}: {text}"
    )


def accounts_file(root_fd: int, path: str) -> str:
    """Return a file of the target's, "" if there is none."""
    try:
        looked = open_in_root(root_fd, path, os.O_PATH)
    except OSError:
        return ""
    try:
        with os.fdopen(reopen(looked, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return file.read(_MAX_FILE).decode(errors="replace")
    finally:
        os.close(looked)


def parse_mode(text: str) -> ChangeMode:
    """Read an octal or symbolic mode.

    Raises:
        InvalidArgument: it is neither.
    """
    if re.fullmatch(r"[0-7]{1,5}", text) and int(text, 8) <= 0o7777:
        number = int(text, 8)
        return lambda mode, is_directory: number
    clauses = text.split(",")
    if not text or text[0].isdigit() or not all(_CLAUSE.fullmatch(clause) for clause in clauses):
        raise InvalidArgument(
            f"invalid chmod parameter: {text!r}. it should be octal string and between 0 and 07777, "
            "or symbolic as in u=rwX,go=rX"
        )

    def change(mode: int, is_directory: bool) -> int:
        for clause in clauses:
            mode = _apply(mode, clause, is_directory=is_directory)
        return mode

    return change


def is_octal(text: str) -> bool:
    """Tell whether a mode is a number, which created parents get, too."""
    return text.isdigit()


def _apply(mode: int, clause: str, *, is_directory: bool) -> int:
    match = _CLAUSE.fullmatch(clause)
    assert match is not None  # checked by parse_mode
    who = match[1].replace("a", "ugo") or "ugo"
    reach = 0
    for letter in who:
        reach |= _WHO[letter]
    for action, letters in _ACTION.findall(match[2]):
        bits = 0
        for letter in letters:
            if letter == "X":
                bits |= 0o111 if is_directory or mode & 0o111 else 0
            elif letter == "s":
                bits |= 0o6000
            elif letter == "t":
                bits |= 0o1000
            else:
                bits |= _BITS[letter]
        bits &= reach | (0o1000 if "t" in letters else 0)
        if action == "+":
            mode |= bits
        elif action == "-":
            mode &= ~bits
        else:
            mode = mode & ~reach | bits
    return mode & 0o7777
