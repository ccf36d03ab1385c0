"""Images by name and id: what the engine asks for."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.ids import Digest
from sampan.spec.image import Platform
from sampan.store.archive.readable import Readable
from sampan.store.model import HistoryEntry, Image, Loaded, ProgressCallback, Removed, Users
from sampan.store.references import Reference

ImageList = list[Image]
RemovedList = list[Removed]
History = list[HistoryEntry]


class Images:
    """All images of a store; thread-safe."""

    def load(
        self, stream: Readable, *, platform: Platform | None = None, progress: ProgressCallback | None = None
    ) -> list[Loaded]:
        """Take in every image of an archive: docker save or OCI layout, plain or compressed.

        Names in the archive move here from the images that have them. Of an image index the best manifest
        for platform (default: this machine) is taken. All or nothing.

        Raises:
            InvalidArgument: the archive is damaged, hostile, or holds no image.
            NotFound: an index has no manifest for the platform.
        """
        raise NotImplementedError

    def import_rootfs(
        self,
        stream: Readable,
        *,
        reference: Reference | None = None,
        message: str = "",
        changes: Sequence[str] = (),
        platform: Platform | None = None,
    ) -> Digest:
        """Make an image with one layer of a tar of a root file system, plain or compressed.

        changes are lines of a Dockerfile: CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD SHELL
        STOPSIGNAL USER VOLUME WORKDIR.

        Raises:
            InvalidArgument: the archive or a change is wrong.
        """
        raise NotImplementedError

    def resolve(self, text: str) -> Image:
        """Find an image by name, `name@digest`, id, or a beginning of its id that only one has.

        Raises:
            NotFound: `No such image: X:tag`.
            InvalidArgument: text is no reference, or several ids begin so.
        """
        raise NotImplementedError

    def get(self, image_id: Digest) -> Image:
        """Return an image by its full id.

        Raises:
            NotFound: there is none.
        """
        raise NotImplementedError

    def list(self) -> ImageList:
        """Return every image, the newest first."""
        raise NotImplementedError

    def tag(self, image: Image, reference: Reference) -> None:
        """Give an image one more name; an image that has it loses it."""
        raise NotImplementedError

    def remove(self, text: str, *, force: bool = False, users: Users) -> RemovedList:
        """Take a name from an image, or delete it with all names, by Docker's rules.

        users tells which containers were made of an image.

        Raises:
            NotFound: no such image.
            Conflict: it has other names or is in use; with Docker's texts.
        """
        raise NotImplementedError

    def history(self, image: Image) -> History:
        """Return how the image came about, the newest step first."""
        raise NotImplementedError
