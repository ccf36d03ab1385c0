"""Base images made of the distribution's packages, for machines that reach no registry.

Each function returns an archive as `docker save` makes it, to be loaded into a store or sent to the API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

Say = Callable[[str], None]  # takes one line about what happens


def busybox(*, say: Say | None = None) -> BinaryIO:
    """Return an archive of `busybox:latest`, made of Debian's busybox-static.

    Raises:
        Unavailable: the package is not installed and cannot be downloaded.
    """
    raise NotImplementedError


def debian(suite: str = "bookworm", *, say: Say | None = None) -> BinaryIO:
    """Return an archive of `debian:<suite>-slim`, made by mmdebstrap; root only.

    The default suite is also `debian:stable-slim` and `debian:latest`.

    Raises:
        Unavailable: mmdebstrap is missing or fails.
    """
    raise NotImplementedError
