"""When a container starts again by itself. Pure; docs/restarts-and-health.md has the table.

Source: Docker's documentation, "Start containers automatically"; moby restartmanager for the times.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from sampan.errors import InvalidArgument
from sampan.spec import docker

PolicyName = Literal["no", "on-failure", "always", "unless-stopped"]

_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 60.0
_STEADY_S: Final = 10.0  # a run of this length sets the back-off back


def check_policy(policy: docker.RestartPolicy, *, auto_remove: bool) -> None:
    """Refuse a policy that is none, in Docker's words.

    Raises:
        InvalidArgument: an unknown name, a count where none belongs.
    """
    name, count = policy.Name, policy.MaximumRetryCount
    if name not in ("", *get_args(PolicyName)):
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if name != "on-failure" and count:
        more = " and cannot be negative" if count < 0 else ""
        raise InvalidArgument(
            f"invalid restart policy: maximum retry count can only be used with 'on-failure'{more}"
        )
    if count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if auto_remove and name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def name_of(policy: docker.RestartPolicy) -> PolicyName:
    """Return the policy's name; none is `no`."""
    for name in get_args(PolicyName):
        if name == policy.Name:
            return name  # type: ignore[no-any-return]  # get_args is untyped
    return "no"


def restarts_after_exit(
    policy: docker.RestartPolicy, *, exit_code: int, restart_count: int, manually_stopped: bool
) -> bool:
    """Tell whether an end is followed by a start."""
    if manually_stopped:
        return False
    match name_of(policy):
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            limit = policy.MaximumRetryCount
            return exit_code != 0 and (limit == 0 or restart_count < limit)
        case "no":
            return False


def starts_with_daemon(policy: docker.RestartPolicy, *, was_started: bool, manually_stopped: bool) -> bool:
    """Tell whether a container that has ended is started when sampand starts."""
    match name_of(policy):
        case "always":
            return was_started
        case "unless-stopped":
            return was_started and not manually_stopped
        case "on-failure" | "no":
            return False


def next_delay_s(previous_s: float, *, ran_s: float) -> float:
    """Return how long to wait before the next start; previous_s is 0 when there was none."""
    if ran_s >= _STEADY_S or previous_s <= 0:
        return _FIRST_DELAY_S
    return min(_LONGEST_DELAY_S, previous_s * 2)
