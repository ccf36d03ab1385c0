"""Keep the interpreter out of reach of containers (CVE-2019-5736). Lean. Decision 0010.

A process of ours that enters a container can be seen there, and `#!/proc/self/exe` makes a container run it:
through /proc/<pid>/exe its file could then be opened for writing. So our program runs through a read-only
mount that nobody can change. The installed command sets that up before Python starts; when it was not used,
the program starts itself once more.
"""

from __future__ import annotations

import errno
import os
import sys

from sampan.errors import SampanError
from sampan.kernel import files

_EXECUTABLE = "/proc/self/exe"
_AGAIN = "SAMPAN_RUNTIME_STARTED_AGAIN"


def is_protected() -> bool:
    """Tell whether our file cannot be written through our /proc/<pid>/exe: it is on a read-only mount."""
    return bool(os.statvfs(_EXECUTABLE).f_flag & os.ST_RDONLY)


def protect() -> None:
    """Return if the interpreter is out of reach; else start this program again through a read-only mount.

    Without privileges there is nothing to do: whoever owns our file could write to it anyway, and a
    container without root's ids cannot.

    Raises:
        SampanError: it cannot be protected.
    """
    if is_protected() or os.geteuid() != 0:
        return
    if _AGAIN in os.environ:
        raise SampanError(
            "cannot keep the interpreter out of the container's reach: /proc/self/exe is writable"
        )
    try:
        fd = files.readonly_clone(os.path.realpath(_EXECUTABLE))
    except OSError as exc:
        if exc.errno in (errno.ENOSYS, errno.EPERM):
            raise SampanError(
                f"cannot keep the interpreter out of the container's reach: {exc.strerror}",
                hint="Linux 5.12 and CAP_SYS_ADMIN are needed",
            ) from exc
        raise
    os.execve(fd, sys.orig_argv, {**os.environ, _AGAIN: "1"})  # noqa: S606 -- ourselves
