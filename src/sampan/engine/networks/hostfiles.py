"""The three files every container gets from its engine: hosts, resolv.conf, hostname. Pure text."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from sampan.errors import InvalidArgument
from sampan.network.dns.resolvconf import read_resolv_conf

_HOSTS: Final = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
_WORD: Final = re.compile(r"[^\s\x00]+")
HOST_GATEWAY: Final = "host-gateway"  # in place of an address: wherever the host is met
_SEAL: Final = "# sampan: "
HostsLine = tuple[str, str]  # address, names


def make_hosts(
    extra_hosts: Sequence[str],
    *,
    base: str = _HOSTS,
    own: Sequence[HostsLine] = (),
    gateways: Sequence[str] = (),
) -> str:
    """Return /etc/hosts: base (the host's own file on the host network), the `--add-host` lines, and own:
    the container's addresses and names.

    gateways: what host-gateway means; a name for it is left out when there is none.
    """
    if base and not base.endswith("\n"):
        base += "\n"
    added = [
        (address, name)
        for name, given in map(parse_extra_host, extra_hosts)
        for address in (gateways if given == HOST_GATEWAY else (given,))
    ]
    return base + hosts_lines((*added, *own))


def hosts_lines(lines: Sequence[HostsLine]) -> str:
    """Return lines as they are in the file."""
    return "".join(f"{address}\t{names}\n" for address, names in lines)


def change_hosts(text: str, *, remove: Sequence[HostsLine] = (), add: Sequence[HostsLine] = ()) -> str:
    """Return a hosts file with lines of ours taken out and added; whatever else is in it stays."""
    gone = {line.rstrip("\n") for line in hosts_lines(remove).splitlines()}
    kept = "".join(line for line in text.splitlines(keepends=True) if line.rstrip("\n") not in gone)
    if kept and not kept.endswith("\n"):
        kept += "\n"
    return kept + hosts_lines(add)


def relink_hosts(text: str, lines: Sequence[HostsLine]) -> str:
    """Return a hosts file in which names have the addresses that lines give them now."""
    names = {name for _, name in lines}
    old = [(line.partition("\t")[0], line.partition("\t")[2]) for line in text.splitlines()]
    return change_hosts(text, remove=[line for line in old if line[1] in names], add=lines)


def seal(text: str) -> str:
    """Return a file with a last line that tells whether somebody has changed it since."""
    return f"{text}{_SEAL}{_digest(text)}\n"


def is_sealed(text: str) -> bool:
    """Tell whether a file is as `seal` left it."""
    body, mark, digest = text.rpartition(_SEAL)
    return bool(mark) and digest.rstrip("\n") == _digest(body)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def parse_extra_host(text: str) -> tuple[str, str]:
    """Return (name, address) of `name:address`; the address may be IPv6, in brackets or not.

    Raises:
        InvalidArgument: another form, or neither an address nor HOST_GATEWAY.
    """
    name, colon, address = text.partition(":")
    if not colon or not _WORD.fullmatch(name):
        raise InvalidArgument(f"bad format for add-host: {text!r}: write name:address")
    if address == HOST_GATEWAY:
        return name, address
    try:
        return name, str(ipaddress.ip_address(address.removeprefix("[").removesuffix("]")))
    except ValueError as exc:
        raise InvalidArgument(f"invalid IP address in add-host: {address!r}") from exc


def check_nameserver(text: str) -> None:
    """Raise unless text is an IP address (a zone such as %eth0 is allowed)."""
    try:
        ipaddress.ip_address(text)
    except ValueError as exc:
        raise InvalidArgument(f"invalid Dns entry {text!r}: not an IP address") from exc


def check_resolver_word(text: str, *, field: str) -> None:
    """Raise if text would break its line of resolv.conf."""
    if not _WORD.fullmatch(text):
        raise InvalidArgument(f"invalid {field} entry {text!r}: spaces and line ends are not allowed")


def make_resolv_conf(
    host_text: str,
    *,
    dns: Sequence[str],
    search: Sequence[str],
    options: Sequence[str],
    shares_host_network: bool,
) -> str:
    """Return resolv.conf: what was asked for, and for the rest the host's file.

    A name server on the host's loopback is dropped unless the container shares the host's network,
    where alone it can be reached. `search` of `.` alone means none.
    """
    servers, domains, flags = read_resolv_conf(host_text)
    if not shares_host_network:
        servers = [server for server in servers if not _is_loopback(server)]
    servers = list(dns) or servers
    domains = ([] if list(search) == ["."] else list(search)) if search else domains
    flags = list(options) or flags
    lines = [f"nameserver {server}" for server in servers]
    lines += [f"search {' '.join(domains)}"] if domains else []
    lines += [f"options {' '.join(flags)}"] if flags else []
    return "".join(line + "\n" for line in lines)


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server).is_loopback
    except ValueError:
        return False
