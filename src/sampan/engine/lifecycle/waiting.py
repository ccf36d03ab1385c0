"""Wait for a container's end or removal; the answer may be there already."""

from __future__ import annotations

from sampan.engine.container import Container
from sampan.engine.lifecycle.waits import call_safely
from sampan.engine.types import ExitCallback, Subscription, WaitCondition, WaitResult


def on_exit(container: Container, condition: WaitCondition, callback: ExitCallback) -> Subscription:
    """See `Containers.on_exit`. The wait is registered before the state is looked at, so no end is missed."""
    wait = container.waits.add(condition, callback)
    with container.lock:
        due = container.removed or (condition == "not-running" and not container.active)
        result = container.result()
    if container.removed:
        result = WaitResult(status_code=result.status_code)  # as `Waits.removed`
    if due and container.waits.cancel(wait):
        call_safely(callback, result)
    return wait
