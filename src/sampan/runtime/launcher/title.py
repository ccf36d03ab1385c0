"""The command line that `ps` shows for this process. Lean.

The kernel reads it from the process's own stack (proc_pid_cmdline(5)). PR_SET_MM_ARG_START would move it, but
asks for CAP_SYS_RESOURCE, so the old text is overwritten in place.
"""

from __future__ import annotations

import os


def argument_area() -> tuple[int, int]:
    """Return where this process's arguments begin and end; forks have them at the same place."""
    with open("/proc/self/stat", "rb") as file:
        stat = file.read()
    # Fields 48 and 49, arg_start and arg_end; the third is the first behind the name (proc_pid_stat(5)).
    fields = stat[stat.rindex(b")") + 2 :].split()
    return int(fields[45]), int(fields[46])


def set_title(area: tuple[int, int], name: str, argument: str = "") -> None:
    """Show name (and an argument) as the command line, as far as it fits, and name as the process's own.

    Where that is not allowed nothing changes. Files and not prctl(2): shims have no other use for ctypes.
    """
    start, end = area
    room = end - start
    text = f"{name} {argument}".rstrip().encode()
    _write("/proc/self/comm", name.encode(), 0)
    # Without root a process that is not dumpable may not open its own memory.
    _write("/proc/self/mem", text[: room - 1].ljust(room, b"\0"), start)


def _write(path: str, data: bytes, offset: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.lseek(fd, offset, os.SEEK_SET)
        os.write(fd, data)
    except OSError:
        pass
    finally:
        os.close(fd)
