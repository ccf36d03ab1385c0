"""What a build is asked for, whichever door it came through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sampan.build.host import Limits
from sampan.store.references import Reference


def _no_auth(_domain: str) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One build. dockerfile: its path in the context; build_args: None takes one away; network: for RUN.

    ignores: the context is whole, `.dockerignore` was not applied yet.
    entitlements: what RUN may take beyond its sandbox: network.host, security.insecure.
    registry_auth: the value of `X-Registry-Auth` for a registry's domain, "" for none.
    """

    dockerfile: str = "Dockerfile"
    tags: Sequence[Reference] = ()
    target: str = ""
    build_args: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    no_cache: bool = False
    pull: bool = False
    platform: str = ""
    network: str = ""
    extra_hosts: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)
    explain: bool = False
    ignores: bool = False
    entitlements: frozenset[str] = frozenset()
    registry_auth: Callable[[str], str] = field(default=_no_auth, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The image that a build came to."""

    image_id: str


class Output(Protocol):
    """Where a build tells what it does."""

    def text(self, text: str) -> None:
        """Take a piece of the classic stream."""
        ...

    def image(self, image_id: str) -> None:
        """Take the id of a stage's image."""
        ...

    def pull(self, progress: dict[str, object]) -> None:
        """Take an object of the progress of a base's pull, as `POST /images/create` has them."""
        ...
