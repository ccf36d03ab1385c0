"""Layers put together by the program fuse-overlayfs, where the kernel's overlayfs is not to be had. Lean.

```
 we                                                    fuse-overlayfs, in our mount namespace
 open /dev/fuse; fsopen, fsconfig fd=, fsmount ──┐
 posix_spawn(/dev/fd/3, layers as descriptors) ──┼──▶  serves the connection it got as descriptor 3
 close the connection; stat the root  ◀──────────┘     first answer: the layers fit together
        … the mount's last user is gone ───────────▶   ENODEV from /dev/fuse: it ends by itself
```

The mount is detached, so nothing shows on the host, and nobody has to remember the program: it ends with the
last mount namespace that has the mount, also after kill -9 of whoever started it. For that it must not live
in such a namespace itself. Source: Linux, filesystems/fuse.rst; libfuse, fuse_session_mount(3), "/dev/fd/N".
"""

from __future__ import annotations

import errno
import os

from sampan.kernel.mountcalls import fsconfig_create, fsconfig_set, fsmount, fsopen
from sampan.kernel.syscall import fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DEVICE = "/dev/fuse"
PROGRAM = "fuse-overlayfs"
_FOLDERS = ("/usr/bin", "/usr/local/bin", "/bin")
_CONNECTION, _FIRST_LAYER = 3, 4  # descriptors in the program
# writeback=0: what was written is in the upper directory when write(2) returns, so that it can be read there.
_OPTIONS = "writeback=0"
_MESSAGE_BYTES = 4096


def find_program() -> str:
    """Return the path of fuse-overlayfs, "" if it is not installed."""
    for folder in _FOLDERS:
        if os.access(f"{folder}/{PROGRAM}", os.X_OK):
            return f"{folder}/{PROGRAM}"
    return ""


def fuse_overlay_mount(*, lower: Sequence[str], upper: str | None = None, work: str | None = None) -> int:
    """Return the descriptor of a detached mount of layers, as `overlay_mount` does; lower is lowest first.

    Raises:
        OSError: the program or /dev/fuse is missing, or the layers do not fit together; with its own words.
    """
    program = find_program()
    if not program:
        raise fail(errno.ENOENT, "program is not installed", PROGRAM)
    connection = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    said = os.memfd_create("fuse-overlayfs messages", os.MFD_CLOEXEC)
    try:
        descriptor = -1
        try:
            descriptor = _mount(connection)
            _start(program, connection, said, lower, upper, work)
        finally:
            os.close(connection)  # if the program ends, its connection does, and nobody waits for an answer
        try:
            os.stat(f"/proc/self/fd/{descriptor}/.")
        except OSError as exc:
            os.close(descriptor)
            raise OSError(exc.errno, _last_message(said), upper or lower[-1]) from exc
        return descriptor
    finally:
        os.close(said)


def _mount(connection: int) -> int:
    context = fsopen("fuse")
    try:
        fsconfig_set(context, "source", PROGRAM)
        fsconfig_set(context, "fd", str(connection))
        for key, value in (("rootmode", "40000"), ("user_id", "0"), ("group_id", "0")):
            fsconfig_set(context, key, value)
        for flag in ("allow_other", "default_permissions"):
            fsconfig_set(context, flag, None)
        fsconfig_create(context)
        return fsmount(context, 0)
    finally:
        os.close(context)


def _start(
    program: str, connection: int, said: int, lower: Sequence[str], upper: str | None, work: str | None
) -> None:
    """Start the program; it gets layers as descriptors, so that no path has to be escaped or cut."""
    places = [*reversed(lower), *([upper, work] if upper is not None and work is not None else [])]
    names = [f"/proc/self/fd/{_FIRST_LAYER + index}" for index in range(len(places))]
    options = [_OPTIONS, f"lowerdir={':'.join(names[: len(lower)])}"]
    if len(places) > len(lower):
        options += [f"upperdir={names[-2]}", f"workdir={names[-1]}"]
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_DUP2, said, 1),
        (os.POSIX_SPAWN_DUP2, said, 2),
        (os.POSIX_SPAWN_DUP2, connection, _CONNECTION),
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
    ]
    flags = os.O_RDONLY | os.O_DIRECTORY
    for index, place in enumerate(places):
        actions.append((os.POSIX_SPAWN_OPEN, _FIRST_LAYER + index, place, flags, 0))
    arguments = [PROGRAM, "-f", "-o", ",".join(options), f"/dev/fd/{_CONNECTION}"]
    os.posix_spawn(program, arguments, {}, file_actions=actions, setsid=True, setsigmask=[])


def _last_message(said: int) -> str:
    lines = os.pread(said, _MESSAGE_BYTES, 0).decode(errors="replace").strip().splitlines()
    return f"{PROGRAM}: {lines[-1] if lines else 'ended without a word'}"
