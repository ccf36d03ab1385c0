"""What results of checks mean, when the next one is due, what is refused."""

from __future__ import annotations

import pytest

from sampan.engine.health.checks import Health, Result, after_result, check_health, find_check, next_delay_s
from sampan.errors import InvalidArgument
from sampan.spec import docker

S = 10**9


def config(**fields: object) -> docker.Config:
    values = {"Test": ["CMD-SHELL", "true"], "Retries": 2, **fields}
    return docker.Config(Healthcheck=docker.HealthConfig(**values))  # type: ignore[arg-type]  # as given


def run(codes: str, *, at_s: int = 100, **fields: object) -> Health:
    """Return the health after checks: `+` is well, `-` is not."""
    check = find_check(config(**fields))
    assert check is not None
    health = Health(started_at_ns=0)
    for code in codes:
        result = Result(start_ns=at_s * S, end_ns=at_s * S, exit_code=0 if code == "+" else 1)
        health = after_result(health, result, check)
    return health


@pytest.mark.parametrize(
    ("codes", "status", "streak"),
    [
        ("", "starting", 0),
        ("+", "healthy", 0),
        ("-", "starting", 1),
        ("--", "unhealthy", 2),
        ("+-", "healthy", 1),
        ("+--", "unhealthy", 2),
        ("+-+-", "healthy", 1),
        ("---+", "healthy", 0),
    ],
)
def test_status(codes: str, status: str, streak: int) -> None:
    health = run(codes)
    assert (health.status, health.failing_streak) == (status, streak)


def test_failures_in_the_start_period_do_not_count() -> None:
    assert run("----", at_s=5, StartPeriod=10 * S).status == "starting"
    assert run("----", at_s=5, StartPeriod=10 * S).failing_streak == 0
    assert run("+--", at_s=5, StartPeriod=10 * S).status == "unhealthy"  # it has been well before
    assert run("--", at_s=10, StartPeriod=10 * S).status == "unhealthy"


def test_five_results_are_kept() -> None:
    assert len(run("-" * 9).log) == 5


@pytest.mark.parametrize(
    ("at_s", "status", "want"),
    [(1, "starting", 5), (1, "healthy", 30), (11, "starting", 30), (11, "unhealthy", 30)],
)
def test_next_delay(at_s: int, status: str, want: float) -> None:
    check = find_check(config(StartPeriod=10 * S))
    assert check is not None
    health = Health(started_at_ns=0, status=status)  # type: ignore[arg-type]  # table above
    assert next_delay_s(health, check, now_ns=at_s * S) == want


def test_defaults() -> None:
    check = find_check(docker.Config(Healthcheck=docker.HealthConfig(Test=["CMD", "a", "b"])))
    assert check is not None
    assert (check.args, check.interval_s, check.timeout_s, check.retries) == (("a", "b"), 30, 30, 3)
    assert (check.start_period_s, check.start_interval_s, check.remedy) == (0, 5, "none")


def test_shell() -> None:
    base = config()
    assert find_check(base).args == ("/bin/sh", "-c", "true")  # type: ignore[union-attr]  # it has one
    shell = docker.Config(Healthcheck=base.Healthcheck, Shell=["/bin/ash", "-ec"])
    assert find_check(shell).args == ("/bin/ash", "-ec", "true")  # type: ignore[union-attr]  # it has one


@pytest.mark.parametrize("test", [[], ["NONE"], None])
def test_none(test: list[str] | None) -> None:
    health = None if test is None else docker.HealthConfig(Test=test, Interval=5 * S)
    assert find_check(docker.Config(Healthcheck=health)) is None


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Interval": 999_999}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Timeout": -1}, "Timeout in Healthcheck cannot be less than 1ms"),
        ({"StartPeriod": 1}, "StartPeriod in Healthcheck cannot be less than 1ms"),
        ({"StartInterval": 1}, "StartInterval in Healthcheck cannot be less than 1ms"),
        ({"Retries": -1}, "Retries in Healthcheck cannot be negative"),
        ({"Test": ["CMD"]}, "invalid Test"),
        ({"Test": ["NONE", "x"]}, "invalid Test"),
        ({"Test": ["CMD", "a\0b"]}, "NUL inside"),
        ({"OnFailure": "explode"}, "invalid OnFailure 'explode' in Healthcheck"),
    ],
)
def test_refusals(fields: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        check_health(docker.HealthConfig(**fields))  # type: ignore[arg-type]  # table above
