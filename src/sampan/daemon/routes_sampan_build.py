"""POST /sampan/v1/build: a build with what `POST /build` cannot carry (docs/api.md, "Builds").

The query is that of `POST /build`. The body is a JSON document (`Wanted`), or, with the media type
`application/vnd.sampan.build`, parts (`build.parts`): that document, then a tar stream for each context.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from sampan.daemon.build_parameters import read_request
from sampan.daemon.call import MAX_JSON_BYTES, Call, no_content, reply
from sampan.daemon.outflow import send_archive
from sampan.daemon.routes_build import stream_build
from sampan.daemon.routing import Router
from sampan.daemon.upload import with_upload
from sampan.daemon.workers import take
from sampan.engine.times import format_time
from sampan.errors import Forbidden, InvalidArgument, Unsupported
from sampan.kernel.sockets import Credentials, connect_at, from_fd, peer_credentials

if TYPE_CHECKING:
    import socket

    from sampan.build.cache_options import CacheFromOption, CacheToOption
    from sampan.build.cache_places import Folder
    from sampan.build.host import Cancel
    from sampan.build.index import Index
    from sampan.build.request import BuildRequest, Source
    from sampan.engine.builds.builds import Builds
    from sampan.store.archive.readable import Readable

_PATH: Final = "/sampan/v1/build"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a context is: an open descriptor of the client's process, an image, a URL, or in the body."""

    Descriptor: int = -1
    Image: str = ""
    Url: str = ""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the query does not say. Document and Ignore: the Dockerfile and `.dockerignore` themselves.

    Secrets: by id. Agents: sockets of SSH agents on this machine, by id. Contexts: named ones. Caches:
    directories of `type=local` caches, by the path that the query has.
    """

    Context: Place = Place()
    Document: bytes | None = None
    Ignore: bytes | None = None
    Secrets: dict[str, bytes] = {}
    Agents: dict[str, str] = {}
    Contexts: dict[str, Place] = {}
    Caches: dict[str, Place] = {}


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("POST", _PATH, build)
    router.add("GET", "/sampan/v1/images/{name}/rootfs", rootfs)
    router.add("GET", "/sampan/v1/build/failed", failed)
    router.add("POST", "/sampan/v1/build/failed/{name}/image", open_failed)
    router.add("GET", "/sampan/v1/build/mounts", mounts)
    router.add("GET", "/sampan/v1/build/mounts/content", export_mount)
    router.add("PUT", "/sampan/v1/build/mounts/content", import_mount)


async def failed(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/build/failed: the failed steps whose files are kept."""
    found = await call.workers.slow(call.engine.builds.failed)
    return reply(
        [
            {
                "Id": one.id,
                "Line": one.line,
                "ExitCode": one.code,
                "CreatedAt": format_time(one.created_ns),
                "Size": one.size_bytes,
            }
            for one in found
        ]
    )


