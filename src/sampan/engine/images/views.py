"""Looking at images: which layers they share (`image tree`), and which files differ (`image diff`)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

import msgspec

from sampan.engine.core import Core
from sampan.engine.images.hello_image import resolve_image
from sampan.ids import Digest
from sampan.kernel.constants import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
from sampan.kernel.files import openat2
from sampan.store.belowview import Below, Layers
from sampan.store.model import Image

_PIECE = 1 << 20
_STAY = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS


class TreeLayer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of any image. Id: chain id; Parent: the one below, "" for none; Images: that end with it."""

    Id: str
    Parent: str
    DiffId: str
    Size: int
    CreatedBy: str
    Images: list[str]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One path that differs. Kind: A only in the second image, D only in the first, C in both."""

    Path: str
    Kind: str
    Why: str = ""  # of C: type, mode, owner, size, content, target, device
    SizeDelta: int = 0


def read_tree(core: Core, refs: Sequence[str]) -> list[TreeLayer]:
    """Return the layers of images, all of them if none is named, each once, lower ones before upper ones.

    Raises:
        NotFound: `No such image: X:tag`.
    """
    images = [resolve_image(core, ref) for ref in refs] if refs else core.store.images.list()
    found: dict[Digest, TreeLayer] = {}
    for image in images:
        parent = ""
        steps = [step for step in image.config.history if not step.empty_layer]
        layers = core.store.image_views.layers(image)
        for number, layer in enumerate(layers):
            known = found.get(layer.chain_id)
            if known is None:
                step = steps[number].created_by if len(steps) == len(layers) else ""
                known = TreeLayer(
                    Id=layer.chain_id,
                    Parent=parent,
                    DiffId=layer.diff_id,
                    Size=layer.size_bytes,
                    CreatedBy=step,
                    Images=[],
                )
                found[layer.chain_id] = known
            parent = known.Id
        if parent:
            found[Digest(parent)].Images.extend(_names(image))
    return list(found.values())


def _names(image: Image) -> list[str]:
    return [tag.familiar for tag in image.tags] or [image.id]


def read_differences(core: Core, first: str, second: str) -> list[Difference]:
    """Compare the trees of two images by name, kind, mode, owner, content; times do not count.

    Layers that both have on top of the same ones are never read. In order of path.

    Raises:
        NotFound: `No such image: X:tag`.
    """
    views = core.store.image_views
    one, other = resolve_image(core, first), resolve_image(core, second)
    with views.directories(one) as lower_one, views.directories(other) as lower_other:
        with Below(lower_one[::-1]) as below_one, Below(lower_other[::-1]) as below_other:
            return list(_Comparison(below_one, below_other).run())


class _Comparison:
    """Two merged trees, walked together; where the same layers make both up, they are equal."""

    def __init__(self, old: Below, new: Below) -> None:
        self._old = old
        self._new = new
        self._identity = {fd: _identity(os.fstat(fd)) for fd in (*old.layers, *new.layers)}

    def run(self) -> Iterator[Difference]:
        yield from self._directory(b"", self._old.layers, self._new.layers)

    def _directory(self, path: bytes, old: Layers, new: Layers) -> Iterator[Difference]:
        waiting: list[tuple[bytes, Layers, Layers]] = [(path, old, new)]
        while waiting:
            path, old, new = waiting.pop()
            if path:
                difference = self._compare(path, old, new)
                if difference is not None:
                    yield difference
                old = self._old.enter(path, old)
                new = self._new.enter(path, new)
            if [self._identity[fd] for fd in old] == [self._identity[fd] for fd in new]:
                continue
            names = self._old.names(path, old) | self._new.names(path, new)
            prefix = path + b"/" if path else b""
            waiting += [(prefix + name, old, new) for name in sorted(names, reverse=True)]

    def _compare(self, path: bytes, old: Layers, new: Layers) -> Difference | None:
        was, now = self._old.find(path, old), self._new.find(path, new)
        shown = "/" + os.fsdecode(path).encode(errors="replace").decode()
        if was is None or now is None:
            present = now or was
            if present is None:
                return None
            size = present.st_size if stat.S_ISREG(present.st_mode) else 0
            return Difference(
                Path=shown, Kind="A" if was is None else "D", SizeDelta=size if was is None else -size
            )
        if _identity(was) == _identity(now):
            return None
        why = self._why(path, was, now, old, new)
        both_files = stat.S_ISREG(was.st_mode) and stat.S_ISREG(now.st_mode)
        delta = now.st_size - was.st_size if both_files else 0
        return Difference(Path=shown, Kind="C", Why=why, SizeDelta=delta) if why else None

    def _why(self, path: bytes, was: os.stat_result, now: os.stat_result, old: Layers, new: Layers) -> str:
        if stat.S_IFMT(was.st_mode) != stat.S_IFMT(now.st_mode):
            return "type"
        if was.st_mode != now.st_mode:
            return "mode"
        if (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
            return "owner"
        if stat.S_ISREG(was.st_mode):
            if was.st_size != now.st_size:
                return "size"
            return "" if _same_content(_layer_of(path, old), _layer_of(path, new), path) else "content"
        if stat.S_ISLNK(was.st_mode):
            return (
                "" if _target(_layer_of(path, old), path) == _target(_layer_of(path, new), path) else "target"
            )
        return "device" if was.st_rdev != now.st_rdev else ""


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _layer_of(path: bytes, among: Layers) -> int:
    """Return the highest layer that has a path, which is known to show."""
    for layer in among:
        try:
            os.close(openat2(layer, path, os.O_PATH | os.O_NOFOLLOW, resolve=_STAY))
        except OSError:
            continue
        return layer
    raise FileNotFoundError(os.fsdecode(path))


def _target(layer: int, path: bytes) -> str:
    fd = openat2(layer, path, os.O_PATH | os.O_NOFOLLOW, resolve=_STAY)
    try:
        return os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)


def _same_content(one: int, other: int, path: bytes) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    first = openat2(one, path, flags, resolve=_STAY)
    try:
        second = openat2(other, path, flags, resolve=_STAY)
        try:
            while True:
                piece = os.read(first, _PIECE)
                if piece != os.read(second, _PIECE):
                    return False
                if not piece:
                    return True
        finally:
            os.close(second)
    finally:
        os.close(first)
