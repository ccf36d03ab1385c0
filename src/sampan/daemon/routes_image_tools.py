"""What Docker's API has not about images: trees, differences, mounts, flattening, copies (docs/api.md)."""

from __future__ import annotations

from typing import BinaryIO

from aiohttp import web

from sampan.daemon.call import Call, reply
from sampan.daemon.outflow import send_archive
from sampan.daemon.routes_images import Report, with_upload
from sampan.daemon.routes_sampan import ROOT
from sampan.daemon.routing import Router
from sampan.daemon.workers import take
from sampan.engine.images.copies import ArchiveRequest, MissingRequest
from sampan.errors import InvalidArgument


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("GET", f"{ROOT}/images/tree", tree)
    router.add("GET", f"{ROOT}/images/diff", diff)
    router.add("GET", f"{ROOT}/images/mounts", mounts)
    router.add("POST", f"{ROOT}/images/{{name}}/mount", mount)
    router.add("DELETE", f"{ROOT}/images/{{name}}/mount", unmount)
    router.add("POST", f"{ROOT}/images/{{name}}/flatten", flatten)
    router.add("GET", f"{ROOT}/images/{{name}}/content", content)
    router.add("POST", f"{ROOT}/images/missing", missing)
    router.add("POST", f"{ROOT}/images/{{name}}/archive", archive)
    router.add("POST", f"{ROOT}/images/load", load)


async def tree(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/images/tree?names=…: layers, each once."""
    return reply(await call.workers.slow(call.engine.images.tree, call.request.query.getall("names", [])))


async def diff(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/images/diff?from=…&to=…."""
    first, second = call.text("from"), call.text("to")
    if not first or not second:
        raise InvalidArgument("from and to name the two images to compare")
    return reply(await call.workers.slow(call.engine.images.diff, first, second))


async def mounts(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/images/mounts."""
    return reply(await call.workers.slow(call.engine.images.mounts.list))


async def mount(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/images/{name}/mount."""
    return reply(await call.workers.slow(call.engine.images.mounts.mount, call.name))


async def unmount(call: Call) -> web.StreamResponse:
    """DELETE /sampan/v1/images/{name}/mount."""
    return reply(await call.workers.slow(call.engine.images.mounts.unmount, call.name))


async def flatten(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/images/{name}/flatten?repo=…&tag=…."""
    made = await call.workers.slow(
        call.engine.images.flatten, call.name, repository=call.text("repo"), tag=call.text("tag")
    )
    return reply({"Id": made}, status=201)


async def content(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/images/{name}/content: what an image is made of."""
    return reply(await call.workers.slow(call.engine.copies.content, call.name))


async def missing(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/images/missing: which of some blobs are not here."""
    wanted = await call.body(MissingRequest)
    return reply(await call.workers.slow(call.engine.copies.missing, wanted.Digests))


async def archive(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/images/{name}/archive: an image without some of its blobs."""
    wanted = await call.body(ArchiveRequest)
    opened = await take(
        call.workers.slow(call.engine.copies.open_archive, call.name, without=wanted.Without),
        release=lambda one: one.close(),
    )
    with opened:
        return await send_archive(call, "Content-Type: application/x-tar\r\n", opened.write)


async def load(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/images/load: such an archive; what it lacks is here."""

    def work(body: BinaryIO, report: Report) -> None:
        for image in call.engine.copies.load(body):
            report({"stream": f"Loaded image: {image.reference or image.image_id}\n"})

    return await with_upload(call, work)
