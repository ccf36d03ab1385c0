"""What a Dockerfile can be asked for: its targets, and the parameters of one. Pure.

The documents are those of BuildKit's subrequests `frontend.outline` and `frontend.targets`.
Source: BuildKit, frontend/subrequests/{outline,targets}; frontend/dockerfile/dockerfile2llb/outline.go.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sampan.build import instructions as i
from sampan.build.check_descriptions import description_of
from sampan.build.mount_options import parse_mount
from sampan.build.words import WordError, Words

if TYPE_CHECKING:
    from sampan.build.parsing import Dockerfile
    from sampan.build.stages import Stage, Stages
    from sampan.build.syntax import Place

JsonDocument = dict[str, object]


def targets(dockerfile: Dockerfile, stages: Stages, raw: bytes) -> JsonDocument:
    """Return every stage that can be built, in order; raw: the Dockerfile itself, to be shown beside."""
    last = len(stages.all) - 1
    found = []
    for stage in stages.all:
        head = stage.parsed.head
        base = stages.all[stage.base].name if isinstance(stage.base, int) else stage.base
        one: JsonDocument = {"name": head.name, "default": stage.index == last, "base": base}
        found.append(_with_place(one, head, description_of(head, head.name), platform=stage.platform))
    return {"targets": found, "sources": _sources(raw)}


def outline(
    dockerfile: Dockerfile, stages: Stages, raw: bytes, *, build_args: Mapping[str, str | None]
) -> JsonDocument:
    """Return what the target takes: arguments with their values, secrets, agents, cache mounts."""
    target = stages.all[stages.target].parsed.head
    reached = [stages.all[index] for index in stages.reached]
    mounts = [one for stage in reached for one in _mounts(stage)]
    document: JsonDocument = {
        "name": target.name,
        "description": description_of(target, target.name),
        "args": _arguments(dockerfile, reached, stages, build_args),
        "secrets": _needed("secret", mounts),
        "ssh": _needed("ssh", mounts),
        "cache": [
            _with_place({"ID": mount.id or mount.target}, run)
            for run, mount in mounts
            if mount.kind == "cache"
        ],
        "sources": _sources(raw),
    }
    return {key: value for key, value in document.items() if value}


def _arguments(
    dockerfile: Dockerfile, reached: list[Stage], stages: Stages, build_args: Mapping[str, str | None]
) -> list[JsonDocument]:
    """Return each argument once, as it is first declared with a value."""
    found: dict[str, JsonDocument] = {}
    known = dict(stages.global_arguments)
    declared = [*dockerfile.arguments, *(one for stage in reached for one in stage.parsed.body)]
    for one in declared:
        if not isinstance(one, i.Arg):
            continue
        for name, default in one.pairs:
            value = build_args.get(name)
            if value is None:
                value = known.get(name, "") if default is None else _expand(default, known, dockerfile)
            known.setdefault(name, value)
            if not found.get(name, {}).get("value"):
                found[name] = _with_place({"name": name}, one, description_of(one, name), value=value)
    return list(found.values())


def _expand(text: str, known: Mapping[str, str], dockerfile: Dockerfile) -> str:
    try:
        return Words(known, dockerfile.tree.escape).expand(text)
    except WordError:
        return text


def _mounts(stage: Stage) -> list[tuple[i.Run, i.Mount]]:
    return [
        (one, parse_mount(text, lambda value: value or "/x"))
        for one in stage.parsed.body
        if isinstance(one, i.Run)
        for text in one.mounts
    ]


def _needed(kind: str, mounts: list[tuple[i.Run, i.Mount]]) -> list[JsonDocument]:
    """Return secrets or agents by id, each once; required if any step wants it so."""
    found: dict[str, JsonDocument] = {}
    for run, mount in mounts:
        if mount.kind == kind:
            name = mount.id or mount.target.rpartition("/")[2] or "default"
            one = found.setdefault(name, _with_place({"name": name}, run))
            if mount.required:
                one["required"] = True
    return list(found.values())


def _with_place(
    one: JsonDocument, instruction: i.Instruction, description: str = "", **more: str
) -> JsonDocument:
    optional = {"description": description, **more}
    return {
        **one,
        **{key: value for key, value in optional.items() if value},
        "location": location_of(instruction.node.place),
    }


def location_of(place: Place) -> JsonDocument:
    """Return lines as the JSON form of BuildKit's `pb.Location`."""
    return {"ranges": [{"start": {"line": place.first}, "end": {"line": place.last}}]}


def _sources(raw: bytes) -> list[str]:
    return [base64.b64encode(raw).decode()]
