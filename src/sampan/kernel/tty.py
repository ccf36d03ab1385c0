"""Pseudoterminals. Source: pts(4), ioctl_tty(2), termios(3)."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from sampan.kernel.constants import TIOCGPTPEER, TIOCSPTLCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    TerminalState = list[int | list[bytes | int]]  # what termios.tcgetattr returns

_WINSIZE = struct.Struct("=4H")  # struct winsize: ws_row, ws_col, ws_xpixel, ws_ypixel
_CC = 6  # position of the control characters in a TerminalState


def open_pty(devpts_fd: int = -1) -> tuple[int, int]:
    """Open a pseudoterminal of the devpts at the directory devpts_fd (-1: /dev); return (master, slave).

    The slave is got from the master (TIOCGPTPEER), never by its name: in a container's devpts the name
    may be a trap (CVE-2025-52565). The slave does not become anybody's controlling terminal here.

    Raises:
        OSError: errno is set; ENOSPC, all terminals of that devpts are in use.
    """
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    if devpts_fd < 0:
        master = os.open("/dev/ptmx", flags)
    else:
        master = os.open("ptmx", flags | os.O_NOFOLLOW, dir_fd=devpts_fd)
    try:
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("=i", 0))
        slave = fcntl.ioctl(master, TIOCGPTPEER, flags)
    except BaseException:
        os.close(master)
        raise
    return master, slave


def set_controlling_terminal(fd: int) -> None:
    """Make fd the controlling terminal of this process, which must be a session leader without one."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


def get_size(fd: int) -> tuple[int, int]:
    """Return (rows, columns) of a terminal."""
    rows, columns, _, _ = _WINSIZE.unpack(fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_WINSIZE.size)))
    return rows, columns


def set_size(fd: int, rows: int, columns: int) -> None:
    """Set the size of a terminal; its foreground processes get SIGWINCH if that is a change."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, _WINSIZE.pack(rows, columns, 0, 0))


def make_raw(fd: int) -> TerminalState:
    """Hand every byte through untouched, as cfmakeraw(3) does; return the former state for `restore`."""
    saved = termios.tcgetattr(fd)
    raw = termios.tcgetattr(fd)
    iflag, oflag, cflag, lflag = raw[:4]
    raw[0] = iflag & ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    raw[1] = oflag & ~termios.OPOST
    raw[2] = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[3] = lflag & ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    raw[_CC] = list(raw[_CC])
    raw[_CC][termios.VMIN] = 1
    raw[_CC][termios.VTIME] = 0
    termios.tcsetattr(fd, termios.TCSADRAIN, raw)
    return saved


def restore(fd: int, state: TerminalState) -> None:
    """Give a terminal back the state that `make_raw` returned."""
    termios.tcsetattr(fd, termios.TCSADRAIN, state)
