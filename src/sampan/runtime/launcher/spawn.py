"""Starts the launcher program; used by sampand only, so it may import what it likes.

The interpreter is executed through a detached read-only mount of its own file: whatever reaches
`/proc/<pid>/exe` of the launcher, of a shim or of a container's process before its exec cannot write to it
(CVE-2019-5736). Where such a mount cannot be made, a sealed copy in memory does the same for 7 MiB.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys

from sampan.errors import Unavailable
from sampan.kernel.files import memfd_sealed, read_file, readonly_clone

_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
_MAX_INTERPRETER = 256 * 1024 * 1024
# Forks write their title over their arguments (title.py); this is room for longer ones, never seen as it is.
_ROOM = " " * 512
# The environment of hooks' and other runtimes' start; nothing of sampand's own gets there.
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def start_program(fd: int, *, run_root: str, rehearsal: str) -> subprocess.Popen[bytes]:
    """Start the launcher with fd as its socket to sampand; standard error is shared for its log.

    rehearsal: see `Launcher.spawn`.

    Raises:
        Unavailable: the program cannot be started.
    """
    python = os.path.realpath(sys.executable)
    try:
        image = open_interpreter(python)
    except OSError as exc:
        raise Unavailable(f"cannot protect the interpreter {python}: {exc.strerror}") from exc
    arguments = [python, "-I", "-S", "-X", "utf8", _PROGRAM, str(fd), run_root, rehearsal, _ROOM]
    try:
        return subprocess.Popen(
            arguments,
            executable=f"/proc/self/fd/{image}",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(fd, image),
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,  # ctrl-C at sampand's terminal is not for us
        )
    except OSError as exc:
        raise Unavailable(f"cannot start the launcher: {exc.strerror}") from exc
    finally:
        os.close(image)


def open_interpreter(python: str) -> int:
    """Return a descriptor to execute python through, which leads to nothing that can be written."""
    try:
        return readonly_clone(python)
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.ENOSYS, errno.EINVAL):
            raise
    return memfd_sealed("python", read_file(python, limit_bytes=_MAX_INTERPRETER), executable=True)
