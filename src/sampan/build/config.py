"""What instructions do to an image's configuration. Pure; variables are put in already."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from sampan.build.instructions import Healthcheck
from sampan.errors import InvalidArgument
from sampan.spec.docker.common import Empty
from sampan.spec.docker.containers import HealthConfig
from sampan.spec.image import ContainerDefaults

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/([A-Za-z]+))?", re.ASCII)
_SIGNALS: Final = frozenset(
    "HUP INT QUIT ILL TRAP ABRT IOT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CLD CONT STOP "
    "TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO POLL PWR SYS RTMIN RTMAX TSTP".split()
)
_REALTIME = re.compile(r"RTMIN\+(?:[1-9]|1[0-5])|RTMAX-(?:[1-9]|1[0-4])")

Defaults = ContainerDefaults
Pairs = Iterable[tuple[str, str]]


def environment_of(defaults: Defaults) -> dict[str, str]:
    """Return the variables of a configuration."""
    return dict(one.partition("=")[::2] for one in defaults.Env or ())


def set_environment(defaults: Defaults, pairs: Pairs) -> Defaults:
    """Add or replace variables, in their places."""
    values = environment_of(defaults) | dict(pairs)
    return msgspec.structs.replace(defaults, Env=[f"{name}={value}" for name, value in values.items()])


def with_path(defaults: Defaults) -> Defaults:
    """Give a configuration PATH if it has none."""
    return (
        defaults
        if "PATH" in environment_of(defaults)
        else set_environment(defaults, [("PATH", DEFAULT_PATH)])
    )


def add_labels(defaults: Defaults, pairs: Pairs) -> Defaults:
    """Add or replace labels."""
    return msgspec.structs.replace(defaults, Labels={**(defaults.Labels or {}), **dict(pairs)})


def expose(defaults: Defaults, ports: Sequence[str]) -> Defaults:
    """Add ports.

    Raises:
        InvalidArgument: one is no port.
    """
    found = dict(defaults.ExposedPorts or {})
    for text in ports:
        match = _PORT.fullmatch(text)
        if match is None:
            raise InvalidArgument(f"invalid containerPort: {text}")
        first, protocol = int(match[1]), (match[3] or "tcp").lower()
        last = int(match[2] or first)
        if not first <= last <= 65535:
            raise InvalidArgument(f"invalid containerPort: {text}")
        if protocol not in ("tcp", "udp", "sctp"):
            raise InvalidArgument(f"invalid proto: {protocol}")
        found.update({f"{port}/{protocol}": Empty() for port in range(first, last + 1)})
    return msgspec.structs.replace(defaults, ExposedPorts=dict(sorted(found.items())))


def add_volumes(defaults: Defaults, paths: Sequence[str]) -> Defaults:
    """Declare volumes.

    Raises:
        InvalidArgument: a path is empty.
    """
    if not all(path.strip() for path in paths):
        raise InvalidArgument("VOLUME specified can not be an empty string")
    return msgspec.structs.replace(
        defaults, Volumes={**(defaults.Volumes or {}), **{path: Empty() for path in paths}}
    )


def join_workdir(defaults: Defaults, path: str) -> str:
    """Return the absolute directory that WORKDIR path means."""
    return posixpath.normpath(posixpath.join("/", defaults.WorkingDir or "/", path)).replace("//", "/")


def check_signal(text: str) -> str:
    """Return a stop signal.

    Raises:
        InvalidArgument: there is no such signal.
    """
    name = text.upper().removeprefix("SIG")
    known = name in _SIGNALS or _REALTIME.fullmatch(name) or (text.isdigit() and 0 < int(text) <= 64)
    if not known:
        raise InvalidArgument(f"invalid signal: {text}")
    return text


def health_of(check: Healthcheck) -> HealthConfig:
    """Return a health check as it stands in the configuration."""
    return HealthConfig(
        Test=list(check.test),
        Interval=check.interval_ns,
        Timeout=check.timeout_ns,
        StartPeriod=check.start_period_ns,
        StartInterval=check.start_interval_ns,
        Retries=check.retries,
    )
