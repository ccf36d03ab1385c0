"""`--check`: what works in a Dockerfile but is hardly meant, by the documented rules. Pure.

Source: BuildKit, frontend/dockerfile/docs/rules/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sampan.build import instructions as i
from sampan.build.check_descriptions import missing_descriptions
from sampan.build.parsing import Dockerfile, ParsedStage
from sampan.build.patterns import PatternList, is_pattern
from sampan.build.remotes import find_remote
from sampan.build.stages import PROXIES
from sampan.build.syntax import Node, Place, did_you_mean
from sampan.build.words import WordError, Words
from sampan.errors import InvalidArgument
from sampan.store.references import parse_reference

RULES: Final[Mapping[str, str]] = {
    "ConsistentInstructionCasing": "Instructions are all in upper case, or all in lower case",
    "CopyIgnoredFile": "A file that .dockerignore leaves out cannot be copied",
    "DuplicateStageName": "Each stage has a name of its own",
    "ExposeInvalidFormat": "EXPOSE takes ports of the container, without address or host port",
    "ExposeProtoCasing": "The protocol of EXPOSE is in lower case",
    "FromAsCasing": "AS is in the case of its FROM",
    "FromPlatformFlagConstDisallowed": "FROM --platform is no constant",
    "InvalidBaseImagePlatform": "The base image is for the platform that is built for",
    "InvalidDefaultArgInFrom": "Defaults of arguments lead to a valid base image",
    "InvalidDefinitionDescription": "A comment above a stage or argument describes it by its name",
    "JSONArgsRecommended": "CMD and ENTRYPOINT are JSON, so that signals reach the program",
    "LegacyKeyValueFormat": "ENV and LABEL are written KEY=VALUE",
    "MaintainerDeprecated": "A label names the author instead of MAINTAINER",
    "MultipleInstructionsDisallowed": "Only the last of several such instructions counts",
    "NoEmptyContinuation": "A continued line is followed by no empty one",
    "RedundantTargetPlatform": "FROM builds for the target platform anyhow",
    "ReservedStageName": "No stage is named scratch or context",
    "SecretsUsedInArgOrEnv": "Secrets are no arguments or variables: they stay in the image",
    "StageNameCasing": "Names of stages are in lower case",
    "UndefinedArgInFrom": "Arguments that FROM uses are declared before",
    "UndefinedVar": "Variables are defined before they are used",
    "WorkdirRelativePath": "WORKDIR is absolute while the base's directory is not known",
}
EXPERIMENTAL: Final = frozenset(("CopyIgnoredFile", "InvalidDefinitionDescription"))
_GUIDE: Final = "https://docs.docker.com/go/dockerfile/rule"
_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_HARMLESS = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
_PLATFORM_NAMES: Final = tuple(
    f"{prefix}{name}"
    for prefix in ("TARGET", "BUILD")
    for name in ("PLATFORM", "OS", "ARCH", "VARIANT", "OSVERSION")
)
_GLOBAL: Final = frozenset((*_PLATFORM_NAMES, "TARGETSTAGE", *PROXIES))
_ADDRESS = re.compile(r".*:.*")
_WITH_DEFAULT = re.compile(r"\$\{(\w+)(?::?[-+?])")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule does not like."""

    rule: str
    message: str
    place: Place

    @property
    def description(self) -> str:
        """What the rule asks for."""
        return RULES[self.rule]

    @property
    def url(self) -> str:
        """Where the rule is explained."""
        return f"{_GUIDE}/{re.sub(r'(?<=[a-z])(?=[A-Z])', '-', self.rule).lower()}/"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rules count: `# check=skip=A,B;error=true`, or BUILDKIT_DOCKERFILE_CHECK."""

    skip: frozenset[str] = frozenset()
    skip_all: bool = False
    is_error: bool = False
    experimental: frozenset[str] = frozenset()

    def counts(self, rule: str) -> bool:
        """Tell whether a rule is to be followed."""
        if rule in EXPERIMENTAL and not self.experimental & {rule, "all"}:
            return False
        return not self.skip_all and rule not in self.skip


def parse_wanted(text: str) -> Wanted:
    """Read the options of checks.

    Raises:
        InvalidArgument: an option is none.
    """
    skip: set[str] = set()
    experimental: set[str] = set()
    is_error = False
    for part in filter(None, (part.strip() for part in text.split(";"))):
        key, equals, value = part.partition("=")
        names = {name.strip() for name in value.split(",")}
        if key.strip() == "skip" and equals:
            skip |= names
        elif key.strip() == "experimental" and equals:
            experimental |= names
        elif key.strip() == "error" and value.strip().lower() in ("true", "false", "1", "0"):
            is_error = value.strip().lower() in ("true", "1")
        else:
            raise InvalidArgument(f"invalid check option {part!r}")
    return Wanted(frozenset(skip), "all" in skip, is_error, frozenset(experimental))


def find_all(
    dockerfile: Dockerfile,
    wanted: Wanted,
    *,
    ignored: PatternList | None,
    variables_of: Callable[[str], Collection[str] | None],
    misfit_of: Callable[[str], str],
) -> list[Finding]:
    """Return what the rules that count find, in the order of lines.

    ignored: what `.dockerignore` leaves out. variables_of: those of an image, None if it is not known.
    misfit_of: what is wrong with the platform of an image that is begun with, "" for nothing.
    """
    found = [
        *_casing(dockerfile),
        *_stage_names(dockerfile),
        *_bases(dockerfile),
        *_instructions(dockerfile, ignored),
        *_variables(dockerfile, variables_of),
        *(
            Finding("InvalidBaseImagePlatform", message, stage.head.node.place)
            for stage in dockerfile.stages
            if not stage.head.platform
            and "$" not in stage.head.image
            and (message := misfit_of(stage.head.image))
        ),
        *(
            Finding("NoEmptyContinuation", "Empty continuation line", warned.place)
            for warned in dockerfile.tree.warnings
        ),
        *(
            Finding(
                "InvalidDefinitionDescription",
                f"Comment for {kind} should follow the format: `# {name} <description>`",
                place,
            )
            for kind, name, place in missing_descriptions(dockerfile)
        ),
    ]
    counted = [one for one in found if wanted.counts(one.rule)]
    return sorted(dict.fromkeys(counted), key=lambda one: (one.place.first, one.rule, one.message))


def _written(node: Node) -> str:
    """Return the keyword as it was written."""
    return node.original.split(None, 1)[0]


def _casing(dockerfile: Dockerfile) -> Iterator[Finding]:
    words = [_written(node) for node in dockerfile.tree.nodes]
    lower = sum(word.islower() for word in words)
    upper = sum(word.isupper() for word in words)
    majority = "lowercase" if lower > upper else "uppercase"
    for node, word in zip(dockerfile.tree.nodes, words, strict=True):
        if not (word.islower() if majority == "lowercase" else word.isupper()):
            yield Finding(
                "ConsistentInstructionCasing",
                f"Command '{word}' should match the case of the command majority ({majority})",
                node.place,
            )


def _stage_names(dockerfile: Dockerfile) -> Iterator[Finding]:
    seen: set[str] = set()
    for stage in dockerfile.stages:
        node = stage.head.node
        words = node.text.split()
        if len(words) != 3:
            continue
        name, keyword = words[2], _written(node)
        if name != name.lower():
            yield Finding("StageNameCasing", f"Stage name '{name}' should be lowercase", node.place)
        if keyword.isupper() != words[1].isupper():
            message = f"'{words[1]}' and '{keyword}' keywords' casing do not match"
            yield Finding("FromAsCasing", message, node.place)
        if name.lower() in seen:
            message = f'Duplicate stage name "{name.lower()}", stage names should be unique'
            yield Finding("DuplicateStageName", message, node.place)
        if name.lower() in ("scratch", "context"):
            message = f'Stage name should not use the same name as reserved stage "{name.lower()}"'
            yield Finding("ReservedStageName", message, node.place)
        seen.add(name.lower())


def _bases(dockerfile: Dockerfile) -> Iterator[Finding]:
    escape = dockerfile.tree.escape
    declared: dict[str, str] = {}
    for argument in dockerfile.arguments:
        for name, default in argument.pairs:
            declared[name] = _expanded(default or "", declared, escape)
    known = {*declared, *_GLOBAL}
    stages: set[str] = set()
    for stage in dockerfile.stages:
        head = stage.head
        for name in _undefined(f"{head.image} {head.platform}", known, escape):
            hint = did_you_mean(name, known)
            message = f"FROM argument '{name}' is not declared{hint}"
            yield Finding("UndefinedArgInFrom", message, head.node.place)
        image = _expanded(head.image, declared, escape)
        if "$" in head.image and image.lower() not in stages and not _is_name(image):
            message = f"Default value for ARG {head.image} results in empty or invalid base image name"
            yield Finding("InvalidDefaultArgInFrom", message, head.node.place)
        if head.platform in ("$TARGETPLATFORM", "${TARGETPLATFORM}"):
            message = (
                f"Setting platform to predefined {head.platform} in FROM is redundant as this is the "
                "default behavior"
            )
            yield Finding("RedundantTargetPlatform", message, head.node.place)
        if head.platform and "$" not in head.platform and not _names_platform(head.name, head.platform):
            message = f'FROM --platform flag should not use constant value "{head.platform}"'
            yield Finding("FromPlatformFlagConstDisallowed", message, head.node.place)
        stages.add(head.name)


def _names_platform(stage: str, platform: str) -> bool:
    """Tell whether a stage says by its name that it is for that platform: `AS build_amd64`."""
    return bool(stage) and platform.rpartition("/")[2] in stage


def _is_name(image: str) -> bool:
    try:
        parse_reference(image)
    except InvalidArgument:
        return False
    return True


def _instructions(dockerfile: Dockerfile, ignored: PatternList | None) -> Iterator[Finding]:
    for stage in dockerfile.stages:
        yield from _repeated(stage)
        has_shell = has_directory = False
        for one in stage.body:
            place, keyword = one.node.place, one.node.keyword
            match one:
                case i.Shell():
                    has_shell = True
                case i.Cmd() | i.Entrypoint() if (
                    one.command.is_shell and one.command.words[0] and not has_shell
                ):
                    message = (
                        f"JSON arguments recommended for {keyword} to prevent unintended behavior related to "
                        "OS signals"
                    )
                    yield Finding("JSONArgsRecommended", message, place)
                case i.Maintainer():
                    message = "Maintainer instruction is deprecated in favor of using label"
                    yield Finding("MaintainerDeprecated", message, place)
                case i.Workdir():
                    if not has_directory and not one.path.startswith(("/", "$")):
                        message = (
                            f'Relative workdir "{one.path}" can have unexpected results if the base image '
                            "changes"
                        )
                        yield Finding("WorkdirRelativePath", message, place)
                    has_directory = has_directory or one.path.startswith("/")
                case i.Env() | i.Label():
                    yield from _pairs(one)
                case i.Arg():
                    yield from _secrets(one, [name for name, _ in one.pairs])
                case i.Expose():
                    yield from _ports(one)
                case i.Copy():
                    yield from _left_out(one, ignored)
                case _:
                    pass
    for argument in dockerfile.arguments:
        yield from _secrets(argument, [name for name, _ in argument.pairs])


def _repeated(stage: ParsedStage) -> Iterator[Finding]:
    for kind in (i.Cmd, i.Entrypoint, i.Healthcheck):
        for one in [one for one in stage.body if isinstance(one, kind)][:-1]:
            message = (
                f"Multiple {one.node.keyword} instructions should not be used in the same stage because only "
                "the last one will be used"
            )
            yield Finding("MultipleInstructionsDisallowed", message, one.node.place)


def _pairs(one: i.Env | i.Label) -> Iterator[Finding]:
    keyword = one.node.keyword
    if "=" not in one.node.text.split(None, 1)[0]:
        message = f'"{keyword} key=value" should be used instead of legacy "{keyword} key value" format'
        yield Finding("LegacyKeyValueFormat", message, one.node.place)
    if isinstance(one, i.Env):
        yield from _secrets(one, [name for name, _ in one.pairs])


def _secrets(one: i.Instruction, names: Collection[str]) -> Iterator[Finding]:
    for name in names:
        if _SECRET.search(name) and not _HARMLESS.search(name):
            message = f'Do not use ARG or ENV instructions for sensitive data ({one.node.keyword} "{name}")'
            yield Finding("SecretsUsedInArgOrEnv", message, one.node.place)


def _ports(one: i.Expose) -> Iterator[Finding]:
    for port in one.ports:
        protocol = port.partition("/")[2]
        if protocol != protocol.lower() and "$" not in protocol:
            message = f"Defined protocol '{port}' in EXPOSE instruction should be lowercase"
            yield Finding("ExposeProtoCasing", message, one.node.place)
        if _ADDRESS.fullmatch(port) and "$" not in port:
            message = (
                f"EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
            )
            yield Finding("ExposeInvalidFormat", message, one.node.place)


def _left_out(one: i.Copy, ignored: PatternList | None) -> Iterator[Finding]:
    if one.from_ or ignored is None:
        return
    for source in one.sources:
        path = source.strip("/").removeprefix("./")
        if "$" in source or is_pattern(source) or not path or path == "." or find_remote(source):
            continue
        if ignored.matches(path):
            message = f'Attempting to {one.node.keyword} file "{source}" that is excluded by .dockerignore'
            yield Finding("CopyIgnoredFile", message, one.node.place)


def _variables(
    dockerfile: Dockerfile, variables_of: Callable[[str], Collection[str] | None]
) -> Iterator[Finding]:
    escape = dockerfile.tree.escape
    after: dict[str, set[str] | None] = {}
    for stage in dockerfile.stages:
        base = stage.head.image
        known: set[str] | None
        if base.lower() in after:
            before = after[base.lower()]
            known = None if before is None else set(before)
        elif base == "scratch":
            known = {"PATH"}
        else:
            of_image = None if "$" in base else variables_of(base)
            known = None if of_image is None else {*of_image, "PATH"}
        for one in stage.body:
            if known is not None:
                for name in sorted(_undefined("\n".join(_expanded_texts(one)), {*known, *_GLOBAL}, escape)):
                    message = f"Usage of undefined variable '${name}'{_mean(name, known)}"
                    yield Finding("UndefinedVar", message, one.node.place)
                if isinstance(one, i.Env | i.Arg):
                    known |= {name for name, _ in one.pairs}
        after[stage.head.name or f" {len(after)}"] = known


def _mean(name: str, known: Collection[str]) -> str:
    return did_you_mean(name, known).replace("mean ", "mean $")


def _expanded_texts(one: i.Instruction) -> list[str]:
    """Return the texts of an instruction that the builder puts variables into."""
    match one:
        case i.Copy():
            return [*one.sources, one.destination, one.chown, one.chmod]
        case i.Env() | i.Label():
            return [value for _, value in one.pairs]
        case i.Arg():
            return [default for _, default in one.pairs if default]
        case i.Expose():
            return list(one.ports)
        case i.Volume():
            return list(one.paths)
        case i.User():
            return [one.user]
        case i.Workdir():
            return [one.path]
        case i.Stopsignal():
            return [one.signal]
        case _:
            return []


def _undefined(text: str, known: Collection[str], escape: str) -> set[str]:
    words = Words(dict.fromkeys(known, "x"), escape)
    for line in text.split("\n"):
        try:
            words.expand(line)
        except WordError:
            continue  # the parser or the build says so
    return words.unset - set(_WITH_DEFAULT.findall(text))


def _expanded(text: str, variables: Mapping[str, str], escape: str) -> str:
    try:
        return Words(variables, escape).expand(text)
    except WordError:
        return text
