"""Where sampan keeps its things, and how the daemon is reached. Lean (decision 0002)."""

from __future__ import annotations

import posix

from sampan.lean import getenv, record


@record
class Roots:
    """The two directories everything lies under (docs/architecture.md, "On disk")."""

    data: str
    run: str


def default_roots() -> Roots:
    """Return the roots for this user: system directories for root, XDG directories otherwise."""
    if posix.geteuid() == 0:
        return Roots(data="/var/lib/sampan", run="/run/sampan")
    home = getenv("HOME") or "/"
    data = getenv("XDG_DATA_HOME") or f"{home}/.local/share"
    run = getenv("XDG_RUNTIME_DIR") or f"/tmp/sampan-{posix.geteuid()}"  # noqa: S108 -- made 0700 by us
    return Roots(data=f"{data}/sampan", run=f"{run}/sampan")


def default_host() -> str:
    """Return the API address: `SAMPAN_HOST`, else the socket in the default run root."""
    return getenv("SAMPAN_HOST") or f"unix://{default_roots().run}/sampan.sock"
