"""Whether the container a request names is one that its listener may touch (docs/access.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.daemon.scopes import Right
from sampan.errors import Conflict, InvalidArgument, NotFound

if TYPE_CHECKING:
    from sampan.daemon.call import Call


async def narrow(call: Call, right: Right) -> None:
    """Check what call names, and make it name that by its full id: a name may change hands meanwhile.

    Raises:
        NotFound: in the words for what does not exist; whether it does is nobody else's business.
    """
    if right == "free" or call.scope.role == "full":
        return
    what = "exec instance" if right == "own-exec" else "container"
    missing = NotFound(f"No such {what}: {call.name}")
    try:
        owner, full_id = await (_of_exec(call) if right == "own-exec" else _of_container(call, call.name))
    except (NotFound, InvalidArgument, Conflict) as exc:
        raise missing from exc
    if not call.scope.owns(owner):
        raise missing
    call.name = full_id


async def _of_exec(call: Call) -> tuple[dict[str, str], str]:
    found = await call.workers.quick(call.engine.execs.inspect, call.name)
    return (await _of_container(call, found.ContainerID))[0], found.ID


async def _of_container(call: Call, reference: str) -> tuple[dict[str, str], str]:
    """Return annotations and full id."""
    found = await call.workers.quick(call.engine.containers.inspect, reference)
    return found.HostConfig.Annotations, found.Id
