"""The matrix of who reaches what (tests/system/network_matrix.py), on sampand and on Debian's dockerd.

dockerd 20.10 has no gateway modes and no trusted interfaces: three kinds of networks are compared. What
differs is explained here; anything else is told.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.system.cli.harness import make_image, running_dockerd
from tests.system.network_host import HOSTS, make_spaces, network_host, remove_spaces
from tests.system.network_matrix import FAMILIES, Cell, expected, measure, reaches_loopback6

KINDS = ("plain", "no icc", "internal")


class DockerPlace:
    """A dockerd in a namespace that stands for the host; see `network_matrix.Place`."""

    def __init__(self, client: str, address: str, spaces: list[str]) -> None:
        self.spaces = spaces
        self._command = [client, "-H", address]

    @property
    def hosts(self) -> Mapping[str, str]:
        return HOSTS

    def cli(self, *arguments: str) -> str:
        done = subprocess.run([*self._command, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout.strip()


def explain(cell: Cell, *, theirs: bool) -> str:
    """Return why dockerd answers otherwise in a cell, "" when that is not known."""
    kind, peer, target, family = cell
    if theirs and target in ("own published", "own loopback") and peer == "lan":
        return (
            "published ports were open at containers' own addresses to whoever routes there before Docker 28"
        )
    if theirs and peer == "same" and target == "published":
        return "with icc=false its userland proxy forwards what comes to the host's own address"
    if theirs and target == "at loopback" and family == "ipv6":
        return "its userland proxy listens at ::1"
    if not theirs and kind == "internal" and peer == "same" and family == "ipv6":
        return "its rule for internal networks drops neighbour discovery where br_netfilter is on"
    return ""


def compare(client: str, folder: Path) -> list[str]:
    """Return the cells that differ without an explanation; print all that differ."""
    (folder / "ours").mkdir()
    (folder / "theirs").mkdir()
    with network_host(folder / "ours") as host:
        ours = measure(host, KINDS, FAMILIES)
        loopback6 = reaches_loopback6(host)
    spaces = [f"sampan-{kind}-dockerd" for kind in ("host", "lan")]
    make_spaces(spaces)
    try:
        options = ("--experimental", "--ip6tables")
        with running_dockerd(folder / "theirs", network=spaces[0], options=options) as dockerd:
            make_image(dockerd.host)
            theirs = measure(DockerPlace(client, dockerd.host, spaces), KINDS, FAMILIES)
    finally:
        remove_spaces(spaces)
    found = []
    for cell, reached in ours.items():
        if reached != expected(cell, loopback6=loopback6):
            found.append(f"{cell}: sampand {_word(reached)}, documented is the other")
        if theirs[cell] != reached:
            reason = explain(cell, theirs=theirs[cell])
            both = f"sampand {_word(reached)}, dockerd {_word(theirs[cell])}"
            print(f"{' / '.join(cell)}: {both}: {reason or '?'}")
            found += [] if reason else [f"{cell}: dockerd {_word(theirs[cell])}"]
    print(f"{len(ours)} cells, {sum(theirs[cell] == ours[cell] for cell in ours)} the same")
    return found


def _word(reached: bool) -> str:
    return "reaches" if reached else "does not reach"
