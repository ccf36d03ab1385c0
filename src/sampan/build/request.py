"""What a build is asked for, whichever door it came through, and what it tells meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from sampan.build.attestation_options import NONE, Wanted
from sampan.build.cache_places import CacheFrom, CacheTo
from sampan.build.host import Limits
from sampan.build.index import Index
from sampan.errors import InvalidArgument
from sampan.store.references import Reference


class Secrets(Protocol):
    """Where `--mount=type=secret` gets its bytes: they are never kept."""

    def read(self, secret_id: str) -> bytes | None:
        """Return a secret, None if the client has none of that id."""
        ...


class Agents(Protocol):
    """The client's SSH agents, for `--mount=type=ssh`."""

    def connect(self, agent_id: str) -> socket.socket | None:
        """Return a stream to an agent, None if the client has none of that id; the caller closes it."""
        ...


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A named context that is an image."""

    name: str


@dataclass(frozen=True, slots=True)
class FilesSource:
    """A named context that is files. open: called at most once, when a step first reads them."""

    open: Callable[[], Index]


Source = ImageSource | FilesSource


class Nothing:
    """No secrets, no agents."""

    def read(self, secret_id: str) -> bytes | None:
        """See `Secrets`."""
        return None

    def connect(self, agent_id: str) -> socket.socket | None:
        """See `Agents`."""
        return None


NOTHING: Final = Nothing()


def _no_auth(_domain: str) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One build. dockerfile: its path in the context; build_args: None takes one away; network: for RUN.

    platform: what is built for, "" this machine's; of_several: others are built beside.
    ignores: the context is whole, `.dockerignore` was not applied yet.
    document: the Dockerfile itself, when it is not in the context; ignore: `.dockerignore`, the same.
    entitlements: what RUN may take beyond its sandbox: network.host, security.insecure.
    registry_auth: the value of `X-Registry-Auth` for a registry's domain, "" for none.
    contexts: named contexts, by name in lower case.
    no_cache: no step is taken from a cache; no_cache_stages: those of these stages, by name or number.
    """

    dockerfile: str = "Dockerfile"
    document: bytes | None = field(default=None, repr=False)
    ignore: bytes | None = None
    tags: Sequence[Reference] = ()
    target: str = ""
    build_args: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    no_cache: bool = False
    no_cache_stages: frozenset[str] = frozenset()
    pull: bool = False
    platform: str = ""
    of_several: bool = False
    network: str = ""
    extra_hosts: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)
    explain: bool = False
    ignores: bool = False
    squash: bool = False
    entitlements: frozenset[str] = frozenset()
    registry_auth: Callable[[str], str] = field(default=_no_auth, compare=False, repr=False)
    secrets: Secrets = field(default=NOTHING, compare=False, repr=False)
    agents: Agents = field(default=NOTHING, compare=False, repr=False)
    contexts: Mapping[str, Source] = field(default_factory=dict)
    cache_from: Sequence[CacheFrom] = ()
    cache_to: Sequence[CacheTo] = ()
    attestations: Wanted = NONE


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The image that a build came to. bases: names and manifests' digests of the images it has used."""

    image_id: str
    bases: Sequence[tuple[str, str]] = ()


class Output(Protocol):
    """Where a build tells what it does; called from the threads of its stages."""

    def text(self, text: str) -> None:
        """Take a piece of the classic stream."""
        ...

    def image(self, image_id: str) -> None:
        """Take the id of a stage's image."""
        ...

    def warn(self, text: str) -> None:
        """Take a warning: one line without its end."""
        ...

    def kept(self, step_id: str) -> None:
        """Be told that a failed step's files are kept, under this id."""
        ...

    def beside(self, name: str) -> AbstractContextManager[object]:
        """Be told that something beside the Dockerfile's steps is done, for as long as the block."""
        ...

    def pull(self, progress: dict[str, object]) -> None:
        """Take an object of the progress of a base's pull, as `POST /images/create` has them."""
        ...


def find_dockerfile(request: BuildRequest, context: Index) -> tuple[str, bytes]:
    """Return the Dockerfile that a request means: its name, and what is in it.

    Raises:
        InvalidArgument: it is not there.
    """
    name = request.dockerfile
    raw = context.document(name) if request.document is None else request.document
    if raw is None and name == "Dockerfile":
        name = "dockerfile"
        raw = context.document(name)
    if raw is None:
        raise InvalidArgument(f"Cannot locate specified Dockerfile: {request.dockerfile}")
    return name, raw
