"""The terminal this command runs in: its size, and raw mode. Lean (decision 0002)."""

from __future__ import annotations

import os
import termios

from sampan.cli.outcome import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Attributes = list[Any]  # as typeshed has it: six numbers, then the control characters

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6  # tcgetattr(3), the order of Python's list
_DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"  # ctrl-@ is byte 0, ctrl-a byte 1, … ctrl-_ byte 31


def window_size() -> tuple[int, int] | None:
    """Return rows and columns of the terminal we write to, else of the one we read; None without a size."""
    for fd in (1, 0):
        try:
            rows, columns = termios.tcgetwinsize(fd)
        except (termios.error, OSError):
            continue
        if rows and columns:
            return rows, columns
    return None


class RawMode:
    """Raw mode of the terminal at fd, as cfmakeraw(3): every key arrives as it is typed, also ctrl-C."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._saved: Attributes | None = None

    def enter(self) -> None:
        """Switch to raw mode; again after the shell has taken it back (SIGCONT)."""
        attributes = termios.tcgetattr(self._fd)
        if self._saved is None:
            self._saved = [*attributes[:_CC], list(attributes[_CC])]
        attributes[_IFLAG] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
            | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
        )  # fmt: skip
        attributes[_OFLAG] &= ~termios.OPOST
        attributes[_LFLAG] &= ~(
            termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN
        )
        attributes[_CFLAG] = attributes[_CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        attributes[_CC][termios.VMIN], attributes[_CC][termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSANOW, attributes)

    def leave(self) -> None:
        """Put the terminal back as it was found; may be called again, or without `enter`."""
        saved, self._saved = self._saved, None
        if saved is not None:
            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, saved)
            except termios.error:
                pass  # the terminal is gone


def check_terminal(*, tty: bool, stdin: bool) -> None:
    """Refuse a terminal for the process when our own input is none.

    Raises:
        UsageError: tty and stdin are wanted, and standard input is no terminal.
    """
    if tty and stdin and not os.isatty(0):
        raise UsageError(
            "the input device is not a TTY", hint="leave out -t, or run it in a terminal", code=1
        )


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
