"""Attestations of an image that was just built: its names mean an index with them (docs/build.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sampan.build.attestations import About, Material, attest
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


def attest_image(
    core: Core, host: Host, request: BuildRequest, result: BuildResult, *, began_ns: int
) -> None:
    """Give an image that was built the attestations that its request asks for."""
    store = core.store
    image = store.images.get(parse_digest(result.image_id))
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
    made = attest(about, request.attestations, packages)
    kept = KeptIndex(made.index, OCI_INDEX, made.blobs)
    store.arrivals.name_by_index(image.id, request.tags, kept, first=True)
