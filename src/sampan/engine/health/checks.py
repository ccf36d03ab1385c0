"""Health of a container: what a check is, what its results mean. Pure; docs/restarts-and-health.md.

Defaults and limits are Docker's (API document, "HealthConfig"; moby daemon/health.go).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

from sampan.errors import InvalidArgument
from sampan.spec import docker

HealthStatus = Literal["starting", "healthy", "unhealthy"]
Remedy = Literal["none", "kill", "restart", "stop"]

MAX_OUTPUT: Final = 4096
_KEPT_RESULTS: Final = 5
_SHORTEST_NS: Final = 10**6
_DURATIONS: Final = ("Interval", "Timeout", "StartPeriod", "StartInterval")
_OFF: Final = ["NONE"]


class Result(Struct, frozen=True, kw_only=True):
    """One check: exit_code 0 is well, -1 could not be run or took too long. Times in ns since 1970."""

    start_ns: int
    end_ns: int
    exit_code: int
    output: str = ""


class Health(Struct, frozen=True, kw_only=True):
    """What the checks of one run have found; started_at_ns names the run."""

    started_at_ns: int
    status: HealthStatus = "starting"
    failing_streak: int = 0
    log: tuple[Result, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A health check with its defaults filled in."""

    args: tuple[str, ...]
    interval_s: float
    timeout_s: float
    retries: int
    start_period_s: float
    start_interval_s: float
    remedy: Remedy


def check_health(config: docker.HealthConfig) -> None:
    """Refuse a check that is wrong in itself, in Docker's words.

    Raises:
        InvalidArgument: the message names the field.
    """
    test = config.Test
    if test and (test[0] not in ("NONE", "CMD", "CMD-SHELL") or (test[0] != "NONE") != (len(test) > 1)):
        raise InvalidArgument(f"invalid Test {test} in Healthcheck: NONE, or CMD or CMD-SHELL and a command")
    if any("\0" in word for word in test):
        raise InvalidArgument("invalid Test in Healthcheck: NUL inside an argument")
    for field in _DURATIONS:
        value = getattr(config, field)
        if value and value < _SHORTEST_NS:
            raise InvalidArgument(f"{field} in Healthcheck cannot be less than 1ms")
    if config.Retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")
    if config.OnFailure not in ("", *get_args(Remedy)):
        raise InvalidArgument(
            f"invalid OnFailure {config.OnFailure!r} in Healthcheck: none, kill, restart or stop"
        )


def merge_health(
    wanted: docker.HealthConfig | None, base: docker.HealthConfig | None
) -> docker.HealthConfig | None:
    """Return a request's check with what it leaves open taken from base, the image's or the present one."""
    if wanted is None or base is None or wanted.Test == _OFF:
        return base if wanted is None else wanted
    names = docker.HealthConfig.__struct_fields__
    return docker.HealthConfig(**{name: getattr(wanted, name) or getattr(base, name) for name in names})


def find_check(config: docker.Config) -> Check | None:
    """Return a container's check, None when it has none."""
    health = config.Healthcheck
    if health is None or len(health.Test) < 2:
        return None
    kind, *words = health.Test
    shell = config.Shell or ["/bin/sh", "-c"]
    return Check(
        args=tuple([*shell, *words] if kind == "CMD-SHELL" else words),
        interval_s=(health.Interval or 30 * 10**9) / 1e9,
        timeout_s=(health.Timeout or 30 * 10**9) / 1e9,
        retries=health.Retries or 3,
        start_period_s=health.StartPeriod / 1e9,
        start_interval_s=(health.StartInterval or 5 * 10**9) / 1e9,
        remedy=next((one for one in get_args(Remedy) if one == health.OnFailure), "none"),
    )


def after_result(health: Health, result: Result, check: Check) -> Health:
    """Return the health after one more check."""
    log = (*health.log, result)[-_KEPT_RESULTS:]
    if result.exit_code == 0:
        return msgspec.structs.replace(health, log=log, status="healthy", failing_streak=0)
    early = (result.start_ns - health.started_at_ns) / 1e9 < check.start_period_s
    if health.status == "starting" and early:
        return msgspec.structs.replace(health, log=log)
    streak = health.failing_streak + 1
    status = "unhealthy" if streak >= check.retries else health.status
    return msgspec.structs.replace(health, log=log, status=status, failing_streak=streak)


def next_delay_s(health: Health, check: Check, *, now_ns: int) -> float:
    """Return how long to wait for the next check, from the end of the last one or from the start."""
    in_start_period = (now_ns - health.started_at_ns) / 1e9 < check.start_period_s
    return check.start_interval_s if in_start_period and health.status == "starting" else check.interval_s
