"""The driver options of a bridge network under Docker's names. Pure.

Source: Docker's page "Bridge network driver", Options, and "Port publishing and mapping", Gateway modes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sampan.errors import InvalidArgument
from sampan.network.addresses import parse_address, parse_address6, parse_any_address
from sampan.network.model import GATEWAY_MODES, ISOLATED, MIN_MTU, MIN_MTU6, MTU, NAT

_INTERFACE: Final = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
_PREFIX_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{1,12}")
_BRIDGE: Final = "com.docker.network.bridge."
_KNOWN_ELSEWHERE: Final = frozenset(
    (f"{_BRIDGE}default_bridge", "com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOptions:
    """What the options of a network say; see `NetworkRecord`. unknown: those that have no meaning here."""

    name: str
    icc: bool
    masquerade: bool
    mtu: int
    bind_address: str
    mode4: str
    mode6: str
    inhibit_ipv4: bool
    trusted: tuple[str, ...]
    source4: str
    source6: str
    interface_prefix: str
    unknown: tuple[str, ...]


def read_bridge_options(options: Mapping[str, str], *, internal: bool, ipv6: bool) -> BridgeOptions:
    """Read options; those that nobody knows are accepted, as by Docker, and told.

    Raises:
        InvalidArgument: a wrong value.
    """
    left = dict(options)

    def take(key: str) -> str:
        return left.pop(key, "")

    found = BridgeOptions(
        name=_bridge_name(take(f"{_BRIDGE}name")),
        icc=_truth(f"{_BRIDGE}enable_icc", take(f"{_BRIDGE}enable_icc"), default=True),
        masquerade=_truth(
            f"{_BRIDGE}enable_ip_masquerade", take(f"{_BRIDGE}enable_ip_masquerade"), default=True
        ),
        mtu=_mtu(take("com.docker.network.driver.mtu"), ipv6=ipv6),
        bind_address=str(parse_any_address(take(f"{_BRIDGE}host_binding_ipv4") or "0.0.0.0")),  # noqa: S104
        mode4=_mode(f"{_BRIDGE}gateway_mode_ipv4", take(f"{_BRIDGE}gateway_mode_ipv4"), internal=internal),
        mode6=_mode(f"{_BRIDGE}gateway_mode_ipv6", take(f"{_BRIDGE}gateway_mode_ipv6"), internal=internal),
        inhibit_ipv4=_truth(f"{_BRIDGE}inhibit_ipv4", take(f"{_BRIDGE}inhibit_ipv4"), default=False),
        trusted=_interfaces(take(f"{_BRIDGE}trusted_host_interfaces")),
        source4=_checked(take("com.docker.network.host_ipv4"), version=4),
        source6=_checked(take("com.docker.network.host_ipv6"), version=6),
        interface_prefix=_interface_prefix(take("com.docker.network.container_iface_prefix")),
        unknown=tuple(key for key in left if key not in _KNOWN_ELSEWHERE),
    )
    return found


def read_truth(options: Mapping[str, str], key: str, *, default: bool) -> bool:
    """Read an option that is true or false.

    Raises:
        InvalidArgument: it is neither.
    """
    return _truth(key, options.get(key, ""), default=default)


def _bridge_name(wanted: str) -> str:
    if wanted and (not _INTERFACE.fullmatch(wanted) or wanted in (".", "..", "lo", "all", "default")):
        raise InvalidArgument(f"invalid bridge name {wanted!r}: at most 15 of [a-zA-Z0-9_.-]")
    return wanted


def _interface_prefix(text: str) -> str:
    if text and not _PREFIX_NAME.fullmatch(text):
        raise InvalidArgument(f"invalid interface prefix {text!r}: at most 12 of [a-zA-Z0-9_.-]")
    return text or "eth"


def _interfaces(text: str) -> tuple[str, ...]:
    names = tuple(text.split(":")) if text else ()
    for name in names:
        if not _INTERFACE.fullmatch(name):
            raise InvalidArgument(f"invalid interface name {name!r} in trusted_host_interfaces {text!r}")
    return names


def _mode(key: str, text: str, *, internal: bool) -> str:
    if text and text not in GATEWAY_MODES:
        raise InvalidArgument(
            f"unknown gateway mode {text} in {key}", hint=f"one of {', '.join(GATEWAY_MODES)}"
        )
    if text == ISOLATED and not internal:
        raise InvalidArgument(
            f"gateway mode 'isolated' can only be used for an internal network ({key})",
            hint="make it with --internal",
        )
    return text or NAT


def _checked(text: str, *, version: int) -> str:
    if not text:
        return ""
    return str(parse_address(text) if version == 4 else parse_address6(text))


def _truth(key: str, text: str, *, default: bool) -> bool:
    if not text:
        return default
    if text.lower() not in ("1", "t", "true", "0", "f", "false"):
        raise InvalidArgument(f"failed to parse {key} value: {text!r}: write true or false")
    return text.lower() in ("1", "t", "true")


def _mtu(text: str, *, ipv6: bool) -> int:
    if not text or text == "0":
        return MTU
    low = MIN_MTU6 if ipv6 else MIN_MTU
    if not (text.isascii() and text.isdigit() and len(text) < 6 and low <= int(text) <= 65535):
        why = " with IPv6" if ipv6 else ""
        raise InvalidArgument(f"invalid MTU {text!r}: a number from {low} to 65535{why}")
    return int(text)
