"""Images under an index: those of several platforms, and attestations of them (docs/build.md)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from sampan.build.attestations import About, Attested, Material, attest, write_index
from sampan.build.packages import find_packages
from sampan.build.trees import RootTree
from sampan.engine.times import format_time
from sampan.ids import parse_digest
from sampan.spec.image import OCI_INDEX
from sampan.store.arrivals import KeptIndex

if TYPE_CHECKING:
    from sampan.build.host import Host
    from sampan.build.request import BuildRequest, BuildResult
    from sampan.engine.core import Core
    from sampan.store.model import Image
    from sampan.store.references import Reference


@dataclass(frozen=True, slots=True)
class Listed:
    """One image of an index; told: its attestations, if there are any."""

    image: Image
    told: Attested | None


def list_image(
    core: Core, host: Host, request: BuildRequest, result: BuildResult, *, began_ns: int
) -> Listed:
    """Return an image that was built, with the attestations that its request asks for."""
    store = core.store
    image = store.images.get(parse_digest(result.image_id))
    if not request.attestations:
        return Listed(image, None)
    epoch = request.build_args.get("SOURCE_DATE_EPOCH")
    times = [int(epoch) * 10**9] * 2 if epoch else [began_ns, time.time_ns()]
    about = About(
        manifest=image.manifest,
        platform=image.config.platform,
        names=[tag.familiar for tag in request.tags],
        dockerfile=request.dockerfile,
        target=request.target,
        arguments={name: value for name, value in request.build_args.items() if value is not None},
        labels=request.labels,
        materials=[Material(name, digest) for name, digest in result.bases],
        began=format_time(times[0]),
        ended=format_time(times[1]),
        build_id=result.image_id.removeprefix("sha256:")[:25],
    )
    packages = []
    if request.attestations.sbom:
        with host.open_root(store.built.stack_of(image)) as root:
            packages = find_packages(RootTree(root))
    return Listed(image, attest(about, request.attestations, packages))


def name_listed(core: Core, references: Sequence[Reference], listed: Sequence[Listed]) -> None:
    """Let names mean an index of images; the first is what they mean where nobody says a platform."""
    told = [one.told for one in listed if one.told is not None]
    images = [
        msgspec.structs.replace(one.image.manifest, platform=one.image.config.platform) for one in listed
    ]
    kept = KeptIndex(write_index(images, told), OCI_INDEX, tuple(blob for one in told for blob in one.blobs))
    for number, one in enumerate(listed):
        core.store.arrivals.name_by_index(one.image.id, references, kept, first=not number)
