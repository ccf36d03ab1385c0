"""Mounting overlayfs with any number of layers, on any kernel, without showing it to anybody.

Three ways, tried in this order from the first that the kernel's version has; one that it refuses is not
tried again:

1. `lowerdir+`, one fsconfig call a layer (Linux 6.7): no limit but the kernel's 500 layers.
2. `lowerdir`, one fsconfig call: the whole list in 255 bytes, enough for a few layers.
3. mount(2), whose options must fit one page. So a helper process with a mount namespace of its own gives
   each layer a name of one to three characters in a tmpfs, mounts by these names, and takes a detached copy.
"""

from __future__ import annotations

import errno
import os

from sampan.kernel.constants import (
    AT_FDCWD,
    CLONE_FILES,
    CLONE_NEWNS,
    MOUNT_ATTR__ATIME,
    MS_NODEV,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    OPEN_TREE_CLONE,
)
from sampan.kernel.mountattrs import mount_setattr
from sampan.kernel.mountcalls import fsconfig_create, fsconfig_set, fsmount, fsopen, mount, open_tree
from sampan.kernel.namespaces import clone
from sampan.kernel.process import wait_pidfd
from sampan.kernel.syscall import fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

_FSCONFIG_VALUE = 255  # fs/fsopen.c: strndup_user(_value, 256)
_APPENDS = (6, 7)


def _release() -> tuple[int, ...]:
    """Return the running kernel's version, as (6, 18); empty when it is not told in numbers."""
    numbers = os.uname().release.split(".")[:2]
    return tuple(map(int, numbers)) if all(map(str.isdigit, numbers)) else ()


# Where the kernel is too old `lowerdir+` is not even tried: it would write a complaint into its log for each
# mount, and what a fork of the launcher learns is lost with it. Cleared also once a kernel has refused it.
_known = {"append": _release() >= _APPENDS}


def overlay_mount(
    *,
    lower: Sequence[str],
    upper: str | None = None,
    work: str | None = None,
    options: Sequence[str] = (),
    attr_flags: int = 0,
) -> int:
    """Return the descriptor of a detached overlay mount; `move_mount` attaches it, close drops it.

    lower is ordered lowest layer first (the kernel wants the opposite). Without upper the mount is read-only.
    options are "key" or "key=value" of overlayfs, such as "userxattr" or "metacopy=off"; attr_flags are
    `MOUNT_ATTR_*`. On kernels before 6.7 long lists need a process with one thread (see `namespaces.clone`).

    Raises:
        OSError: errno and what the kernel says about it; filename is upper, or the highest layer.
    """
    if not lower:
        raise fail(errno.EINVAL, "overlay without a lower directory", upper)
    keys = _writable_keys(upper, work)
    errors: list[OSError] = []
    attempts = _attempts(lower, keys)
    for attempt in attempts:
        try:
            descriptor = attempt(lower, keys, tuple(options), attr_flags)
        except OSError as exc:
            errors.append(exc)
            if exc.errno not in (errno.EINVAL, errno.ENOSYS):
                break
        else:
            # Kernels before 6.7 answer EINVAL, some to the key, some only at the end, as to a wrong option.
            _known["append"] &= attempt is _by_appending or attempts[0] is not _by_appending
            return descriptor
    error = _most_telling(errors)
    what = f"overlay of {len(lower)} layers: {error.strerror}"
    raise OSError(error.errno, what, upper or lower[-1]) from error


def _most_telling(errors: list[OSError]) -> OSError:
    """Return the error to show: the last, but the first with the kernel's own words about something else
    than `lowerdir+`, which only an old kernel minds."""
    told = [error for error in errors if "overlay: " in str(error) and "lowerdir+" not in str(error)]
    return told[0] if told and told[0].errno == errors[-1].errno else errors[-1]


def _writable_keys(upper: str | None, work: str | None) -> tuple[tuple[str, str], ...]:
    if upper is None and work is None:
        return ()
    if upper is None or work is None:
        raise fail(errno.EINVAL, "overlay needs upper and work, or neither", upper or work)
    return (("upperdir", upper), ("workdir", work))


def _escaped(path: str) -> str:
    r"""Return a path as `lowerdir`, `upperdir` and `workdir` want it (`lowerdir+` takes it as it is)."""
    return path.replace("\\", "\\\\").replace(":", "\\:")


