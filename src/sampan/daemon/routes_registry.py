"""What asks a registry: pull, push, login, distribution."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from aiohttp import web

from sampan.daemon.call import Call, encode_line, reply
from sampan.daemon.landing import Mailbox
from sampan.daemon.routes_sampan import ROOT
from sampan.daemon.routing import Router
from sampan.daemon.streaming import end_stream, error_line, open_stream
from sampan.engine.images.registry_queries import ListPush, VerifyRequest
from sampan.engine.images.remote import PullRequest, PushRequest
from sampan.errors import InvalidArgument
from sampan.spec import docker, gojson
from sampan.spec.image import Platform

Line = dict[str, object]
Report = Callable[[Line], None]


def add_routes(router: Router) -> None:
    """Add this module's routes; pull is a case of `/images/create`."""
    router.add("POST", "/images/{name}/push", push)
    router.add("POST", "/auth", login)
    router.add("GET", "/distribution/{name}/json", distribution)
    router.add("GET", "/images/search", search)
    router.add("POST", f"{ROOT}/images/{{name}}/verify", verify)
    router.add("POST", f"{ROOT}/manifests/push", push_list)
    router.add("GET", f"{ROOT}/manifests/{{name}}/json", manifest)


async def login(call: Call) -> web.StreamResponse:
    """POST /auth."""
    wanted = await call.body(docker.AuthConfig)
    return reply(await call.workers.slow(call.engine.remote.login, wanted))


async def distribution(call: Call) -> web.StreamResponse:
    """GET /distribution/{name}/json."""
    auth = call.request.headers.get("X-Registry-Auth", "")
    return reply(await call.workers.slow(call.engine.remote.distribution, call.name, auth=auth))


async def search(call: Call) -> web.StreamResponse:
    """GET /images/search?term=…."""
    limit = call.text("limit") or "0"
    if not limit.isdecimal():
        raise InvalidArgument(f"invalid limit specified: {limit!r} is no number")
    found = await call.workers.slow(
        call.engine.registries.search,
        call.text("term"),
        limit=int(limit),
        filters=call.filters(),
        auth=call.request.headers.get("X-Registry-Auth", ""),
    )
    return reply(found)


async def manifest(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/manifests/{name}/json: what a registry has under a name."""
    auth = call.request.headers.get("X-Registry-Auth", "")
    return reply(await call.workers.slow(call.engine.registries.read_manifest, call.name, auth=auth))


async def verify(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/images/{name}/verify: whose signatures an image has."""
    wanted = await call.body(VerifyRequest)
    auth = call.request.headers.get("X-Registry-Auth", "")
    return reply(await call.workers.slow(call.engine.registries.verify, call.name, wanted, auth=auth))


async def push_list(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/manifests/push: an index of images that are in its registry."""
    wanted = await call.body(ListPush)
    auth = call.request.headers.get("X-Registry-Auth", "")
    digest = await call.workers.slow(call.engine.registries.push_list, wanted, auth=auth)
    return reply({"Digest": digest}, status=201)


async def pull(call: Call) -> web.StreamResponse:
    """POST /images/create?fromImage=."""
    request = PullRequest(
        image=call.text("fromImage"),
        tag=call.text("tag"),
        platform=call.text("platform"),
        auth=call.request.headers.get("X-Registry-Auth", ""),
    )
    wanted = await call.workers.quick(call.engine.remote.open_pull, request)
    try:
        return await stream_when_begun(call, wanted.run)
    finally:
        wanted.cancel()  # has an effect only when the client has gone


async def push(call: Call) -> web.StreamResponse:
    """POST /images/{name}/push; platform is an OCI platform as JSON."""
    platform = call.text("platform")
    request = PushRequest(
        image=call.name,
        tag=call.text("tag"),
        platform=gojson.decode(platform.encode(), Platform) if platform else None,
        auth=call.request.headers.get("X-Registry-Auth", ""),
    )
    return await stream_when_begun(call, partial(call.engine.remote.push, request))


async def stream_when_begun(call: Call, work: Callable[[Report], None]) -> web.StreamResponse:
    """Run work(report) in a thread and send what it reports; an error before the first line is a status."""
    mailbox: Mailbox[Line] = Mailbox(call.post)

    async def run() -> None:
        try:
            await call.workers.slow(work, mailbox.put)
        finally:
            mailbox.close()

    task = asyncio.create_task(run(), name=f"work of {call.request.path}")
    try:
        line = await mailbox.get()
        if line is None:
            await task
        response = await open_stream(call)
        while line is not None:
            await response.write(encode_line(line))
            line = await mailbox.get()
        await asyncio.wait((task,))
        if (error := task.exception()) is not None:
            await response.write(error_line(error))
    finally:
        task.cancel()
    return await end_stream(response)
