"""Which stages there are, what the target reaches, and the ARGs before the first FROM. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sampan.build import instructions as i
from sampan.build.mount_options import parse_mount
from sampan.build.parsing import Dockerfile, ParsedStage
from sampan.build.syntax import did_you_mean
from sampan.build.words import WordError, Words
from sampan.errors import InvalidArgument
from sampan.spec.image import Platform

PROXIES: Final = tuple(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)
BuildArgs = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: what it begins with is another stage's index, or an image's name."""

    index: int
    parsed: ParsedStage
    base: int | str
    platform: str

    @property
    def name(self) -> str:
        """Its name in lower case, or its number."""
        return self.parsed.head.name or str(self.index)


@dataclass(frozen=True, slots=True)
class Stages:
    """All stages of a file, in order. reached: those that the target needs, itself included, in order."""

    all: tuple[Stage, ...]
    target: int
    reached: tuple[int, ...]
    global_arguments: Mapping[str, str]
    used_build_args: frozenset[str]

    def find(self, name: str, *, before: int) -> int | None:
        """Return the stage that `--from=name` means in stage before; None: it is an image.

        Raises:
            InvalidArgument: it is that stage itself, or a later one.
        """
        found = _find(self.all, name)
        if found is None:
            return None
        if found == before:
            raise InvalidArgument(f"circular dependency detected on stage: {name}")
        if found > before:
            raise InvalidArgument(
                f"cannot copy from stage {name!r}, it needs to be defined before current stage "
                f"{self.all[before].name!r}"
            )
        return found


def plan_stages(
    dockerfile: Dockerfile,
    *,
    build_args: BuildArgs,
    target: str,
    platform: Platform,
    build_platform: Platform,
    contexts: Collection[str] = (),
) -> Stages:
    """Find the stages and what the target reaches. contexts: names that stand for stages and images.

    Raises:
        InvalidArgument: a FROM is blank, a stage is used before it is there, or there is no such target.
    """
    names = platform_arguments(platform, build_platform)
    names["TARGETSTAGE"] = target or "default"
    names.update({name: value for name in names if (value := build_args.get(name)) is not None})
    used: set[str] = set()
    escape = dockerfile.tree.escape
    for argument in dockerfile.arguments:
        for raw_name, default in argument.pairs:
            words = Words(names, escape)
            name = _expand(argument, words, raw_name)
            used |= {name} & build_args.keys()
            value = build_args[name] if name in build_args else None
            if value is None and default is not None:
                value = _expand(argument, words, default)
            if value is not None:
                names[name] = value
    stages: list[Stage] = []
    for index, parsed in enumerate(dockerfile.stages):
        if parsed.head.name in contexts:
            parsed = ParsedStage(replace(parsed.head, image=parsed.head.name), ())
        stages.append(_make_stage(index, parsed, stages, Words(names, escape)))
    chosen = _find_target(stages, target)
    plan = Stages(tuple(stages), chosen, (), names, frozenset(used))
    return Stages(plan.all, chosen, _reach(plan, chosen), names, plan.used_build_args)


def platform_arguments(platform: Platform, build_platform: Platform) -> dict[str, str]:
    """Return the ARGs that are known without being declared before FROM."""
    return {
        f"{prefix}{name}": value
        for prefix, one in (("TARGET", platform), ("BUILD", build_platform))
        for name, value in (
            ("PLATFORM", str(one)),
            ("OS", one.os),
            ("ARCH", one.architecture),
            ("VARIANT", one.variant),
            ("OSVERSION", one.os_version),
        )
    }


def _make_stage(index: int, parsed: ParsedStage, before: Sequence[Stage], words: Words) -> Stage:
    head = parsed.head
    image = _expand(head, words, head.image)
    if not image or any(char.isspace() for char in image):
        raise head.node.error(f"base name ({head.image}) should not be blank")
    named = [stage.index for stage in before if stage.parsed.head.name == image.lower()]
    return Stage(index, parsed, named[-1] if named else image, _expand(head, words, head.platform))


def _expand(instruction: i.Instruction, words: Words, text: str) -> str:
    try:
        return words.expand(text)
    except WordError as exc:
        raise instruction.node.error(str(exc)) from exc


def _find(stages: Sequence[Stage], name: str) -> int | None:
    for stage in reversed(stages):
        if stage.parsed.head.name == name.lower():
            return stage.index
    if name.isascii() and name.isdigit() and int(name) < len(stages):
        return int(name)
    return None


def _find_target(stages: Sequence[Stage], target: str) -> int:
    if not target:
        return len(stages) - 1
    found = _find(stages, target)
    if found is None:
        names = [stage.parsed.head.name for stage in stages if stage.parsed.head.name]
        raise InvalidArgument(f'target stage "{target}" could not be found{did_you_mean(target, names)}')
    return found


def _reach(stages: Stages, target: int) -> tuple[int, ...]:
    return tuple(sorted(closure(stages, [target])))


def closure(stages: Stages, wanted: Sequence[int]) -> set[int]:
    """Return stages and all that they need, by their own text."""
    reached: set[int] = set()
    pending = list(wanted)
    while pending:
        index = pending.pop()
        if index not in reached:
            reached.add(index)
            pending += needs_of(stages, stages.all[index])
    return reached


def needs_of(stages: Stages, stage: Stage) -> list[int]:
    """Return the stages that a stage needs, by its own text."""
    needed = [stage.base] if isinstance(stage.base, int) else []
    for one in stage.parsed.body:
        for name in sources_of(one):
            try:
                found = stages.find(name, before=stage.index)
            except InvalidArgument as exc:
                raise one.node.error(str(exc)) from exc
            if found is not None:
                needed.append(found)
    return needed


def sources_of(one: i.Instruction) -> list[str]:
    """Return the stages or images that an instruction reads from."""
    if isinstance(one, i.Copy):
        return [one.from_] if one.from_ else []
    if isinstance(one, i.Run):
        mounts = [parse_mount(text, lambda value: value or "/x") for text in one.mounts]
        return [mount.from_ for mount in mounts if mount.from_]
    return []
