"""Where sampan keeps its things, and how the daemon is reached. Lean (decision 0002)."""

from __future__ import annotations

import os

from sampan.lean import record


@record
class Roots:
    """The two directories everything lies under (docs/architecture.md, "On disk")."""

    data: str
    run: str


def default_roots() -> Roots:
    """Return the roots for this user: system directories for root, XDG directories otherwise."""
    if os.geteuid() == 0:
        return Roots(data="/var/lib/sampan", run="/run/sampan")
    home = os.environ.get("HOME", "/")
    data = os.environ.get("XDG_DATA_HOME") or f"{home}/.local/share"
    run = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/sampan-{os.geteuid()}"  # noqa: S108 -- made 0700 by us
    return Roots(data=f"{data}/sampan", run=f"{run}/sampan")


def default_host() -> str:
    """Return the API address: `SAMPAN_HOST`, else the socket in the default run root."""
    return os.environ.get("SAMPAN_HOST") or f"unix://{default_roots().run}/sampan.sock"
