"""`sampan update`: limits, restart policy and health check of containers, also while they run. Lean."""

from __future__ import annotations

from sampan.cli import values
from sampan.cli.create_body import add_health, parse_restart
from sampan.cli.interactive import show_warnings
from sampan.cli.lifecycle import for_each
from sampan.cli.outcome import UsageError
from sampan.cli.port_flags import port_bindings
from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.create_body import Body
    from sampan.cli.flags import Flags
    from sampan.client.session import Session

_SIZES = (("memory", "Memory"), ("memory-reservation", "MemoryReservation"))
_TEXTS = (("cpuset-cpus", "CpusetCpus"), ("cpuset-mems", "CpusetMems"))
_NUMBERS = (
    ("cpu-shares", "CpuShares"), ("cpu-period", "CpuPeriod"), ("cpu-quota", "CpuQuota"),
    ("cpu-rt-period", "CpuRealtimePeriod"), ("cpu-rt-runtime", "CpuRealtimeRuntime"),
    ("pids-limit", "PidsLimit"), ("blkio-weight", "BlkioWeight"),
)  # fmt: skip


def update(context: Context, flags: Flags, names: list[str]) -> int:
    """Change containers."""
    body = update_body(flags)
    if not body and not flags.given("kernel-memory"):
        raise UsageError("you must provide one or more flags when using this command", code=1)

    def step(session: Session, name: str) -> str:
        answer = session.call("POST", f"/containers/{quote(name)}/update", body=body)  # type: ignore[arg-type]  # JSON values
        if isinstance(answer, dict):
            show_warnings(answer)
        return name

    return for_each(context, names, step)


def update_body(flags: Flags) -> Body:
    """Return the request for these flags.

    Raises:
        UsageError: a value is wrong.
    """
    body: Body = {field: flags.number(name) for name, field in _NUMBERS if flags.given(name)}
    for name, field in _SIZES:
        if flags.given(name):
            body[field] = values.parse_size(f"--{name}", flags.text(name))
    for name, field in _TEXTS:
        if flags.given(name):
            body[field] = flags.text(name)
    if flags.given("memory-swap"):
        body["MemorySwap"] = values.parse_memory_swap("--memory-swap", flags.text("memory-swap"))
    if flags.given("cpus"):
        body["NanoCpus"] = values.parse_cpus("--cpus", flags.text("cpus"))
    if flags.given("restart"):
        body["RestartPolicy"] = parse_restart(flags)
    for name, field in (("publish-add", "PublishAdd"), ("publish-rm", "PublishRemove")):
        if flags.items(name):
            body[field] = port_bindings(flags.items(name))
    add_health(flags, body)
    return body
