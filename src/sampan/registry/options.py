"""What an administrator sets for registries, and the limits that hold for all of them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final

CERTS_DIRECTORIES: Final = ("/etc/sampan/certs.d", "/etc/docker/certs.d")
REGISTRIES_CONF: Final = "/etc/sampan/registries.conf"
POLICY: Final = "/etc/sampan/policy.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long and how often a registry is waited for. All documents have 4 MiB at most (OCI's own limit)."""

    connect_s: float = 15.0
    silence_s: float = 30.0  # without a byte
    document_s: float = 60.0  # for a whole document, however it drips
    attempts: int = 5  # without progress
    backoff_s: float = 0.25  # doubles each time
    backoff_most_s: float = 8.0
    retry_after_most_s: float = 60.0
    slow_window_s: float = 60.0  # a blob that brings less than slow_bytes in this time is given up
    slow_bytes: int = 60 * 1024
    redirects: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """Settings of the client."""

    insecure: tuple[str, ...] = ()  # host, host:port or network in CIDR form
    certs: tuple[str, ...] = CERTS_DIRECTORIES
    registries_conf: str = REGISTRIES_CONF  # may be missing
    policy: str = POLICY  # whose signatures images need; may be missing
    mirrors: tuple[str, ...] = ()  # of Docker Hub, as URLs
    downloads: int = 3  # of one image at a time
    uploads: int = 3
    limits: Limits = field(default_factory=Limits)

    def is_insecure(self, domain: str) -> bool:
        """Tell whether a registry may be spoken to without (checked) TLS: on loopback always, as Docker."""
        host = host_of(domain)
        if domain in self.insecure or host in self.insecure or host == "localhost":
            return True
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return False
        return address.is_loopback or any(_contains(network, address) for network in self.insecure)


def host_of(domain: str) -> str:
    """Return the host of `host[:port]`."""
    head, colon, port = domain.rpartition(":")
    return head if colon and port.isdigit() else domain


def _contains(text: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False  # a host name
