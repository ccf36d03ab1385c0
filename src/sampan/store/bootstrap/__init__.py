"""Base images made of the distribution's packages, for machines that reach no registry.

Each function returns an archive as `docker save` makes it, to be loaded into a store or sent to the API.
Runs the distribution's own programs by absolute path: apt-get, dpkg-deb, busybox, mmdebstrap.
"""

from __future__ import annotations

from sampan.store.bootstrap.busybox import busybox
from sampan.store.bootstrap.debian import DEFAULT_SUITE, debian
from sampan.store.bootstrap.programs import Say

__all__ = ["DEFAULT_SUITE", "Say", "busybox", "debian"]
