"""Containers: everything that is one request and one answer. Streams are in `routes_streams`."""

from __future__ import annotations

from aiohttp import web

from sampan.daemon.call import Call, no_content, reply
from sampan.daemon.routing import Router
from sampan.errors import InvalidArgument
from sampan.spec import docker

_IGNORED_START_BODY = 7  # bytes; older clients send `{}` or `null` with a line end


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("GET", "/containers/json", list_containers)
    router.add("POST", "/containers/create", create)
    router.add("POST", "/containers/prune", prune)
    router.add("GET", "/containers/{id}/json", inspect)
    router.add("GET", "/containers/{id}/top", top)
    router.add("POST", "/containers/{id}/start", start)
    router.add("POST", "/containers/{id}/stop", stop)
    router.add("POST", "/containers/{id}/restart", restart)
    router.add("POST", "/containers/{id}/kill", kill)
    router.add("POST", "/containers/{id}/pause", pause)
    router.add("POST", "/containers/{id}/unpause", unpause)
    router.add("POST", "/containers/{id}/rename", rename)
    router.add("POST", "/containers/{id}/resize", resize)
    router.add("POST", "/containers/{id}/update", update)
    router.add("DELETE", "/containers/{name}", remove)  # of a link: container/alias


async def list_containers(call: Call) -> web.StreamResponse:
    """GET /containers/json."""
    limit = call.whole("limit") or 0
    scoped = call.scope.role == "run-only"
    found = await call.workers.quick(
        call.engine.containers.list,
        all=call.flag("all") or (scoped and limit > 0),
        limit=0 if scoped else limit,
        size=call.flag("size"),
        filters=call.filters(),
        zombies=call.flag("zombies"),
    )
    if not scoped:
        return reply(found)
    own = [one for one in found if call.scope.owns(one.HostConfig.Annotations)]
    return reply(own[: limit if limit > 0 else None])


async def create(call: Call) -> web.StreamResponse:
    """POST /containers/create."""
    body = await call.body(docker.ContainerCreate)
    created = await call.workers.slow(
        call.engine.containers.create, body, name=call.text("name"), platform=call.text("platform")
    )
    return reply(created, status=201)


async def prune(call: Call) -> web.StreamResponse:
    """POST /containers/prune."""
    return reply(await call.workers.slow(call.engine.containers.prune, call.filters()))


async def inspect(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/json."""
    return reply(await call.workers.quick(call.engine.containers.inspect, call.name, size=call.flag("size")))


async def top(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/top."""
    return reply(
        await call.workers.slow(call.engine.containers.top, call.name, call.text("ps_args") or "-ef")
    )


async def start(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/start."""
    if len(await call.raw_body()) > _IGNORED_START_BODY:
        raise InvalidArgument(
            "starting container with non-empty request body was deprecated since API v1.22 "
            "and removed in v1.24"
        )
    if call.text("checkpoint"):
        raise InvalidArgument("checkpoint is not supported")
    await call.workers.slow(call.engine.containers.start, call.name)
    return no_content()


async def stop(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/stop."""
    await call.workers.slow(
        call.engine.containers.stop, call.name, signal=call.text("signal"), timeout_s=call.whole("t")
    )
    return no_content()


async def restart(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/restart."""
    await call.workers.slow(
        call.engine.containers.restart, call.name, signal=call.text("signal"), timeout_s=call.whole("t")
    )
    return no_content()


async def kill(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/kill."""
    await call.workers.slow(call.engine.containers.kill, call.name, call.text("signal") or "KILL")
    return no_content()


async def pause(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/pause."""
    await call.workers.slow(call.engine.containers.pause, call.name)
    return no_content()


async def unpause(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/unpause."""
    await call.workers.slow(call.engine.containers.unpause, call.name)
    return no_content()


async def rename(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/rename."""
    await call.workers.quick(call.engine.containers.rename, call.name, call.text("name"))
    return no_content()


async def resize(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/resize."""
    height, width = terminal_size(call)
    await call.workers.slow(call.engine.containers.resize, call.name, height=height, width=width)
    return web.Response()


async def update(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/update."""
    body = await call.body(docker.ContainerUpdate)
    return reply(await call.workers.slow(call.engine.containers.update, call.name, body))


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /containers/{name}: a container, or by link=1 a link, `container/alias`."""
    await call.workers.slow(
        call.engine.containers.remove,
        call.name,
        force=call.flag("force"),
        volumes=call.flag("v"),
        link=call.flag("link"),
    )
    return no_content()


def terminal_size(call: Call) -> tuple[int, int]:
    """Return height and width of a resize request.

    Raises:
        InvalidArgument: one is missing, or no size.
    """
    height, width = call.whole("h"), call.whole("w")
    if height is None or width is None:
        raise InvalidArgument("resize needs the parameters h and w")
    if not (0 <= height < 1 << 16 and 0 <= width < 1 << 16):
        raise InvalidArgument(f"invalid terminal size {height}x{width}")
    return height, width
