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


def set_title(area: tuple[int, int], text: str) -> None:
    """Show text instead of the arguments, as far as it fits; where that is not allowed nothing changes."""
    start, end = area
    room = end - start
    try:
        fd = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # without root a process that is not dumpable may not open its own memory
    try:
        os.pwrite(fd, text.encode()[: room - 1].ljust(room, b"\0"), start)
    except OSError:
        pass
    finally:
        os.close(fd)
