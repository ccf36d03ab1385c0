"""Unpacked layers, shared by all images and containers that have them."""

from __future__ import annotations

from types import TracebackType

from sampan.store.model import Image


class LayerLease:
    """Keeps an image's layers on the disk until `release`; use it in a `with`."""

    lower: tuple[str, ...]  # directories, lowest first

    def release(self) -> None:
        """Let go; may be called twice."""
        raise NotImplementedError

    def __enter__(self) -> LayerLease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Layers:
    """All unpacked layers; thread-safe."""

    def ensure(self, image: Image) -> LayerLease:
        """Unpack what is missing of an image's layers, and pin all of them."""
        raise NotImplementedError