if TYPE_CHECKING:
    Keys = tuple[tuple[str, str], ...]
    Attempt = Callable[[Sequence[str], Keys, tuple[str, ...], int], int]


def _attempts(lower: Sequence[str], keys: Keys) -> list[Attempt]:
    if any(len(os.fsencode(_escaped(path))) > _FSCONFIG_VALUE for path in (*lower, *dict(keys).values())):
        return [_by_mount]
    attempts: list[Attempt] = [_by_appending] if _known["append"] else []
    if len(os.fsencode(_joined(lower))) <= _FSCONFIG_VALUE:
        attempts.append(_by_one_string)
    attempts.append(_by_mount)
    return attempts


def _joined(lower: Sequence[str]) -> str:
    return ":".join(_escaped(path) for path in reversed(lower))


def _by_appending(lower: Sequence[str], keys: Keys, options: tuple[str, ...], attr_flags: int) -> int:
    context = fsopen("overlay")
    try:
        for path in reversed(lower):
            fsconfig_set(context, "lowerdir+", path)
        return _create(context, keys, options, attr_flags)
    finally:
        os.close(context)


def _by_one_string(lower: Sequence[str], keys: Keys, options: tuple[str, ...], attr_flags: int) -> int:
    context = fsopen("overlay")
    try:
        fsconfig_set(context, "lowerdir", _joined(lower))
        return _create(context, keys, options, attr_flags)
    finally:
        os.close(context)


def _create(context: int, keys: Keys, options: tuple[str, ...], attr_flags: int) -> int:
    for key, value in keys:
        fsconfig_set(context, key, _escaped(value))
    for option in options:
        key, equals, value = option.partition("=")
        fsconfig_set(context, key, value if equals else None)
    fsconfig_create(context)
    return fsmount(context, attr_flags)


def _by_mount(lower: Sequence[str], keys: Keys, options: tuple[str, ...], attr_flags: int) -> int:
    """Mount in a helper process, which shares only our table of descriptors and leaves the mount in it.

    parent                          helper (own mount namespace, own working directory)
    clone(FILES | NEWNS) ─────────▶ propagation off; tmpfs over /proc; in it links "0", "1", …
    waits                           mount(2) by these names; open_tree(CLONE) → descriptor N
    reads N from the pipe ◀──────── writes N, ends; its namespace and all mounts in it go
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        pid, pidfd = clone(CLONE_FILES | CLONE_NEWNS)
        if pid == 0:
            _helper(write_end, lower, keys, options)
        wait_pidfd(pidfd)
        os.close(pidfd)
        os.set_blocking(read_end, False)  # no end of file if the helper was killed: we hold the other end too
        number, descriptor = (int(field) for field in os.read(read_end, 64).split())
    finally:
        os.close(read_end)
        os.close(write_end)
    if number:
        raise fail(number, "mount overlay", keys[0][1] if keys else lower[-1])
    if attr_flags:
        mount_setattr(descriptor, attr_set=attr_flags, attr_clr=MOUNT_ATTR__ATIME)
    return descriptor


def _helper(write_end: int, lower: Sequence[str], keys: Keys, options: tuple[str, ...]) -> NoReturn:
    try:
        number, descriptor = 0, _mount_by_short_names(lower, keys, options)
    except OSError as exc:
        number, descriptor = exc.errno or errno.EIO, -1
    except BaseException:  # nothing may unwind past this frame in the child
        number, descriptor = errno.EIO, -1
    os.write(write_end, b"%d %d" % (number, descriptor))
    os._exit(0)


def _mount_by_short_names(lower: Sequence[str], keys: Keys, options: tuple[str, ...]) -> int:
    """Mount from inside a tmpfs that covers /proc: it exists everywhere and holds no layers."""
    layers = [os.path.realpath(path) for path in reversed(lower)]
    places = {key: os.path.realpath(path) for key, path in keys}
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("overlay-names", "/proc", "tmpfs", MS_NOSUID | MS_NODEV)
    os.chdir("/proc")
    names = [format(number, "x") for number in range(len(layers))]
    for name, path in zip(names, layers, strict=True):
        os.symlink(path, name)
    data = [f"lowerdir={':'.join(names)}"]
    for key, path in places.items():
        os.symlink(path, key)
        data.append(f"{key}={key}")
    os.mkdir("merged")
    mount("overlay", "merged", "overlay", 0, ",".join([*data, *options]))
    return open_tree(AT_FDCWD, "merged", OPEN_TREE_CLONE)
