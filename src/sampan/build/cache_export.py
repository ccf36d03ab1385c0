"""`--cache-to`: the steps of a build, written where another machine's build finds them (`cache_import`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from sampan.build.cache_format import Used, write_cache
from sampan.build.cache_places import CacheTo
from sampan.build.host import Host, PackedLayer
from sampan.build.request import BuildRequest, Output
from sampan.errors import SampanError
from sampan.ids import Digest
from sampan.store.digests import digest_of


def export_caches(
    host: Host,
    request: BuildRequest,
    output: Output,
    *,
    own: Sequence[Used],
    every: Callable[[], Sequence[Used]],
) -> None:
    """Write every cache that a build is to write, but inline ones; the caller holds the layers.

    own: the steps of the image itself (mode=min); every: those of all stages (mode=max).

    Raises:
        SampanError: one cannot be written, and was not allowed to fail.
    """
    for one in request.cache_to:
        if one.option.kind == "inline":
            continue
        steps = every() if one.option.whole else own
        shown = f"exporting cache to {one.option.place}"
        try:
            with output.beside(shown):
                _export(host, one, steps, request)
        except (SampanError, OSError) as exc:
            if not one.option.may_fail:
                raise SampanError(f"{shown}: {exc}") from exc
            output.warn(f"{shown}: {exc}")


def _export(host: Host, wanted: CacheTo, steps: Sequence[Used], request: BuildRequest) -> None:
    option = wanted.option
    target = wanted.target() if wanted.target else host.cache_target(option.place, auth=request.registry_auth)
    with ExitStack() as held:
        packed: dict[Digest, PackedLayer] = {}
        for step in steps:
            if step.layer is not None and step.chain is not None and step.chain not in packed:
                packed[step.chain] = held.enter_context(host.packed(step.layer))
        documents = write_cache(
            steps,
            {chain: one.descriptor for chain, one in packed.items()},
            as_index=option.as_index,
            docker_types=option.docker_types,
        )
        for digest, one in _by_digest(packed).items():
            target.put_blob(digest, one.path, size_bytes=one.descriptor.size)
        config = held.enter_context(_file(host.temporary, documents.config))
        target.put_blob(digest_of(documents.config), config, size_bytes=len(documents.config))
        target.put_top(documents.top, documents.top_type)


def _by_digest(layers: Mapping[Digest, PackedLayer]) -> dict[Digest, PackedLayer]:
    return {Digest(one.descriptor.digest): one for one in layers.values()}


@contextmanager
def _file(folder: str, data: bytes) -> Iterator[str]:
    path = f"{folder}/cache-config-{os.urandom(8).hex()}"
    with open(path, "xb") as file:
        file.write(data)
    try:
        yield path
    finally:
        os.unlink(path)
