"""A container's root, put together for `cp`, `export` and the like in a fork of the launcher. Lean.

```
 sampand ── packet, connection[, mount namespace] ──▶ launcher ── fork ──▶ here: own mount namespace,
         ◀── descriptors: root, namespace ──────────────────────────────── overlay and binds, pivot; ends
```

The namespace lives for as long as sampand holds the descriptors; nothing of it shows on the host. It takes
a process of its own because a thread of sampand can neither enter nor make a mount namespace (setns(2)).
docs/files.md has the whole of it.
"""

from __future__ import annotations

import os

from sampan.errors import SampanError
from sampan.kernel import constants as k
from sampan.kernel import mountcalls, namespaces
from sampan.runtime import rootfs
from sampan.runtime.launcher.messages import unpack_view
from sampan.runtime.launcher.transport import send
from sampan.runtime.mount_plan import plan_binds
from sampan.runtime.sources import Descriptors, open_bind, open_root
from sampan.spec.config import parse_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from sampan.runtime.launcher.messages import Document, ViewRequest


class _Root:
    """What the runtime's steps on a root need of a child."""

    root_fd = -1


def open_view(connection: socket, document: Document, fds: list[int]) -> None:
    """Do what a packet asks for and send the descriptors: root, then the namespace that holds it together.

    Raises:
        SampanError, OSError: it cannot be put together; nothing is left behind.
    """
    request = unpack_view(document.get("view"))
    if request.root_mount is None:
        send(connection, {}, [_take_root_of(fds[0])])
    else:
        send(connection, {}, _assemble(request))


def _take_root_of(namespace_fd: int) -> int:
    """Return a detached clone of a mount namespace's root, without what is mounted below it."""
    namespaces.setns(namespace_fd, k.CLONE_NEWNS)
    return mountcalls.open_tree(k.AT_FDCWD, "/", k.OPEN_TREE_CLONE)


def _assemble(request: ViewRequest) -> list[int]:
    binds = plan_binds(parse_mounts(list(request.mounts)))
    child = _Root()
    with Descriptors() as opened:
        root = opened.add(open_root("", request.root_mount, own_mounts=True))  # before: see root_mounts
        namespaces.unshare(k.CLONE_NEWNS)
        namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        sources = [
            open_bind(mount, propagation=k.MS_PRIVATE, container_maps=((), ()), fds=opened) for mount in binds
        ]
        rootfs.attach_root(child, root, k.MS_PRIVATE)
        for mount, source in zip(binds, sources, strict=True):
            try:
                rootfs.attach_bind(child, source, mount.destination, mount.options)
            except OSError as exc:
                raise SampanError(f"cannot {mount.describe()}: {exc.strerror}") from exc
        rootfs.pivot(child)
        if request.read_only:
            rootfs.make_root_readonly(child)
    return [os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), namespace]
