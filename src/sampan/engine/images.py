"""Images: the store's verbs, with events and the Docker API's shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from sampan.engine.types import LoadedImage
from sampan.spec import docker

Summaries = list[docker.ImageSummary]


class Images:
    """ref is a name with optional tag or digest, a full id (`sha256:` optional) or a unique prefix of one."""

    def inspect(self, ref: str) -> docker.ImageInspect:
        """Tell everything about an image."""
        raise NotImplementedError

    def history(self, ref: str) -> list[docker.HistoryItem]:
        """List the steps an image was made by, newest first."""
        raise NotImplementedError

    def tag(self, ref: str, *, repository: str, tag: str = "") -> None:
        """Give an image another name."""
        raise NotImplementedError

    def remove(self, ref: str, *, force: bool = False, prune: bool = True) -> list[docker.ImageDelete]:
        """Untag, and delete with the last reference."""
        raise NotImplementedError

    def load(self, stream: BinaryIO, *, progress: Callable[[str], None] | None = None) -> list[LoadedImage]:
        """Take the images of a `docker save` or OCI archive: tar, plain or compressed."""
        raise NotImplementedError

    def import_rootfs(
        self,
        stream: BinaryIO,
        *,
        repository: str = "",
        tag: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        platform: str = "",
    ) -> str:
        """Make an image of one root file system archive; returns its id."""
        raise NotImplementedError

    def bootstrap(self, name: str, *, progress: Callable[[str], None] | None = None) -> str:
        """Make a base image from the distribution's packages: `busybox`, `debian[:suite]` or `hello`."""
        raise NotImplementedError

    def prune(self, filters: Mapping[str, Sequence[str]] | None = None) -> docker.ImagesPrune:
        """Delete images that have no name (and, with `dangling=false`, those no container uses)."""
        raise NotImplementedError

    def list(self, *, all: bool = False, filters: Mapping[str, Sequence[str]] | None = None) -> Summaries:
        """List images, newest first."""
        raise NotImplementedError
