"""Stages that only ONBUILD triggers need: their `COPY --from=name` means a stage of the file at hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sampan.build import instructions as i
from sampan.build.parsing import parse_trigger
from sampan.build.request import BuildRequest, FilesSource
from sampan.build.stages import Stage, Stages, closure, sources_of
from sampan.errors import SampanError

if TYPE_CHECKING:
    from sampan.build.bases import Bases


def reach_triggers(stages: Stages, request: BuildRequest, bases: Bases, *, escape: str) -> Stages:
    """Return the stages with those reached that triggers read from.

    Asks for base images, pulling what is not here, only if there is a stage that nothing else reaches.
    """
    reached = set(stages.reached)
    pending = sorted(reached)
    while pending and len(reached) <= stages.target:
        stage = stages.all[pending.pop()]
        for text in _triggers_of(stages, stage, request, bases):
            try:
                one = parse_trigger(text, stage.parsed.head.node, escape=escape)
                found = [stages.find(name, before=stage.index) for name in sources_of(one)]
            except SampanError:
                continue  # the build says so where it executes it
            fresh = closure(stages, [index for index in found if index is not None]) - reached
            reached |= fresh
            pending += sorted(fresh)
    return replace(stages, reached=tuple(sorted(reached)))


def _triggers_of(stages: Stages, stage: Stage, request: BuildRequest, bases: Bases) -> list[str]:
    if isinstance(stage.base, int):
        body = stages.all[stage.base].parsed.body
        return [one.expression for one in body if isinstance(one, i.Onbuild)]
    source = request.contexts.get(stage.base.lower())
    if stage.base == "scratch" or isinstance(source, FilesSource):
        return []
    name = stage.base if source is None else source.name
    try:
        base = bases.find(name, platform=stage.platform or request.platform)
    except SampanError:
        return []  # the build says so at its FROM
    return list(base.config.config.OnBuild or ())
