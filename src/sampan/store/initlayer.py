"""The init layer: mount points that a runtime needs, kept apart from what the container itself changes.

It is the same for all containers of an image, so it is made once, beside the image's top layer. It is the
highest lower layer: where the image has a symlink or a file in the place of a directory, ours covers it
(as Docker replaces it) and nothing is ever followed. Directories keep the attributes the image gave them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from sampan.store.inherit import inherit_attributes
from sampan.store.places import Places
from sampan.store.trees import remove_tree

_DIRECTORIES: Final = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
_FILES: Final = (".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf")  # programs look for the first
_LINKS: Final = {"etc/mtab": "/proc/mounts"}


def make_init_layer(places: Places, target: str, below: Sequence[str]) -> None:
    """Make the init layer at target, durably enough: it is made again if it is missing.

    below are the image's layers, the next one first; their attributes count.
    """
    temporary = places.new_temporary("init")
    try:
        os.mkdir(temporary, 0o755)
        _fill(temporary)
        unnamed = [b"", *(os.fsencode(path) for path in _DIRECTORIES)]
        inherit_attributes(temporary, unnamed, below)
        os.rename(temporary, target)
    except FileExistsError:  # another thread was faster
        pass
    except OSError:
        if not os.path.isdir(target):
            raise
    finally:
        remove_tree(temporary)


def _fill(root: str) -> None:
    os.chmod(root, 0o755)  # noqa: S103 -- a container's root; its folder is 0700
    for path in _DIRECTORIES:
        os.mkdir(f"{root}/{path}")
        os.chmod(f"{root}/{path}", 0o755)  # noqa: S103 -- whatever the umask
    for path in _FILES:
        fd = os.open(f"{root}/{path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.fchmod(fd, 0o644)
        os.close(fd)
    for path, link_target in _LINKS.items():
        os.symlink(link_target, f"{root}/{path}")
