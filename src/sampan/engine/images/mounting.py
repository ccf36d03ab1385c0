"""`image mount`: an image's tree, read-only, below the run root, for programs of this machine.

A mount outlives sampand. Its layers are held like those of a container that has the image mounted, by the id
`mount:<image id>`; recovery lets go of what is not mounted any more, and unmounts what nothing holds.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence

import msgspec

from sampan import log
from sampan.engine.core import Core
from sampan.engine.images.hello_image import resolve_image
from sampan.errors import Conflict, NotFound, SampanError
from sampan.ids import Digest, digest_hex
from sampan.kernel import constants as k
from sampan.kernel.mounts import mount, read_mountinfo, umount
from sampan.store.model import Image

_PREFIX = "mount:"
_PAGE = 4095  # bytes of options that mount(2) takes


class MountedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image that is mounted."""

    Id: str
    Names: list[str]
    Path: str


Mounted = list[MountedImage]


class ImageMounting:
    """The images that are mounted for this machine; thread-safe."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._folder = f"{core.paths.run}/images"

    def mount(self, ref: str) -> MountedImage:
        """Mount an image, unless it is, and tell where.

        Raises:
            NotFound: `No such image: X:tag`. SampanError: the kernel refuses.
        """
        image = resolve_image(self._core, ref)
        path = f"{self._folder}/{digest_hex(image.id)}"
        with self._lock:
            if not self._is_mounted(path):
                self._mount(image, path)
        return self._describe(image.id, path)

    def unmount(self, ref: str) -> MountedImage:
        """Undo `mount`.

        Raises:
            NotFound: it is not mounted. Conflict: something uses it.
        """
        image = resolve_image(self._core, ref)
        path = f"{self._folder}/{digest_hex(image.id)}"
        with self._lock:
            if not self._is_mounted(path):
                raise NotFound(f"image {ref} is not mounted")
            described = self._describe(image.id, path)
            try:
                umount(path)
            except OSError as exc:
                if exc.errno != errno.EBUSY:
                    raise
                raise Conflict(f"image {ref} is in use at {path}", hint="see who: fuser -m PATH") from exc
            os.rmdir(path)
            self._core.store.image_mounts.release(f"{_PREFIX}{image.id}")
        return described

    def list(self) -> Mounted:
        """Return what is mounted, by id."""
        return [self._describe(Digest(f"sha256:{name}"), f"{self._folder}/{name}") for name in self._names()]

    def place_of(self, image_id: Digest) -> str:
        """Return where an image is mounted, "" if it is not."""
        path = f"{self._folder}/{digest_hex(image_id)}"
        return path if os.path.isdir(path) and self._is_mounted(path) else ""

    def recover(self) -> Sequence[str]:
        """Return who holds images: the mounts that are there. For the engine's start."""
        users = self._core.store.image_mounts.users
        mounted = {name for name in self._names() if f"{_PREFIX}sha256:{name}" in users(f"sha256:{name}")}
        for name in set(os.listdir(self._folder) if os.path.isdir(self._folder) else ()) - mounted:
            path = f"{self._folder}/{name}"
            if self._is_mounted(path):
                umount(path, k.UMOUNT_NOFOLLOW | k.MNT_DETACH)
                log.warning("image was mounted without a record", path=path)
            os.rmdir(path)
        return [f"{_PREFIX}sha256:{name}" for name in mounted]

    def _mount(self, image: Image, path: str) -> None:
        holder = f"{_PREFIX}{image.id}"
        held = self._core.store.image_mounts
        held.hold(holder, image)
        try:
            options = f"lowerdir={':'.join(reversed(held.lower(holder, image.id)))}"
            if len(options) > _PAGE:
                raise SampanError(f"image {image.id} has too many layers to be mounted: flatten it first")
            os.makedirs(path, mode=0o755, exist_ok=True)
            mount("overlay", path, "overlay", k.MS_RDONLY | k.MS_NOSUID | k.MS_NODEV, options)
        except BaseException:
            if os.path.isdir(path):
                os.rmdir(path)
            held.release(holder)
            raise

    def _names(self) -> Sequence[str]:
        """Return the digits of the ids of images that are mounted."""
        prefix = f"{os.path.realpath(self._folder)}/"
        points = [one.mount_point for one in read_mountinfo() if one.mount_point.startswith(prefix)]
        return sorted({point.removeprefix(prefix) for point in points})

    def _is_mounted(self, path: str) -> bool:
        return os.path.basename(path) in self._names()

    def _describe(self, image_id: Digest, path: str) -> MountedImage:
        try:
            image = self._core.store.images.get(image_id)
        except NotFound:
            return MountedImage(Id=image_id, Names=[], Path=path)
        return MountedImage(Id=image_id, Names=[name.familiar for name in image.tags], Path=path)
