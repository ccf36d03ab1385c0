"""Which URL serves a name, and who its neighbours are: the places that may see credentials."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from sampan.registry.options import RegistryOptions, host_of
from sampan.store.references import DEFAULT_DOMAIN

HUB: Final = "registry-1.docker.io"
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that speaks for a registry, and how it is spoken to."""

    scheme: str
    authority: str  # host[:port]
    verify: bool = True  # the server's certificate
    root: str = "/v2"  # where its API begins
    namespace: str = ""  # of a mirror: the registry it stands for, told as `ns`
    cas: tuple[str, ...] = ()  # PEM files of authorities, beside the system's
    client_certificates: tuple[tuple[str, str], ...] = ()  # PEM files: certificate, key
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # may be secrets; to its origin only
    proxy: str = field(default="", repr=False)  # "": as the environment says
    connect_s: float = 0.0  # 0: as usual

    @property
    def url(self) -> str:
        """Scheme and authority without a slash behind them."""
        return f"{self.scheme}://{self.authority}"

    def address(self, path: str) -> str:
        """Return the URL of a path of the API, written `/v2/…`, or of another one as it is."""
        if not path.startswith("/v2/"):
            return self.url + path
        joint = "&" if "?" in path else "?"
        ns = f"{joint}ns={self.namespace}" if self.namespace else ""
        return f"{self.url}{self.root}{path.removeprefix('/v2')}{ns}"


def endpoints_of(domain: str, options: RegistryOptions) -> list[Endpoint]:
    """Return the ways to reach a registry, the best first; plain HTTP only where it is allowed."""
    if domain == DEFAULT_DOMAIN:
        return [Endpoint("https", HUB)]
    if options.is_insecure(domain):
        return [Endpoint("https", domain, verify=False), Endpoint("http", domain)]
    return [Endpoint("https", domain)]


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port: what must be equal for credentials to be sent along."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)


def may_see_credentials(realm: str, endpoint: Endpoint) -> bool:
    """Tell whether a token server belongs to a registry.

    That is so on the same host, and on a neighbour below the domain that the registry is a part of. Without
    TLS only when the registry is spoken to without, too, on the same host.
    """
    scheme, host, _port = origin(realm)
    registry = host_of(endpoint.authority).lower()
    same = host == registry.strip("[]")
    if scheme != "https":
        return scheme == "http" and endpoint.scheme == "http" and same
    return same or _are_neighbours(host, registry)


def speaks_for(authority: str, domain: str) -> bool:
    """Tell whether a server may see what a user has for a registry: it is that one, or a close relative."""
    host, home = host_of(authority).lower(), host_of(domain).lower()
    return authority == domain or (host_of(authority) == authority and _are_neighbours(host, home))


def _are_neighbours(host: str, registry: str) -> bool:
    for name in (host, registry):
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            continue
        return False
    parent = registry.partition(".")[2]
    shared = parent if _is_own_domain(parent) else registry
    return host == shared or host.endswith(f".{shared}")


def _is_own_domain(name: str) -> bool:
    """Tell a domain that somebody owns from one below which many do (`com`, `co.uk`): a careful guess."""
    labels = name.split(".")
    if len(labels) < 2:
        return False
    return len(labels) > 2 or not (len(labels[1]) == 2 and len(labels[0]) <= 3)
