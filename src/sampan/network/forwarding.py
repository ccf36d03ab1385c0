"""Kernel parameters of the host that a bridge network needs. Set when they are first needed, and logged."""

from __future__ import annotations

import os

from sampan import log
from sampan.errors import SampanError


def set_up_bridge(name: str, *, ipv6: bool) -> None:
    """Let packets be forwarded, and `127.0.0.1:PORT` lead to containers. IPv6 is off on an IPv4 network."""
    if _read("net/ipv4/ip_forward") != "1":
        log.info("forwarding of IPv4 switched on: a container needs it", sysctl="net.ipv4.ip_forward")
        _write("net/ipv4/ip_forward", "1")
    _write(f"net/ipv4/conf/{name}/route_localnet", "1")
    if not os.path.exists(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"):
        if ipv6:
            raise SampanError("this machine has no IPv6", hint="make the network without --ipv6")
        return
    if not ipv6:
        _write(f"net/ipv6/conf/{name}/disable_ipv6", "1")
        return
    _write(f"net/ipv6/conf/{name}/accept_ra", "0")  # a container must not become the host's router
    _write(f"net/ipv6/conf/{name}/disable_ipv6", "0")
    _forward_ipv6()


def _forward_ipv6() -> None:
    """Switch forwarding on; interfaces that learn their routes from a router go on to.

    Linux has hosts that forward ignore router advertisements unless accept_ra is 2
    (Documentation/networking/ip-sysctl.rst): the host would lose its own way out.
    """
    if _read("net/ipv6/conf/all/forwarding") == "1":
        return
    for name in os.listdir("/proc/sys/net/ipv6/conf"):
        path = f"net/ipv6/conf/{name}/accept_ra"
        if name not in ("all", "default") and _read(path) == "1":
            _write(path, "2")
    log.info("forwarding of IPv6 switched on: a container needs it", sysctl="net.ipv6.conf.all.forwarding")
    _write("net/ipv6/conf/all/forwarding", "1")


def filters_bridges6() -> bool:
    """Tell whether frames on bridges pass the rules for IPv6 (br_netfilter, its sysctl)."""
    try:
        return _read("net/bridge/bridge-nf-call-ip6tables") != "0"
    except FileNotFoundError:
        return False


def _read(name: str) -> str:
    with open(f"/proc/sys/{name}") as file:
        return file.read().strip()


def _write(name: str, value: str) -> None:
    try:
        with open(f"/proc/sys/{name}", "w") as file:
            file.write(value)
    except OSError as exc:
        raise SampanError(f"cannot set sysctl {name.replace('/', '.')}: {exc.strerror}") from exc
