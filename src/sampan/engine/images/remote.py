"""Images of registries: pull, with Docker's progress lines. The client is loaded with its first use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sampan import log
from sampan.engine.core import Core
from sampan.engine.observing.events import make_event
from sampan.errors import InvalidArgument, NotFound, SampanError, Unauthorized
from sampan.ids import Digest, parse_digest
from sampan.spec import docker
from sampan.spec.image import Platform
from sampan.store.platforms import host_platform, matches, parse_platform
from sampan.store.references import Reference, make_tagged, parse_reference

if TYPE_CHECKING:
    from sampan.registry.client import Client
    from sampan.registry.pulling import Pulled, Puller

Report = Callable[[dict[str, object]], None]
_DIGEST: Final = "sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """What `POST /images/create` asks for. auth: the header `X-Registry-Auth` as it came."""

    image: str
    tag: str = ""
    platform: str = ""
    auth: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """What `POST /images/{name}/push` asks for; without a tag all of them."""

    image: str
    tag: str = ""
    platform: Platform | None = None
    auth: str = ""


class Pull:
    """One pull; `run` in a thread, `cancel` from any."""

    def __init__(self, remote: RemoteImages, request: PullRequest) -> None:
        self._remote = remote
        self._request = request
        self._reference = parse_pull_reference(request.image, request.tag)
        self._platform = parse_platform(request.platform) if request.platform else host_platform()
        self._puller: Puller | None = None
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Let it end soon, with an error that nobody reads; what has come so far is kept for the next one."""
        self._cancelled.set()
        puller = self._puller
        if puller is not None:
            puller.cancel()

    def run(self, report: Report) -> None:
        """Pull, and report what Docker reports.

        Raises:
            NotFound, SampanError: as the registry says.
        """
        with unprompted():
            self._pull_all(report)

    def _pull_all(self, report: Report) -> None:
        if self._reference.tag or self._reference.digest:
            self._pull_one(self._reference, report)
            return
        client = self._remote.client()
        for tag in client.sources(self._reference, self._request.auth).tags():
            self._pull_one(replace(self._reference, tag=tag), report)

    def _pull_one(self, reference: Reference, report: Report) -> None:
        client = self._remote.client()
        sources = client.sources(reference, self._request.auth)
        self._puller = puller = client.puller(self._remote.arrivals, reference, report)
        if self._cancelled.is_set():
            puller.cancel()
        pulled = puller.pull(sources, platform=self._platform, is_wanted=bool(self._request.platform))
        self._remote.tell(reference, pulled, report)


