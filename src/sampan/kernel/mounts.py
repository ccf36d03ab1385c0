"""Mounts: the door to everything about them in this package.

`mountcalls` has the system calls, `mountattrs` mount_setattr with its fallback, `overlay` overlayfs,
`mountinfo` what is mounted.
"""

from __future__ import annotations

from sampan.kernel.mountattrs import mount_id, mount_setattr
from sampan.kernel.mountcalls import (
    fsconfig_create,
    fsconfig_set,
    fsmount,
    fsopen,
    mount,
    move_mount,
    open_tree,
    pivot_root,
    umount,
)
from sampan.kernel.mountinfo import MountInfo, read_mountinfo
from sampan.kernel.overlay import overlay_mount

__all__ = [
    "MountInfo",
    "fsconfig_create",
    "fsconfig_set",
    "fsmount",
    "fsopen",
    "mount",
    "mount_id",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "overlay_mount",
    "pivot_root",
    "read_mountinfo",
    "umount",
]
