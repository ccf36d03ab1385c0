"""Answers of upstream servers, kept as long as their TTL allows. Lean."""

from __future__ import annotations

import struct
import time

from sampan.network.dns.wire import Malformed, find_ttls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable

LONGEST_S = 30  # a name that was changed upstream is seen after this at the latest
MAX_ENTRIES = 2000
_MAX_BYTES = 1400  # of one answer


class AnswerCache:
    """Answers without their number, by what was asked of whom."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[float, int, bytes, list[int]]] = {}

    def put(self, key: Hashable, answer: bytes) -> None:
        """Keep an answer if it may be kept."""
        if len(answer) > _MAX_BYTES:
            return
        try:
            seconds, places = find_ttls(answer)
        except Malformed:
            return
        if seconds <= 0:
            return
        now = time.monotonic()
        while len(self._entries) >= MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]  # the oldest
        self._entries[key] = (now + min(seconds, LONGEST_S), int(now), answer[2:], places)

    def get(self, key: Hashable) -> bytes | None:
        """Return an answer without its number (2 bytes), its TTLs less by the time it has been here."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = time.monotonic()
        expires, since, tail, places = entry
        if now >= expires:
            del self._entries[key]
            return None
        age = int(now) - since
        return _older(tail, places, age) if age else tail


def _older(tail: bytes, places: list[int], seconds: int) -> bytes:
    changed = bytearray(tail)
    for place in places:
        (ttl,) = struct.unpack_from("!I", changed, place - 2)
        struct.pack_into("!I", changed, place - 2, max(ttl - seconds, 0))
    return bytes(changed)
