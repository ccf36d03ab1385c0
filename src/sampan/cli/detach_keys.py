"""The keys that leave a container running: how they are written, and seen among what is typed. Lean."""

from __future__ import annotations

from sampan.cli.outcome import UsageError

_DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"  # ctrl-@ is byte 0, ctrl-a byte 1, … ctrl-_ byte 31


def parse_detach_keys(text: str) -> bytes:
    """Return the byte sequence for keys such as `ctrl-p,ctrl-q` or `a,ctrl-@`; docker's default when empty.

    Raises:
        UsageError: a key is neither one character nor `ctrl-` and a letter or one of `@ [ \\ ] ^ _`.
    """
    keys = bytearray()
    for key in (text or _DEFAULT_DETACH_KEYS).split(","):
        if len(key) == 1 and key.isascii():
            keys += key.encode()
        elif key.lower().startswith("ctrl-") and len(key) == 6 and key[5].lower() in _CONTROLS:
            keys.append(_CONTROLS.index(key[5].lower()))
        else:
            raise UsageError(f"--detach-keys: {key!r} in {text!r} is no key", hint="such as ctrl-p,ctrl-q")
    return bytes(keys)


class DetachKeys:
    """Watches typed bytes for the detach sequence; the start of one is held back until it is decided."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return the bytes to pass on, and whether the sequence is complete; what follows it is dropped."""
        out = bytearray()
        for byte in data:
            while self._matched and byte != self._keys[self._matched]:
                self._give_up_one(out)
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self._matched = 0
                    return bytes(out), True
            else:
                out.append(byte)
        return bytes(out), False

    def _give_up_one(self, out: bytearray) -> None:
        """Pass on as many held bytes as needed for the rest to be a start of the sequence again."""
        held = self._keys[: self._matched]
        for drop in range(1, len(held) + 1):
            if self._keys.startswith(held[drop:]):
                out += held[:drop]
                self._matched = len(held) - drop
                return
