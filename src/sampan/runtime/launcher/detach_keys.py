"""Finds the detach key sequence in what an attached client types. Lean; pure."""

from __future__ import annotations


class DetachKeys:
    """A stream filter: keys that may begin the sequence are held back until it is whole or broken.

    Differs from Docker: a sequence is found wherever the reads happen to cut it, and one that starts
    anew inside a broken one counts (ctrl-p ctrl-p ctrl-q).
    """

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what is to be passed on, and whether the sequence was typed (what follows it is dropped)."""
        if not self._sequence:
            return data, False
        text = self._held + data
        found = text.find(self._sequence)
        if found >= 0:
            self._held = b""
            return text[:found], True
        kept = self._prefix_at_end(text)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept], False

    def finish(self) -> bytes:
        """Return what was held back, when the client's input ends."""
        held, self._held = self._held, b""
        return held

    def _prefix_at_end(self, text: bytes) -> int:
        """Return how many bytes at the end of text begin the sequence."""
        longest = min(len(text), len(self._sequence) - 1)
        for length in range(longest, 0, -1):
            if text.endswith(self._sequence[:length]):
                return length
        return 0
