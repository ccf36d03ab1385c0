"""Opens a root file system that is made of layers, by whichever storage driver made it. Lean.

In a mount namespace that the container does not live in: fuse-overlayfs stays in it (`kernel.fuse_overlay`).
"""

from __future__ import annotations

from sampan.errors import SampanError
from sampan.kernel import constants as k
from sampan.kernel import mountcalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.runtime.requests import RootMount


def open_root_mount(root: RootMount) -> int:
    """Return the descriptor of the detached mount.

    Raises:
        OSError: it cannot be made. SampanError: the driver is of another version of sampan.
    """
    if root.driver == "overlay2":
        from sampan.kernel.overlay import overlay_mount

        return overlay_mount(
            lower=root.lower, upper=root.upper or None, work=root.work or None, options=root.options
        )
    if root.driver == "fuse-overlayfs":
        from sampan.kernel.fuse_overlay import fuse_overlay_mount

        return fuse_overlay_mount(lower=root.lower, upper=root.upper or None, work=root.work or None)
    if root.driver == "vfs":  # upper is the whole tree
        return mountcalls.open_tree(k.AT_FDCWD, root.upper, k.OPEN_TREE_CLONE)
    raise SampanError(f"storage driver {root.driver!r} is unknown")


def describe_root_mount(root: RootMount) -> str:
    """Say what a root is made of, for `sampan explain`."""
    if root.driver == "vfs":
        return "a copy of the image's tree"
    kind = "writable" if root.upper else "read-only"
    return f"{kind} {'overlay' if root.driver == 'overlay2' else root.driver} of {len(root.lower)} layers"
