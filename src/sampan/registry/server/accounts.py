"""Users of an htpasswd file, bcrypt only, as `htpasswd -B` writes it. Read again when the file changes."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
from typing import Final

from sampan.errors import InvalidArgument

_REMEMBER_S: Final = 60.0
_MAX_REMEMBERED: Final = 1000
_MAX_PASSWORD: Final = 72  # bcrypt looks at no more bytes, and its library refuses them
# Compared with when a user does not exist, so that this takes as long; of a password that nobody has.
_NOBODY: Final = b"$2b$10$CwTycUXWue0Thq9StjUM0uJ8Qq7Yl1hDkq3n1mYkqz0yQ0XK1nJ6y"


class Accounts:
    """Checks passwords; thread-safe. Call it in a thread: bcrypt is slow by design."""

    def __init__(self, path: str) -> None:
        import bcrypt  # only registries with accounts need it

        self._check = bcrypt.checkpw
        self._path = path
        self._lock = threading.Lock()
        self._key = os.urandom(32)
        self._right: dict[bytes, float] = {}  # keyed hash of user, password and line, until when
        self._seen: tuple[int, int, int] | None = None
        self._hashes: dict[str, bytes] = {}
        self._slots = threading.BoundedSemaphore(2)  # guessing passwords takes no more than this
        self._load()

    def is_right(self, user: str, password: str) -> bool:
        """Tell whether that is the user's password."""
        self._load()
        line = self._hashes.get(user)
        if line is not None and self._remembered(user, password, line):
            return True
        with self._slots:
            right = self._matches(password, line or _NOBODY) and line is not None
        if right and line is not None:
            self._remember(user, password, line)
        return right

    def mark(self, user: str) -> str:
        """Return what changes with a user's password, "" for nobody; it tells nothing about it."""
        self._load()
        line = self._hashes.get(user)
        return "" if line is None else hashlib.sha256(b"mark of " + line).hexdigest()

    def _matches(self, password: str, line: bytes) -> bool:
        try:
            return self._check(password.encode()[:_MAX_PASSWORD], line)
        except ValueError:
            return False  # a damaged hash, or a zero byte in the password

    def _remembered(self, user: str, password: str, line: bytes) -> bool:
        with self._lock:
            return self._right.get(self._mark(user, password, line), 0.0) > time.monotonic()

    def _remember(self, user: str, password: str, line: bytes) -> None:
        with self._lock:
            if len(self._right) >= _MAX_REMEMBERED:
                self._right.clear()
            self._right[self._mark(user, password, line)] = time.monotonic() + _REMEMBER_S

    def _mark(self, user: str, password: str, line: bytes) -> bytes:
        text = f"{len(user)}:{user}{password}".encode() + line
        return hmac.new(self._key, text, hashlib.sha256).digest()

    def _load(self) -> None:
        """Read the file if it is another than last time.

        Raises:
            InvalidArgument: it cannot be read, or a line is no user with a bcrypt hash.
        """
        try:
            found = os.stat(self._path)
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            with open(self._path, encoding="utf-8") as file:
                self._hashes = dict(
                    _parse(line, f"{self._path}:{number}")
                    for number, line in enumerate(file, 1)
                    if line.strip() and not line.startswith("#")
                )
            self._seen = seen
        except (OSError, UnicodeDecodeError) as exc:
            raise InvalidArgument(f"cannot read the users in {self._path}: {exc}") from exc


def _parse(line: str, where: str) -> tuple[str, bytes]:
    user, colon, digest = line.strip().partition(":")
    if not user or not colon or not digest.startswith(("$2a$", "$2b$", "$2y$")):
        raise InvalidArgument(f"{where}: no user with a bcrypt hash", hint="htpasswd -B FILE USER writes one")
    return user, digest.encode()
