"""The terminal this command runs in: its size, and raw mode. Lean (decision 0002).

Imported only where there is one: the C module behind it is a shared library of its own.
"""

from __future__ import annotations

import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Attributes = list[Any]  # as typeshed has it: six numbers, then the control characters

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6  # tcgetattr(3), the order of Python's list


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
