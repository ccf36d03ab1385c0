"""resolv.conf of containers that are served at 127.0.0.11, and the upstream servers behind it. Pure text.

Source: resolv.conf(5); Docker's documentation of `--dns`, `--dns-search`, `--dns-opt`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sampan.network.dns.model import ADDRESS, Server

_MAX_SERVERS: Final = 3  # resolv.conf(5), MAXNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolving:
    """A container's resolv.conf, and what sampan-dns needs for its view."""

    text: str
    servers: tuple[Server, ...]
    ndots: int


def plan_resolving(
    host_text: str,
    *,
    dns: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    internal: bool = False,
) -> Resolving:
    """Return what a container on user-defined networks gets.

    dns, search, options: what the user asked for; the host's file stands in for each that is empty. `search`
    of `.` alone means none. internal: all its networks are; nothing is asked upstream (CVE-2024-29018).
    """
    host_servers, host_search, host_options = read_resolv_conf(host_text)
    servers = [Server(address=text) for text in dns] or [
        Server(address=text, from_host=True) for text in host_servers[:_MAX_SERVERS]
    ]
    servers = [server for server in servers if server.from_host or not _is_ours(server.address)]
    domains = [] if list(search) == ["."] else list(search) or host_search
    flags = list(options) or host_options
    ndots = _ndots(flags)
    if ndots is None:
        flags = [*flags, "ndots:0"]
    lines = ["# Made by sampan. A changed file is left alone.", f"nameserver {ADDRESS}"]
    lines += [f"search {' '.join(domains)}"] if domains else []
    lines += [f"options {' '.join(flags)}"]
    asked = () if internal else tuple(servers)
    shown = [f"host({server.address})" if server.from_host else server.address for server in asked]
    lines += [f"# ExtServers: [{' '.join(shown)}]"] if shown else []
    return Resolving(text="\n".join(lines) + "\n", servers=asked, ndots=ndots or 0)


def _ndots(flags: Sequence[str]) -> int | None:
    """Return the last ndots of options, None without one that counts."""
    for flag in reversed(flags):
        key, _, value = flag.partition(":")
        if key == "ndots" and value.isascii() and value.isdigit() and len(value) <= 2:
            return int(value)
    return None


def _is_ours(address: str) -> bool:
    try:
        return ipaddress.ip_address(address) == ipaddress.ip_address(ADDRESS)
    except ValueError:
        return False


def read_resolv_conf(text: str) -> tuple[list[str], list[str], list[str]]:
    """Return servers, search domains (the last line counts) and options of a resolv.conf(5)."""
    servers: list[str] = []
    domains: list[str] = []
    flags: list[str] = []
    for line in text.splitlines():
        key, *words = line.partition("#")[0].partition(";")[0].split() or [""]
        if key == "nameserver" and words:
            servers.append(words[0])
        elif key in ("search", "domain"):
            domains = words
        elif key == "options":
            flags += words
    return servers, domains, flags
