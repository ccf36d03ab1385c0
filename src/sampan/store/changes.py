"""`--change` of import and commit: single lines of a Dockerfile applied to an image's defaults.

The instructions are those that Docker takes there. Source: moby, builder/dockerfile, validCommitCommands;
Dockerfile reference for each instruction.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from sampan.errors import InvalidArgument
from sampan.spec.docker.common import Empty
from sampan.spec.docker.containers import HealthConfig
from sampan.spec.image import ContainerDefaults
from sampan.spec.signals import parse_signal

_SHELL: Final = ("/bin/sh", "-c")
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""")
_PIECE = re.compile(
    r"""'(?P<raw>[^']*)'|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>(?:[^"'\\]|\\.)+)""", re.DOTALL
)
_VARIABLE = re.compile(r"\\(.)|\$\{(\w+)\}|\$(\w+)|\$\{", re.DOTALL)
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", re.ASCII)
_NS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}

Apply = Callable[[ContainerDefaults, str], ContainerDefaults]


def apply_changes(defaults: ContainerDefaults, changes: Sequence[str]) -> ContainerDefaults:
    """Return the defaults with every change applied, in order.

    Raises:
        InvalidArgument: a line is no instruction that may stand there, or is malformed.
    """
    for change in changes:
        for line in change.splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                defaults = _apply_line(defaults, line.strip())
    return defaults


def _apply_line(defaults: ContainerDefaults, line: str) -> ContainerDefaults:
    keyword, _, rest = line.partition(" ")
    apply = _INSTRUCTIONS.get(keyword.upper())
    if apply is None:
        raise InvalidArgument(f"{keyword} is not a valid change command")
    if not rest.strip():
        raise InvalidArgument(f"change {line!r}: {keyword.upper()} needs an argument")
    try:
        return apply(defaults, rest.strip())
    except InvalidArgument as exc:
        raise InvalidArgument(f"change {line!r}: {exc}") from exc


def _cmd(defaults: ContainerDefaults, text: str) -> ContainerDefaults:
    return msgspec.structs.replace(defaults, Cmd=_command(defaults, text))


def _entrypoint(defaults: ContainerDefaults, text: str) -> ContainerDefaults:
    return msgspec.structs.replace(defaults, Entrypoint=_command(defaults, text))


def _env(defaults: ContainerDefaults, text: str) -> ContainerDefaults:
    env = dict(one.partition("=")[::2] for one in defaults.Env or ())
    env.update(_assignments(text, dict(env)))
    return msgspec.structs.replace(defaults, Env=[f"{name}={value}" for name, value in env.items()])


def _label(defaults: ContainerDefaults, text: str) -> ContainerDefaults:
    labels = (defaults.Labels or {}) | _assignments(text, _variables(defaults))
    return msgspec.structs.replace(defaults, Labels=labels)


def _expose(defaults: ContainerDefaults, text: str) -> ContainerDefaults:
    ports = dict(defaults.ExposedPorts or {})
    for word in _words(text, _variables(defaults)):
        match = _PORT.fullmatch(word)
        if match is None:
            raise InvalidArgument(f"{word!r} is no port")
        first = int(match[1])
        last = int(match[2] or first)
        if not 0 < first <= last <= 65535:
            raise InvalidArgument(f"{word!r} is no range of ports")
        ports.update({f"{port}/{match[3] or 'tcp'}": Empty() for port in range(first, last + 1)})
    return msgspec.structs.replace(defaults, ExposedPorts=ports)


def _volume(defaults: ContainerDefaults, text: str) -> ContainerDefaults:
    paths = _json_list(text)
    if paths is None:
        paths = _words(text, _variables(defaults))
    if not all(paths):
        raise InvalidArgument("a volume's path is empty")
    return msgspec.structs.replace(
        defaults, Volumes={**(defaults.Volumes or {}), **{path: Empty() for path in paths}}
    )


def _user(defaults: ContainerDefaults, text: str) -> ContainerDefaults:
    return msgspec.structs.replace(defaults, User=_one_word(defaults, text))


def _workdir(defaults: ContainerDefaults, text: str) -> ContainerDefaults:
    path = _expand(text, _variables(defaults))
    joined = posixpath.join(defaults.WorkingDir or "/", path)
    return msgspec.structs.replace(defaults, WorkingDir=posixpath.normpath(joined))


