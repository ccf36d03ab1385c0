"""What no test may change: the network of the machine that the tests run on."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

_SYSCTLS = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/route_localnet")
_OURS = ("sampan", "sv", "vx-", "dm-")  # what interfaces of a sampand are called, but for `br-…`, as Docker's


def read_network() -> dict[str, object]:
    """Return switches, default routes and rules of this network namespace, and interfaces of ours in it.

    Other interfaces may come and go meanwhile: not only tests use a machine.
    """
    found: dict[str, object] = {}
    for name in _SYSCTLS:
        path = Path("/proc/sys", name)
        found[name] = path.read_text().strip() if path.exists() else None
    names = sorted(str(one["ifname"]) for one in _ip("link"))
    found["interfaces of ours"] = [name for name in names if name.startswith(_OURS)]
    for family in ("-4", "-6"):
        found[f"default routes {family}"] = [
            (one.get("gateway"), one.get("dev")) for one in _ip(family, "route", "show", "default")
        ]
    found["rules"] = _rules() if os.geteuid() == 0 else None
    return found


def _ip(*words: str) -> list[dict[str, object]]:
    done = subprocess.run(["ip", "-j", *words], capture_output=True, text=True, check=False)
    answer: list[dict[str, object]] = json.loads(done.stdout or "[]")
    return answer


def _rules() -> str:
    """Return everything of nftables, iptables' tables included, without counters."""
    command = ["nft", "--stateless", "list", "ruleset"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
