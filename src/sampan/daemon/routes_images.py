"""Images: list, inspect, load, save, import, tag, remove."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import BinaryIO

from aiohttp import web

from sampan.daemon.call import Call, reply
from sampan.daemon.outflow import send_archive
from sampan.daemon.routes_registry import pull
from sampan.daemon.routes_system import for_version
from sampan.daemon.routing import Router
from sampan.daemon.streaming import stream_progress
from sampan.daemon.upload import Upload
from sampan.daemon.workers import take
from sampan.errors import InvalidArgument
from sampan.spec import gojson
from sampan.spec.image import Platform

Report = Callable[[dict[str, object]], None]

_BUFFER = 1024 * 1024  # bytes; archives are read in 512-byte blocks


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("GET", "/images/json", list_images)
    router.add("POST", "/images/load", load)
    router.add("POST", "/images/create", pull_or_import)
    router.add("POST", "/images/prune", prune)
    router.add("GET", "/images/get", save)
    router.add("GET", "/images/{name}/get", save)
    router.add("GET", "/images/{name}/json", inspect)
    router.add("GET", "/images/{name}/history", history)
    router.add("POST", "/images/{name}/tag", tag)
    router.add("DELETE", "/images/{name}", remove)


async def list_images(call: Call) -> web.StreamResponse:
    """GET /images/json."""
    filters = call.filters()
    if reference := call.text("filter"):  # API < 1.28
        filters.setdefault("reference", []).append(reference)
    found = await call.workers.quick(call.engine.images.list, all=call.flag("all"), filters=filters)
    return reply(for_version(found, call.version))


async def inspect(call: Call) -> web.StreamResponse:
    """GET /images/{name}/json."""
    return reply(await call.workers.quick(call.engine.images.inspect, call.name, platform=_platform(call)))


async def history(call: Call) -> web.StreamResponse:
    """GET /images/{name}/history."""
    return reply(await call.workers.quick(call.engine.images.history, call.name, platform=_platform(call)))


async def tag(call: Call) -> web.StreamResponse:
    """POST /images/{name}/tag."""
    repository = call.text("repo")
    if not repository:
        raise InvalidArgument("repo is missing: which name should the image get?")
    await call.workers.quick(call.engine.images.tag, call.name, repository=repository, tag=call.text("tag"))
    return web.Response(status=201)


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /images/{name}; with `platforms` (JSON, API 1.50) only the images for these."""
    platforms = [
        str(gojson.decode(one.encode(), Platform)) for one in call.request.query.getall("platforms", [])
    ]
    if platforms:
        return reply(
            await call.workers.slow(
                call.engine.images.remove_platforms, call.name, platforms, force=call.flag("force")
            )
        )
    removed = await call.workers.slow(
        call.engine.images.remove, call.name, force=call.flag("force"), prune=not call.flag("noprune")
    )
    return reply(removed)


async def prune(call: Call) -> web.StreamResponse:
    """POST /images/prune."""
    return reply(await call.workers.slow(call.engine.images.prune, call.filters()))


async def save(call: Call) -> web.StreamResponse:
    """GET /images/get?names=… and /images/{name}/get: an archive."""
    names = call.request.query.getall("names", []) or ([call.name] if call.name else [])
    if not names:
        raise InvalidArgument("names is missing: which images are to be saved?")
    archive = await take(
        call.workers.slow(call.engine.images.open_save, names, platforms=_platforms(call)),
        release=lambda opened: opened.close(),
    )
    with archive:
        return await send_archive(call, "Content-Type: application/x-tar\r\n", archive.write)


def _platforms(call: Call) -> list[str]:
    """Return the parameters `platform`: each `os/arch`, or (API 1.48) the JSON of one.

    Raises:
        InvalidArgument: one is neither.
    """
    given = [text for text in call.request.query.getall("platform", []) if text]
    return [str(gojson.decode(text.encode(), Platform)) if text.startswith("{") else text for text in given]


def _platform(call: Call) -> str:
    """Return the one platform that is meant, "" if none is.

    Raises:
        InvalidArgument: it is none, or there are several.
    """
    given = _platforms(call)
    if len(given) > 1:
        raise InvalidArgument(
            "an archive is loaded for one platform, or for all that it has", hint="leave platform out"
        )
    return given[0] if given else ""


async def load(call: Call) -> web.StreamResponse:
    """POST /images/load: `{"stream":"Loaded image: …"}` for each; errors always in-band."""
    quiet, platform = call.flag("quiet", default=True), _platform(call)

    def work(body: BinaryIO, report: Report) -> None:
        def progress(line: str) -> None:
            if not quiet:
                report({"stream": f"{line}\n"})

        for image in call.engine.images.load(body, platform=platform, progress=progress):
            named = f"image: {image.reference}" if image.reference else f"image ID: {image.image_id}"
            report({"stream": f"Loaded {named}\n"})

    return await with_upload(call, work)


async def pull_or_import(call: Call) -> web.StreamResponse:
    """POST /images/create: `fromSrc` imports the body or what lies at a URL, `fromImage` pulls."""
    source = call.text("fromSrc")
    if not source:
        return await pull(call)
    if source != "-":
        return await _import_url(call, source)

    def work(body: BinaryIO, report: Report) -> None:
        image_id = call.engine.images.import_rootfs(
            body,
            repository=call.text("repo"),
            tag=call.text("tag"),
            message=call.text("message"),
            changes=call.request.query.getall("changes", []),
            platform=call.text("platform"),
        )
        report({"status": image_id})

    return await with_upload(call, work)


async def _import_url(call: Call, url: str) -> web.StreamResponse:
    """Answer when the server does; what is wrong until then has a status, as with Docker."""
    imported = await take(
        call.workers.slow(
            call.engine.images.open_import,
            url,
            repository=call.text("repo"),
            tag=call.text("tag"),
            message=call.text("message"),
            changes=call.request.query.getall("changes", []),
            platform=call.text("platform"),
        ),
        release=lambda opened: opened.cancel(),
    )
    try:
        return await stream_progress(call, imported.run)
    finally:
        imported.cancel()


async def with_upload(call: Call, work: Callable[[BinaryIO, Report], None]) -> web.StreamResponse:
    """Run work on the request's body as a file, and stream what it reports."""
    upload = Upload()
    feeder = asyncio.create_task(upload.feed(call.request), name=f"upload of {call.request.path}")

    def run(report: Report) -> None:
        with io.BufferedReader(upload, _BUFFER) as body:
            work(body, report)

    try:
        return await stream_progress(call, run)
    finally:
        upload.abort()
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
