"""The mount that a local volume's options ask for, on its directory. docs/volumes.md, "The driver local"."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sampan import log
from sampan.errors import SampanError
from sampan.kernel import constants as k
from sampan.kernel.mounts import mount, mount_id, umount
from sampan.store.volume_options import LocalMount

# Words of `o` that are flags of mount(2): (to set, to clear). The rest is for the file system.
_FLAGS: Final = {
    "defaults": (0, 0),
    "ro": (k.MS_RDONLY, 0),
    "rw": (0, k.MS_RDONLY),
    "nosuid": (k.MS_NOSUID, 0),
    "suid": (0, k.MS_NOSUID),
    "nodev": (k.MS_NODEV, 0),
    "dev": (0, k.MS_NODEV),
    "noexec": (k.MS_NOEXEC, 0),
    "exec": (0, k.MS_NOEXEC),
    "sync": (k.MS_SYNCHRONOUS, 0),
    "async": (0, k.MS_SYNCHRONOUS),
    "dirsync": (k.MS_DIRSYNC, 0),
    "noatime": (k.MS_NOATIME, 0),
    "atime": (0, k.MS_NOATIME),
    "nodiratime": (k.MS_NODIRATIME, 0),
    "diratime": (0, k.MS_NODIRATIME),
    "relatime": (k.MS_RELATIME, 0),
    "norelatime": (0, k.MS_RELATIME),
    "strictatime": (k.MS_STRICTATIME, 0),
    "bind": (k.MS_BIND, 0),
    "rbind": (k.MS_BIND | k.MS_REC, 0),
}
_PROPAGATION: Final = {
    "private": k.MS_PRIVATE,
    "rprivate": k.MS_PRIVATE | k.MS_REC,
    "shared": k.MS_SHARED,
    "rshared": k.MS_SHARED | k.MS_REC,
    "slave": k.MS_SLAVE,
    "rslave": k.MS_SLAVE | k.MS_REC,
    "unbindable": k.MS_UNBINDABLE,
    "runbindable": k.MS_UNBINDABLE | k.MS_REC,
}
_NETWORK: Final = ("nfs", "nfs4", "cifs")  # their `addr=` must be a number: the kernel looks no names up
_BIND: Final = k.MS_BIND | k.MS_REC

Resolve = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MountCall:
    """What is passed to mount(2). remount: a bind's other flags, which need a second call."""

    source: str
    fstype: str
    flags: int
    data: str
    propagation: int

    @property
    def remount(self) -> int:
        """Flags of the second call of a bind mount, 0 for none (mount(2), "Creating a bind mount")."""
        rest = self.flags & ~_BIND
        return rest | k.MS_BIND | k.MS_REMOUNT if self.flags & k.MS_BIND and rest else 0


def plan_mount(wanted: LocalMount, *, resolve: Resolve) -> MountCall:
    """Sort the words of `o`; resolve gives the address of a host name."""
    flags, propagation = 0, 0
    data: list[str] = []
    for word in wanted.options:
        if word in _FLAGS:
            add, clear = _FLAGS[word]
            flags = flags & ~clear | add
        elif word in _PROPAGATION:
            propagation = _PROPAGATION[word]
        elif wanted.fstype in _NETWORK and word.startswith("addr="):
            data.append(f"addr={resolve(word[5:])}")
        else:
            data.append(word)
    fstype = "" if wanted.fstype == "none" else wanted.fstype
    return MountCall(
        source=wanted.device, fstype=fstype, flags=flags, data=",".join(data), propagation=propagation
    )


def mount_volume(path: str, wanted: LocalMount) -> None:
    """Mount on a volume's directory, as a whole or not at all.

    Raises:
        SampanError: the kernel refuses; passwords are left out of the message.
    """
    try:
        call = plan_mount(wanted, resolve=_address)
        mount(call.source, path, call.fstype or None, call.flags, call.data or None)
        try:
            if call.remount:
                mount(None, path, None, call.remount)
            if call.propagation:
                mount(None, path, None, call.propagation)
        except OSError:
            umount(path, k.UMOUNT_NOFOLLOW | k.MNT_DETACH)
            raise
    except OSError as exc:
        reason = exc.strerror if isinstance(exc.errno, int) else str(exc)
        raise SampanError(
            f"error while mounting volume '{path}': failed to mount local volume: {reason}",
            hint=_hint(exc, wanted),
        ) from exc


def _hint(error: OSError, wanted: LocalMount) -> str:
    if error.errno == errno.ENODEV:
        return f"the kernel has no file system {wanted.fstype}"
    if error.errno == errno.ENOENT:
        return f"{wanted.device} does not exist"
    return ""


def _address(host: str) -> str:
    """Return a host's address; Docker takes the first IPv4 or IPv6 one.

    Raises:
        OSError: the name is unknown.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return str(found[0][4][0])


def unmount_volume(path: str) -> None:
    """Take the mount off a volume's directory; nothing happens if there is none.

    A mount that a process of the host stands in goes when that lets go.
    """
    if not is_mounted(path):
        return
    try:
        umount(path, k.UMOUNT_NOFOLLOW)
    except OSError as exc:
        if exc.errno != errno.EBUSY:
            raise
        log.warning("volume is busy; it is unmounted when its last user lets go", path=path)
        umount(path, k.UMOUNT_NOFOLLOW | k.MNT_DETACH)


def is_mounted(path: str) -> bool:
    """Tell whether something is mounted on a directory of ours."""
    folder = os.path.dirname(path)
    ids = []
    for place in (folder, path):
        try:
            fd = os.open(place, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            ids.append(mount_id(fd))
        finally:
            os.close(fd)
    return ids[0] != ids[1]
