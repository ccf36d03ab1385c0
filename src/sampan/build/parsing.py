"""Syntax tree → typed instructions: arguments, flags, and what each instruction refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sampan.build import instructions as i
from sampan.build.healthchecks import parse_healthcheck
from sampan.build.lexing import extract_flags, find_heredocs, parse_json, parse_text
from sampan.build.mount_options import check_mount
from sampan.build.syntax import DockerfileError, Node, Tree, did_you_mean
from sampan.build.words import WordError, split_raw
from sampan.errors import InvalidArgument

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*")
_OWN_SYNTAX = re.compile(r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?:[:@].*)?\s*$")
_REPEATED: Final = frozenset({"mount", "exclude"})
_BOOLEANS: Final = frozenset({"link", "parents", "keep-git-dir", "unpack"})
_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "FROM": ("platform",),
    "RUN": ("mount", "network", "security", "device"),
    "COPY": ("from", "chown", "chmod", "link", "parents", "exclude"),
    "ADD": ("chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
}


@dataclass(frozen=True, slots=True)
class ParsedStage:
    """FROM and what follows it."""

    head: i.From
    body: tuple[i.Instruction, ...]


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A whole file, checked: the ARGs before the first FROM, and the stages."""

    arguments: tuple[i.Arg, ...]
    stages: tuple[ParsedStage, ...]
    tree: Tree

    @property
    def instructions(self) -> tuple[i.Instruction, ...]:
        """Every instruction in order."""
        return (*self.arguments, *(one for stage in self.stages for one in (stage.head, *stage.body)))


def parse_dockerfile(raw: bytes, *, file: str = "Dockerfile") -> Dockerfile:
    """Read a Dockerfile's text.

    Raises:
        DockerfileError: a line is wrong. InvalidArgument: it is empty, or no text.
    """
    tree = parse_text(raw, file=file)
    arguments: list[i.Arg] = []
    heads: list[i.From] = []
    bodies: list[list[i.Instruction]] = []
    for node in tree.nodes:
        made = parse_node(node, escape=tree.escape)
        if isinstance(made, i.From):
            heads.append(made)
            bodies.append([])
        elif heads:
            bodies[-1].append(made)
        elif isinstance(made, i.Arg):
            arguments.append(made)
        else:
            raise node.error("no build stage in current context")
    if not heads:
        raise tree.nodes[-1].error("no build stage in current context")
    stages = tuple(ParsedStage(head, tuple(body)) for head, body in zip(heads, bodies, strict=True))
    return Dockerfile(tuple(arguments), stages, tree)


def parse_node(node: Node, *, escape: str = "\\") -> i.Instruction:
    """Give one node its type.

    Raises:
        DockerfileError: its arguments or flags are wrong.
    """
    try:
        return _PARSERS[node.keyword](_Parse(node, escape, _parse_flags(node)))
    except DockerfileError:
        raise
    except InvalidArgument as exc:
        raise node.error(str(exc)) from exc


def other_syntax(dockerfile: Dockerfile, build_args: Mapping[str, str | None]) -> str:
    """Return the frontend that a file, or BUILDKIT_SYNTAX, asks for, if it is not Docker's; else ""."""
    name = build_args.get("BUILDKIT_SYNTAX") or dockerfile.tree.directives.get("syntax", "")
    return "" if not name or _OWN_SYNTAX.match(name) else name


def parse_trigger(text: str, node: Node, *, escape: str = "\\") -> i.Instruction:
    """Read an ONBUILD trigger of a base image; node is the FROM that brought it."""
    tree = parse_text(f"{text}\n".encode(), file=f"ONBUILD trigger of {node.text}")
    return parse_node(tree.nodes[0], escape=escape)


