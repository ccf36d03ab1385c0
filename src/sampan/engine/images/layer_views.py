"""Roots made of layers that sampand looks into or writes to itself: of builds, of images, of new containers.

They are put together in a fork of the launcher (docs/files.md), by the same storage driver as containers'.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sampan import log
from sampan.engine.core import Core
from sampan.errors import Conflict
from sampan.ids import ContainerId, Digest, new_container_id
from sampan.kernel.overlay import overlay_mount
from sampan.lean import replace
from sampan.runtime.launcher.client import ViewRequest
from sampan.runtime.requests import RootMount
from sampan.store.snapshotters import OVERLAY, PLAIN, Snapshot


def root_mount(snapshot: Snapshot) -> RootMount:
    """Return what the runtime needs to know to put a container's root together."""
    return RootMount(
        lower=snapshot.lower if snapshot.driver != PLAIN else (),
        upper=snapshot.upper,
        work=snapshot.work,
        options=snapshot.options,
        driver=snapshot.driver,
    )


@dataclass(frozen=True, slots=True)
class LayerView:
    """A root that is open, and the snapshot where what is written to it lands."""

    root_fd: int
    snapshot: Snapshot


@contextmanager
def open_layers(core: Core, top: Digest | None, *, writable: bool) -> Iterator[LayerView]:
    """Open what layers show together, exactly: without the mount points that a container's root has.

    The caller holds the layers. The snapshot is removed off the caller's clock.
    """
    container_id = ContainerId(str(new_container_id()))
    snapshot = core.store.snapshots.prepare_on(container_id, top, mount_points=False)
    try:
        request = ViewRequest(root_mount=root_mount(snapshot), read_only=not writable)
        with _opened(core.launchers.open_view(request)) as root_fd:
            yield LayerView(root_fd, snapshot)
    finally:
        core.removals.submit(lambda: _remove(core, container_id))


@contextmanager
def open_image_root(core: Core, snapshot: Snapshot) -> Iterator[int]:
    """Open what the image below a container has; one that was not started, as vfs shows its own copy."""
    if snapshot.driver == OVERLAY:
        fds = [overlay_mount(lower=snapshot.lower, options=snapshot.options)]
    else:
        whole = root_mount(snapshot)
        image = whole if snapshot.driver == PLAIN else replace(whole, upper="", work="")
        fds = core.launchers.open_view(ViewRequest(root_mount=image, read_only=True))
    with _opened(fds) as root_fd:
        yield root_fd


@contextmanager
def _opened(fds: list[int]) -> Iterator[int]:
    """Give the first of descriptors, and close all of them."""
    try:
        yield fds[0]
    finally:
        for fd in fds:
            os.close(fd)


def _remove(core: Core, container_id: ContainerId) -> None:
    try:
        core.store.snapshots.remove(container_id)
    except (Conflict, OSError) as exc:
        log.warning("a view's root cannot be removed yet", container=container_id, reason=exc)
