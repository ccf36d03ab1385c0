"""The files of containers: archive, changes, export, commit (docs/files.md)."""

from __future__ import annotations

import base64

import msgspec
from aiohttp import web

from sampan.daemon.call import Call, reply
from sampan.daemon.outflow import send_archive
from sampan.daemon.routing import Router
from sampan.daemon.upload import Pieces, with_upload
from sampan.daemon.workers import take
from sampan.engine.files.committing import CommitRequest
from sampan.engine.files.container_paths import PathStat
from sampan.errors import InvalidArgument
from sampan.spec import docker

STAT_HEADER = "X-Docker-Container-Path-Stat"


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("HEAD", "/containers/{id}/archive", stat_archive)
    router.add("GET", "/containers/{id}/archive", get_archive)
    router.add("PUT", "/containers/{id}/archive", put_archive)
    router.add("GET", "/containers/{id}/changes", changes)
    router.add("GET", "/containers/{id}/export", export)
    router.add("POST", "/commit", commit)


async def stat_archive(call: Call) -> web.StreamResponse:
    """HEAD /containers/{id}/archive."""
    found = await call.workers.slow(call.engine.containers.find_path, call.name, _path(call))
    return web.Response(headers={STAT_HEADER: encode_stat(found)})


async def get_archive(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/archive. Never compressed, whatever the client would accept."""
    archive = await take(
        call.workers.slow(call.engine.containers.open_archive, call.name, _path(call)),
        release=lambda opened: opened.close(),
    )
    with archive:
        headers = f"Content-Type: application/x-tar\r\n{STAT_HEADER}: {encode_stat(archive.stat)}\r\n"
        return await send_archive(call, headers, archive.write)


async def put_archive(call: Call) -> web.StreamResponse:
    """PUT /containers/{id}/archive."""
    path = _path(call)

    def work(body: Pieces) -> None:
        call.engine.containers.extract(
            call.name,
            path,
            body,
            keep_kinds=call.flag("noOverwriteDirNonDir"),
            own_by_user=call.flag("copyUIDGID"),
        )

    await with_upload(call, work)
    return web.Response()


async def changes(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/changes."""
    return reply(await call.workers.slow(call.engine.containers.changes, call.name))


async def export(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/export."""
    archive = await take(
        call.workers.slow(call.engine.containers.open_export, call.name),
        release=lambda opened: opened.close(),
    )
    with archive:
        return await send_archive(call, "Content-Type: application/octet-stream\r\n", archive.write)


async def commit(call: Call) -> web.StreamResponse:
    """POST /commit."""
    config = await call.body_or_default(docker.Config)
    request = CommitRequest(
        repository=call.text("repo"),
        tag=call.text("tag"),
        comment=call.text("comment"),
        author=call.text("author"),
        changes=call.request.query.getall("changes", []),
        pause=call.flag("pause", default=True),
        config=image_config(config),
    )
    image_id = await call.workers.slow(call.engine.containers.commit, call.text("container"), request)
    return reply(docker.IdResponse(Id=image_id), status=201)


def image_config(config: docker.Config) -> docker.ImageConfig:
    """Return the part of a container's configuration that an image has; what is empty is left to others."""
    fields = {
        name: value
        for name in docker.ImageConfig.__struct_fields__
        if (value := getattr(config, name)) or value == []
    }
    return docker.ImageConfig(**fields)


def encode_stat(found: PathStat) -> str:
    """Return the header's value: standard base64 of JSON."""
    return base64.b64encode(msgspec.json.encode(found)).decode()


def _path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise InvalidArgument("bad parameter: 'path' cannot be empty")
    if "\0" in path:
        raise InvalidArgument("bad parameter: 'path' has a NUL byte")
    return path