@dataclass(slots=True)
class _Parse:
    node: Node
    escape: str
    flags: dict[str, list[str]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.node.text

    def flag(self, name: str) -> str:
        values = self.flags.get(name)
        return values[0] if values else ""

    def on(self, name: str) -> bool:
        return self.flag(name) == "true"

    def need(self, count: str = "at least one argument") -> None:
        if not self.text:
            raise WordError(f"{self.node.keyword} requires {count}")

    def list_or_words(self) -> list[str]:
        words = parse_json(self.text)
        return self.text.split() if words is None else words

    def command(self) -> i.Command:
        words = parse_json(self.text)
        return (
            i.Command((self.text,), is_shell=True)
            if words is None
            else i.Command(tuple(words), is_shell=False)
        )

    def one_argument(self) -> str:
        if not self.text:
            raise WordError(f"{self.node.keyword} requires exactly one argument")
        return self.text


def _parse_flags(node: Node) -> dict[str, list[str]]:
    allowed = _FLAGS.get(node.keyword, ())
    found: dict[str, list[str]] = {}
    if node.keyword == "ONBUILD":
        return found
    for flag in node.flags:
        name, equals, value = flag[2:].partition("=")
        if name not in allowed:
            raise node.error(f"unknown flag: --{name}{did_you_mean(name, allowed)}")
        if name in found and name not in _REPEATED:
            raise node.error(f"duplicate flag specified: --{name}")
        if name in _BOOLEANS:
            value = value.lower() if equals else "true"
            if value not in ("true", "false"):
                raise node.error(f"expecting boolean value for flag --{name}, not: {value}")
        elif not equals:
            raise node.error(f"missing a value on flag: --{name}")
        found.setdefault(name, []).append(value)
    return found


def _from(parse: _Parse) -> i.From:
    words = parse.text.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise WordError("FROM requires either one argument, or three: FROM <source> [as <name>]")
    name = words[2].lower() if len(words) == 3 else ""
    if name and _STAGE_NAME.fullmatch(name) is None:
        raise WordError(
            f"invalid name for build stage: {words[2]!r}, name can't start with a number or contain symbols"
        )
    return i.From(node=parse.node, image=words[0], name=name, platform=parse.flag("platform"))


def _run(parse: _Parse) -> i.Run:
    parse.need()
    network = parse.flag("network") or "default"
    if network not in ("default", "none", "host"):
        raise WordError(f"invalid network mode {network!r}: default, none or host")
    security = parse.flag("security") or "sandbox"
    if security not in ("sandbox", "insecure"):
        raise WordError(f"security {security!r} is not valid: sandbox or insecure")
    if "device" in parse.flags:
        raise WordError("not supported yet: RUN --device")
    mounts = tuple(parse.flags.get("mount", ()))
    for mount in mounts:
        check_mount(mount)
    command = parse.command()
    if not command.words:
        raise WordError("RUN requires at least one argument")
    return i.Run(
        node=parse.node,
        command=command,
        mounts=mounts,
        network=network,
        security=security,
        heredocs=parse.node.heredocs,
    )


def _copy(parse: _Parse) -> i.Copy:
    keyword, heredocs = parse.node.keyword, parse.node.heredocs
    words = parse_json(parse.text)
    if words is None:
        words = split_raw(parse.text, parse.escape) if heredocs else parse.text.split()
    if heredocs:
        words = [word for word in words if not find_heredocs(word, parse.escape)] if len(words) > 1 else words
        last = split_raw(parse.text, parse.escape)[-1]
        if find_heredocs(last, parse.escape):
            raise WordError(f"{keyword} cannot accept a heredoc as a destination")
    count = len(words) + len(heredocs)
    if count < 2:
        given = ", but only one was provided. Destination could not be determined" if count else ""
        raise WordError(f"{keyword} requires at least two arguments{given}")
    unpack = parse.flags.get("unpack")
    return i.Copy(
        node=parse.node,
        sources=tuple(words[:-1]),
        destination=words[-1],
        from_=_stage_of(parse),
        chown=parse.flag("chown"),
        chmod=parse.flag("chmod"),
        link=parse.on("link"),
        parents=parse.on("parents"),
        excludes=tuple(parse.flags.get("exclude", ())),
        heredocs=heredocs,
        add=keyword == "ADD",
        checksum=parse.flag("checksum"),
        keep_git_dir=parse.on("keep-git-dir"),
        unpack=None if unpack is None else unpack[0] == "true",
    )


def _stage_of(parse: _Parse) -> str:
    name = parse.flag("from")
    if "$" in name:
        raise WordError(
            f"variable expansion is not supported for --from, define a new stage with FROM using ARG from "
            f"global scope as a workaround: {name}"
        )
    return name


def _cmd(parse: _Parse) -> i.Cmd:
    return i.Cmd(node=parse.node, command=parse.command())


def _entrypoint(parse: _Parse) -> i.Entrypoint:
    return i.Entrypoint(node=parse.node, command=parse.command())


def _pairs(parse: _Parse) -> tuple[tuple[str, str], ...]:
    parse.need()
    words = split_raw(parse.text, parse.escape)
    if "=" not in words[0]:
        parts = parse.text.split(None, 1)
        if len(parts) < 2:
            raise WordError(f"{parse.node.keyword} must have two arguments")
        return ((parts[0], parts[1]),)
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise WordError(f"Syntax error - can't find = in {word!r}. Must be of the form: name=value")
        if not name:
            raise WordError(f"{parse.node.keyword} names can not be blank")
        pairs.append((name, value))
    return tuple(pairs)


def _env(parse: _Parse) -> i.Env:
    return i.Env(node=parse.node, pairs=_pairs(parse))


def _label(parse: _Parse) -> i.Label:
    return i.Label(node=parse.node, pairs=_pairs(parse))


def _arg(parse: _Parse) -> i.Arg:
    parse.need()
    pairs: list[tuple[str, str | None]] = []
    for word in split_raw(parse.text, parse.escape):
        name, equals, value = word.partition("=")
        if not name:
            raise WordError("ARG names can not be blank")
        pairs.append((name, value if equals else None))
    return i.Arg(node=parse.node, pairs=tuple(pairs))


def _expose(parse: _Parse) -> i.Expose:
    parse.need()
    return i.Expose(node=parse.node, ports=tuple(parse.text.split()))


def _volume(parse: _Parse) -> i.Volume:
    parse.need()
    paths = parse.list_or_words()
    if not paths or not all(path.strip() for path in paths):
        raise WordError("VOLUME specified can not be an empty string")
    return i.Volume(node=parse.node, paths=tuple(path.strip() for path in paths))


def _user(parse: _Parse) -> i.User:
    return i.User(node=parse.node, user=parse.one_argument())


def _workdir(parse: _Parse) -> i.Workdir:
    return i.Workdir(node=parse.node, path=parse.one_argument())


def _onbuild(parse: _Parse) -> i.Onbuild:
    parse.need()
    flags = "".join(f"{flag} " for flag in parse.node.flags)
    inner = parse.text.split(None, 1)
    keyword = inner[0].upper()
    if keyword == "ONBUILD":
        raise WordError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("FROM", "MAINTAINER"):
        raise WordError(f"{keyword} isn't allowed as an ONBUILD trigger")
    if keyword not in _PARSERS:
        raise WordError(f"unknown instruction: {inner[0]}{did_you_mean(inner[0], _PARSERS)}")
    text = flags + parse.text
    rest = inner[1] if len(inner) == 2 else ""
    inner_flags, rest = extract_flags(rest, parse.escape)
    node = parse.node
    parse_node(
        Node(keyword, rest, text, node.place, inner_flags, node.heredocs), escape=parse.escape
    )  # for its refusals
    documents = "".join(f"\n{one.content}{one.name}" for one in node.heredocs)
    return i.Onbuild(node=node, expression=text + documents)


def _shell(parse: _Parse) -> i.Shell:
    parse.need()
    words = parse_json(parse.text)
    if words is None:
        raise WordError("SHELL requires the arguments to be in JSON form")
    if not words:
        raise WordError("SHELL requires at least one argument")
    return i.Shell(node=parse.node, words=tuple(words))


def _stopsignal(parse: _Parse) -> i.Stopsignal:
    return i.Stopsignal(node=parse.node, signal=parse.one_argument())


def _healthcheck(parse: _Parse) -> i.Healthcheck:
    values: dict[str, str] = {name: texts[0] for name, texts in parse.flags.items()}
    return parse_healthcheck(parse.node, values)


def _maintainer(parse: _Parse) -> i.Maintainer:
    return i.Maintainer(node=parse.node, author=parse.one_argument())


_PARSERS: Final[Mapping[str, Callable[[_Parse], i.Instruction]]] = {
    "ADD": _copy,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
