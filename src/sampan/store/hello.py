"""The `hello` image: one static program of a few hundred bytes, so that a first run needs no network."""

from __future__ import annotations

from typing import BinaryIO


def archive() -> BinaryIO:
    """Return an archive, as of docker save, of `hello:latest` for this machine; the caller closes it."""
    raise NotImplementedError