def _stopsignal(defaults: ContainerDefaults, text: str) -> ContainerDefaults:
    signal = _one_word(defaults, text)
    parse_signal(signal)
    return msgspec.structs.replace(defaults, StopSignal=signal)


def _onbuild(defaults: ContainerDefaults, text: str) -> ContainerDefaults:
    if text.split()[0].upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidArgument(f"{text.split()[0].upper()} isn't allowed as an ONBUILD trigger")
    return msgspec.structs.replace(defaults, OnBuild=[*(defaults.OnBuild or ()), text])


def _healthcheck(defaults: ContainerDefaults, text: str) -> ContainerDefaults:
    options: dict[str, str] = {}
    while match := re.match(r"--([a-z-]+)=(\S+)\s*", text):
        options[match[1]] = match[2]
        text = text[match.end() :]
    kind, _, command = text.partition(" ")
    if kind.upper() == "NONE" and not command and not options:
        test = ["NONE"]
    elif kind.upper() == "CMD" and command.strip():
        exec_form = _json_list(command.strip())
        test = ["CMD", *exec_form] if exec_form else ["CMD-SHELL", command.strip()]
    else:
        raise InvalidArgument("HEALTHCHECK takes NONE, or options and CMD with a command")
    health = HealthConfig(
        Test=test,
        Interval=_duration_ns(options.pop("interval", "")),
        Timeout=_duration_ns(options.pop("timeout", "")),
        StartPeriod=_duration_ns(options.pop("start-period", "")),
        StartInterval=_duration_ns(options.pop("start-interval", "")),
        Retries=_count(options.pop("retries", "0")),
    )
    if options:
        raise InvalidArgument(f"unknown option --{next(iter(options))}")
    return msgspec.structs.replace(defaults, Healthcheck=health)


_INSTRUCTIONS: Final[dict[str, Apply]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}


def _command(defaults: ContainerDefaults, text: str) -> list[str]:
    """Return the words of an exec form (a JSON list), or the shell that runs a shell form."""
    words = _json_list(text)
    return words if words is not None else [*(defaults.Shell or _SHELL), text]


def _json_list(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        return msgspec.json.decode(text.encode(), type=list[str])
    except msgspec.DecodeError:
        return None  # Docker reads it as shell form, too


def _assignments(text: str, variables: dict[str, str]) -> dict[str, str]:
    """Read `name=value name="other value"`, or the old form `name value to the end`."""
    first = text.split(None, 1)[0]
    if "=" not in first:
        name, _, value = text.partition(" ")
        if not value:
            raise InvalidArgument(f"{name!r} needs the form name=value")
        return {name: _expand(value.strip(), variables)}
    pairs = {}
    for word in _words(text, variables):
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise InvalidArgument(f"{word!r} has not the form name=value")
        pairs[name] = value
    return pairs


def _words(text: str, variables: dict[str, str]) -> list[str]:
    words, position = [], 0
    text = text.strip()
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:
            raise InvalidArgument("a quote is not closed")
        words.append(_expand(match[0], variables))
        position = match.end()
        while position < len(text) and text[position].isspace():
            position += 1
    return words


def _one_word(defaults: ContainerDefaults, text: str) -> str:
    words = _words(text, _variables(defaults))
    if len(words) != 1 or not words[0]:
        raise InvalidArgument("exactly one argument is needed")
    return words[0]


def _expand(word: str, variables: dict[str, str]) -> str:
    """Take quotes and backslashes away, and put variables in outside of single quotes."""

    def replace(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1]
        name = match[2] or match[3]
        if name is None:
            raise InvalidArgument("only $NAME and ${NAME} are known here")
        return variables.get(name, "")

    result = ""
    for piece in _PIECE.finditer(word):
        raw = piece["raw"]
        result += raw if raw is not None else _VARIABLE.sub(replace, piece["quoted"] or piece["bare"] or "")
    return result


def _variables(defaults: ContainerDefaults) -> dict[str, str]:
    return dict(one.partition("=")[::2] for one in defaults.Env or ())


def _duration_ns(text: str) -> int:
    """Read a Go duration, such as 1m30s; "" is 0."""
    total, position = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != position:
            break
        total += float(match[1]) * _NS[match[2]]
        position = match.end()
    if position != len(text):
        raise InvalidArgument(f"{text!r} is no duration")
    return round(total)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidArgument(f"{text!r} is no number of retries")
    return int(text)
