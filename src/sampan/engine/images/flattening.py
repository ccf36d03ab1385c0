"""`image flatten`: an image with one layer that holds what all layers of another show together.

The launcher puts the layers together, in a mount namespace of their own (docs/files.md); the tree is packed,
unpacked and recorded as a commit's is.
"""

from __future__ import annotations

import errno
from datetime import UTC, datetime

import msgspec

from sampan.engine.core import Core
from sampan.engine.images.hello_image import resolve_image
from sampan.engine.images.layer_views import open_layers
from sampan.engine.observing.events import image_event
from sampan.errors import SampanError
from sampan.ids import Digest
from sampan.spec.image import History, ImageConfig, RootFS
from sampan.store.digests import chain_ids
from sampan.store.model import Image
from sampan.store.references import Reference, make_tagged

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def flatten(core: Core, ref: str, *, repository: str, tag: str) -> Digest:
    """See `Images.flatten`."""
    reference = make_tagged(repository, tag) if repository else None
    image = resolve_image(core, ref)
    try:
        with core.store.image_views.directories(image):
            image_id = _make(core, image, reference)
    except OSError as exc:
        if exc.errno not in _FULL:
            raise
        raise SampanError(f"cannot flatten {ref}: no space left on device") from exc
    shown = reference.familiar if reference is not None else image_id
    core.events.emit(image_event("tag", image_id, shown, image.config.config.Labels))
    return image_id


def _make(core: Core, image: Image, reference: Reference | None) -> Digest:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def describe(diff_ids: list[Digest]) -> ImageConfig:
        step = History(created=now, created_by=f"sampan image flatten {image.id}", comment="flattened")
        return msgspec.structs.replace(
            image.config,
            created=now,
            rootfs=RootFS(diff_ids=list(diff_ids)),
            history=[step],
            cache="",
        )

    top = chain_ids(image.layers)[-1] if image.layers else None
    with open_layers(core, top, writable=False) as view:
        place = f"/proc/self/fd/{view.root_fd}"
        return core.store.commits.flatten(image, place, describe=describe, reference=reference)