class RemoteImages:
    """`engine.remote`: everything that asks a registry."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._client: Client | None = None
        self._lock = threading.Lock()
        self.arrivals = core.store.arrivals

    def client(self) -> Client:
        """Return the registry client, made when it is first asked for."""
        from sampan.registry.client import Client

        with self._lock:
            if self._client is None:
                self._client = Client(self._core.settings.registry)
            return self._client

    def digest_here(self, reference: Reference) -> Digest | None:
        """Return the digest by which an image here is known to its repository, None if it is not."""
        try:
            image = self._core.store.images.resolve(str(reference))
        except NotFound:
            return None
        return next((one.digest for one in image.digests if one.name == reference.name), None)

    def open_pull(self, request: PullRequest) -> Pull:
        """Check what is asked for; nothing is fetched yet.

        Raises:
            InvalidArgument: the name or the platform is none.
        """
        return Pull(self, request)

    def push(self, request: PushRequest, report: Report) -> None:
        """Send an image, or every tag of its repository, to its registry.

        Raises:
            NotFound: there is none of that name. SampanError: as the registry says.
        """
        reference = parse_reference(request.image)
        if reference.digest:
            raise InvalidArgument("cannot push a digest reference")
        if request.tag:
            reference = make_tagged(request.image, request.tag)
        report({"status": f"The push refers to repository [{reference.name}]"})
        with unprompted():
            for one in self._tags_to_push(reference):
                self._push_one(one, request, report)

    def _tags_to_push(self, reference: Reference) -> list[Reference]:
        names = [name for image in self._core.store.images.list() for name in image.tags]
        here = [name for name in names if name.name == reference.name]
        if not here:
            raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
        found = [name for name in here if reference.tag in ("", name.tag)]
        if not found:
            raise NotFound(f"tag does not exist: {reference.familiar}")
        return sorted(found, key=str)

    def _push_one(self, reference: Reference, request: PushRequest, report: Report) -> None:
        images = self._core.store.images
        image = images.resolve(str(reference), request.platform)
        if request.platform is not None and not matches(request.platform, image.config.platform):
            raise NotFound(
                f"image with reference {reference.familiar} was found but does not provide the specified "
                f"platform ({request.platform})"
            )
        pusher = self.client().pusher(self.arrivals, reference, request.auth, report)
        index = images.index_of(reference) if request.platform is None else None
        every = images.variants(reference)
        if index is not None and pusher.has_whole_index(every, index):
            pushed = pusher.push_index(every, index, reference)
        else:
            pushed = pusher.push(image, reference)
        report({"status": f"{reference.tag}: digest: {pushed.digest} size: {pushed.size_bytes}"})
        aux = {"Tag": reference.tag, "Digest": pushed.digest, "Size": pushed.size_bytes}
        report({"progressDetail": {}, "aux": aux})
        attributes = {**self._labels(image.id), "name": reference.familiar_name}
        self._core.events.emit(make_event("image", "push", reference.familiar, attributes))
        log.info("image pushed", image=image.id, reference=str(reference))

    def login(self, wanted: docker.AuthConfig) -> docker.AuthAnswer:
        """Have a registry check credentials.

        Raises:
            Unauthorized: they are wrong.
        """
        from sampan.registry.credentials import Credentials

        given = Credentials(wanted.username, wanted.password, wanted.identitytoken)
        domain = parse_server_address(wanted.serveraddress)
        return docker.AuthAnswer(IdentityToken=self.client().session(domain, given).login())

    def distribution(self, name: str, *, auth: str) -> docker.DistributionInspect:
        """Tell what a registry has under a name, without fetching the image.

        Raises:
            NotFound, SampanError: as the registry says.
        """
        from sampan.registry.manifests import describe_document

        reference = parse_reference(name).with_default_tag()
        with unprompted():
            sources = self.client().sources(reference, auth)
            document = sources.get_document(reference.digest or reference.tag)
            descriptor, platforms = describe_document(sources, document)
        return docker.DistributionInspect(
            Descriptor=docker.Descriptor(
                mediaType=descriptor.mediaType, digest=descriptor.digest, size=descriptor.size
            ),
            Platforms=[
                docker.Platform(architecture=one.architecture, os=one.os, variant=one.variant)
                for one in platforms
            ],
        )

    def tell(self, reference: Reference, pulled: Pulled, report: Report) -> None:
        """Report the end of a pull, and emit its event."""
        report({"status": f"Digest: {pulled.digest}"})
        what = "Downloaded newer image for" if pulled.is_new else "Image is up to date for"
        report({"status": f"Status: {what} {reference.familiar}"})
        labels = self._labels(pulled.image_id)
        attributes = {**labels, "name": reference.familiar_name}
        self._core.events.emit(make_event("image", "pull", reference.familiar, attributes))
        log.info("image pulled", image=pulled.image_id, reference=str(reference), new=pulled.is_new)

    def close(self) -> None:
        """Close connections that nobody uses."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _labels(self, image_id: Digest) -> dict[str, str]:
        try:
            return dict(self._core.store.images.get(image_id).config.config.Labels or {})
        except NotFound:
            return {}


def parse_server_address(text: str) -> str:
    """Read the registry of a login: `host[:port]`, perhaps as a URL; "" is Docker Hub.

    Raises:
        InvalidArgument: it is none.
    """
    host = text.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return parse_reference(f"{host or 'docker.io'}/login/check").domain


@contextmanager
def unprompted() -> Iterator[None]:
    """Turn a registry's 401 into an error that is none of ours: the docker CLI would ask for a password."""
    try:
        yield
    except Unauthorized as exc:
        raise SampanError(str(exc), hint=exc.hint) from exc


def parse_pull_reference(image: str, tag: str) -> Reference:
    """Read `fromImage` and `tag`, where tag may be a digest; neither means every tag.

    Raises:
        InvalidArgument: in Docker's words.
    """
    reference = parse_reference(image.removesuffix(":"))
    if tag.startswith(_DIGEST):
        try:
            return replace(reference, tag="", digest=parse_digest(tag))
        except InvalidArgument as exc:
            raise InvalidArgument("invalid checksum digest format") from exc
    if reference.digest:
        return replace(reference, tag="")
    return make_tagged(image, tag) if tag else reference
