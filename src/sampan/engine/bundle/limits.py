"""rlimits of the container's processes."""

from __future__ import annotations

from typing import Final

from sampan.engine.bundle.plan import BundlePlan, Document, Warn
from sampan.errors import InvalidArgument

_UNLIMITED: Final = 2**64 - 1  # RLIM_INFINITY (linux/resource.h); config.json has unsigned 64-bit numbers
_NAMES: Final = {
    "core": "CORE",
    "cpu": "CPU",
    "data": "DATA",
    "fsize": "FSIZE",
    "locks": "LOCKS",
    "memlock": "MEMLOCK",
    "msgqueue": "MSGQUEUE",
    "nice": "NICE",
    "nofile": "NOFILE",
    "nproc": "NPROC",
    "rss": "RSS",
    "rtprio": "RTPRIO",
    "rttime": "RTTIME",
    "sigpending": "SIGPENDING",
    "stack": "STACK",
}


def make_rlimits(plan: BundlePlan, warn: Warn) -> list[Document]:
    """Return `process.rlimits`: what was asked for, and no core dumps unless it was.

    Differs: the soft core limit is 0. A core_pattern is not namespaced, the host's handler would run.
    A limit above what sampand may give is lowered, with a warning.

    Raises:
        InvalidArgument: an unknown name, or soft above hard.
    """
    _, core_hard = plan.machine.rlimits["RLIMIT_CORE"]
    result = {"RLIMIT_CORE": (0, core_hard)}
    for ulimit in plan.host.Ulimits:
        if ulimit.Name not in _NAMES:
            raise InvalidArgument(f"invalid ulimit type: {ulimit.Name}")
        if ulimit.Soft < -1 or ulimit.Hard < -1:
            raise InvalidArgument(f"invalid ulimit {ulimit.Name}: -1 is no limit")
        if ulimit.Hard != -1 and (ulimit.Soft == -1 or ulimit.Soft > ulimit.Hard):
            raise InvalidArgument(
                f"ulimit soft limit must be less than or equal to hard limit: {ulimit.Soft} > {ulimit.Hard}"
            )
        name = f"RLIMIT_{_NAMES[ulimit.Name]}"
        result[name] = _clamp(name, (ulimit.Soft, ulimit.Hard), plan, warn)
    return [
        {"type": name, "soft": _unsigned(soft), "hard": _unsigned(hard)}
        for name, (soft, hard) in result.items()
    ]


def _clamp(name: str, wanted: tuple[int, int], plan: BundlePlan, warn: Warn) -> tuple[int, int]:
    """Lower wanted to our own hard limit where CAP_SYS_RESOURCE is missing (setrlimit(2))."""
    if "CAP_SYS_RESOURCE" in plan.machine.capabilities:
        return wanted
    _, most = plan.machine.rlimits.get(name, (-1, -1))
    if most == -1 or 0 <= wanted[1] <= most:
        return wanted
    warn(f"{name} is lowered to {most}: sampand may not give more on this machine")
    soft = most if wanted[0] == -1 else min(wanted[0], most)
    return soft, most


def _unsigned(value: int) -> int:
    return _UNLIMITED if value == -1 else value