async def open_failed(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/build/failed/{id}/image: make an image of a failed step, which the client removes."""
    found = await call.workers.slow(call.engine.builds.open_failed, call.name)
    return reply({"Image": found.id, "Command": list(found.argv), "Network": found.network})


async def mounts(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/build/mounts: the cache mounts."""
    found = await call.workers.slow(call.engine.builds.mounts)
    return reply(
        [
            {
                "Id": one.id,
                "Size": one.size_bytes,
                "InUse": one.in_use,
                "LastUsedAt": format_time(one.used_ns),
            }
            for one in found
        ]
    )


async def export_mount(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/build/mounts/content?id=: a cache mount as a tar archive."""
    write = await call.workers.slow(call.engine.builds.export_mount, call.text("id"))
    return await send_archive(call, "Content-Type: application/x-tar\r\n", write)


async def import_mount(call: Call) -> web.StreamResponse:
    """PUT /sampan/v1/build/mounts/content?id=: unpack a tar archive into a cache mount."""
    mount_id = call.text("id")
    if not mount_id:
        raise InvalidArgument("id is missing: which cache mount?")
    await with_upload(call, lambda body: call.engine.builds.import_mount(mount_id, body))
    return no_content()


async def rootfs(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/images/{name}/rootfs: all files of an image as a tar archive."""
    archive = await take(
        call.workers.slow(call.engine.builds.open_root, call.name), release=lambda opened: opened.close()
    )
    with archive:
        return await send_archive(call, "Content-Type: application/x-tar\r\n", archive.write)


async def build(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/build."""
    from sampan.build.parts import MEDIA_TYPE

    request = read_request(call)
    has_parts = call.request.headers.get("Content-Type", "") == MEDIA_TYPE
    peer = _peer_of(call.request)
    builds = call.engine.builds

    def begin(body: Readable, held: ExitStack, stop: Cancel) -> tuple[BuildRequest, Callable[[], Index]]:
        from sampan.build.parts import Part

        document = Part(body).read_all(MAX_JSON_BYTES) if has_parts else body.read(MAX_JSON_BYTES + 1)
        try:
            wanted = msgspec.json.decode(document, type=Wanted)
        except (msgspec.DecodeError, RecursionError) as exc:
            raise InvalidArgument(f"the description of the build is malformed: {exc}") from exc
        return _Reader(builds, peer, body if has_parts else None, held, stop).read(request, wanted)

    return await stream_build(call, begin)


def _peer_of(request: web.BaseRequest) -> Credentials | None:
    """Return who is at the other end of a unix socket; None for TCP."""
    sock = request.transport.get_extra_info("socket") if request.transport is not None else None
    if sock is None or sock.family.name != "AF_UNIX":
        return None
    own = from_fd(os.dup(sock.fileno()))
    try:
        return peer_credentials(own)
    finally:
        own.close()


class _Reader:
    """Turns a `Wanted` into a request."""

    def __init__(
        self, builds: Builds, peer: Credentials | None, body: Readable | None, held: ExitStack, stop: Cancel
    ) -> None:
        self._builds = builds
        self._peer = peer
        self._body = body
        self._held = held
        self._stop = stop

    def read(self, request: BuildRequest, wanted: Wanted) -> tuple[BuildRequest, Callable[[], Index]]:
        """Return the request and what opens its context.

        Raises:
            Unsupported: something is not on this machine. Forbidden: it is another user's.
        """
        from dataclasses import replace

        from sampan.build.request import ImageSource

        found = replace(
            request,
            document=wanted.Document,
            ignore=wanted.Ignore,
            secrets=_Given(wanted.Secrets),
            agents=_Agents(wanted.Agents, self._peer),
            ignores=wanted.Context.Descriptor >= 0 or bool(wanted.Context.Url),
        )
        context = self._index(wanted.Context, found)
        contexts: dict[str, Source] = {}
        for name, place in wanted.Contexts.items():
            contexts[name.lower()] = ImageSource(place.Image) if place.Image else self._files(place, found)
        return self._with_caches(replace(found, contexts=contexts), wanted.Caches), lambda: context

    def _with_caches(self, request: BuildRequest, places: Mapping[str, Place]) -> BuildRequest:
        """Give local caches their directories, which the client has open.

        Raises:
            InvalidArgument: there is none for a cache.
        """
        from dataclasses import replace

        cache_from = [
            replace(one, source=self._folder(one.option, places)) if one.option.kind == "local" else one
            for one in request.cache_from
        ]
        cache_to = [
            replace(one, target=self._folder(one.option, places)) if one.option.kind == "local" else one
            for one in request.cache_to
        ]
        return replace(request, cache_from=cache_from, cache_to=cache_to)

    def _folder(
        self, option: CacheFromOption | CacheToOption, places: Mapping[str, Place]
    ) -> Callable[[], Folder]:
        from sampan.build.cache_places import Folder

        place = places.get(option.place, Place())
        if place.Descriptor < 0:
            raise InvalidArgument(f"a cache of type=local needs its directory: {option.place}")
        folder = Folder(self._open(place.Descriptor), tag=option.tag, digest=getattr(option, "digest", ""))
        self._held.callback(folder.close)
        return lambda: folder

    def _files(self, place: Place, request: BuildRequest) -> Source:
        from sampan.build.request import FilesSource

        if place.Url:
            return FilesSource(lambda: self._index(place, request))
        index = self._index(place, request)
        if place.Descriptor >= 0:
            index.ignore("", everything=True)
        return FilesSource(lambda: index)

    def _index(self, place: Place, request: BuildRequest) -> Index:
        return self._held.enter_context(self._open_index(place, request))

    def _open_index(self, place: Place, request: BuildRequest) -> Index:
        if place.Url:
            return self._builds.fetch(place.Url, request, self._stop)
        if place.Descriptor >= 0:
            return self._builds.open_directory(self._open(place.Descriptor))
        if self._body is None:
            raise InvalidArgument("the body has no context")
        from sampan.build.parts import Part

        return self._builds.receive(Part(self._body))

    def _open(self, descriptor: int) -> int:
        """Open what the client has open: so it may read it, and it is on this machine."""
        if self._peer is None or not self._peer.pid:
            raise Unsupported("the client is not on this machine: it has to send the context")
        path = f"/proc/{self._peer.pid}/fd/{descriptor}"
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as exc:
            raise Unsupported(f"the client's directory cannot be opened: {exc.strerror}") from exc


class _Given:
    """Secrets that came with the request."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._values = values

    def read(self, secret_id: str) -> bytes | None:
        """See `build.request.Secrets`."""
        return self._values.get(secret_id)


class _Agents:
    """SSH agents of this machine: the client's own, unless it is root."""

    def __init__(self, paths: Mapping[str, str], peer: Credentials | None) -> None:
        if paths and (peer is None or not peer.pid):
            raise Unsupported("--ssh works with a sampand on this machine only")
        self._paths = paths
        self._peer = peer
        for path in paths.values():
            self._check(path)

    def _check(self, path: str) -> None:
        try:
            owner = os.stat(path).st_uid
        except OSError as exc:
            raise InvalidArgument(f"ssh agent {path}: {exc.strerror}") from exc
        if self._peer is None or self._peer.uid not in (0, owner):
            raise Forbidden(f"ssh agent {path} belongs to another user")

    def connect(self, agent_id: str) -> socket.socket | None:
        """See `build.request.Agents`."""
        import socket

        path = self._paths.get(agent_id)
        if path is None:
            return None
        self._check(path)
        return socket.socket(fileno=connect_at(*os.path.split(path)).detach())
