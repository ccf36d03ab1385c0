"""Where an image is asked for: its registry's servers and mirrors, in the order in which they are tried.

`registries.conf` says under which names an image may be looked for, `certs.d/<host>/hosts.toml` which servers
stand for the host of each name. docs/registry.md, "Mirrors".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from sampan.errors import Forbidden, InvalidArgument
from sampan.registry.endpoints import Endpoint, endpoints_of, speaks_for
from sampan.registry.hosts import Host, certificates_in, find_folder, read_hosts
from sampan.registry.options import RegistryOptions
from sampan.registry.registries_conf import RegistriesConf
from sampan.store.references import DEFAULT_DOMAIN, Reference

_HUB_SEARCH: Final = "index.docker.io"


@dataclass(frozen=True, slots=True)
class Route:
    """One server that may have an image."""

    reference: Reference  # the image's name there
    endpoints: tuple[Endpoint, ...]  # ways to the same server, the best first
    resolves: bool = True  # may say what a tag is; else only content by digest is asked for
    sees_credentials: bool = True

    @property
    def authority(self) -> str:
        """The server's host and port."""
        return self.endpoints[-1].authority


class Routes:
    """Reads the files anew each time."""

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options

    def for_pull(self, reference: Reference) -> list[Route]:
        """Return where to ask for an image.

        Raises:
            Forbidden: it is blocked.
            InvalidArgument: a file has no meaning.
        """
        found = [
            route
            for located in RegistriesConf(self._options.registries_conf).locate(reference)
            for route in self._to(located.reference, insecure=located.insecure, user_domain=reference.domain)
        ]
        if not found:
            raise Forbidden(f"no server is allowed to be pulled from for {reference.domain}")
        return found

    def for_push(self, reference: Reference) -> Route:
        """Return where an image is sent: the first server that takes it.

        Raises:
            Forbidden: none does. InvalidArgument: a file has no meaning.
        """
        insecure = RegistriesConf(self._options.registries_conf).is_insecure(reference)
        for host in self._hosts(reference.domain, insecure=insecure):
            if "push" in host.capabilities:
                return self._route(reference, host, insecure=insecure, user_domain=reference.domain)
        raise Forbidden(f"no server is allowed to be pushed to for {reference.domain}")

    def for_search(self, domain: str) -> Route:
        """Return the registry itself, or for "" what Docker Hub is searched by."""
        if domain in ("", DEFAULT_DOMAIN):
            return Route(Reference(DEFAULT_DOMAIN, ""), (Endpoint("https", _HUB_SEARCH),))
        return self.for_login(domain)

    def for_login(self, domain: str) -> Route:
        """Return the registry itself."""
        return self.to_itself(Reference(domain, ""))

    def to_itself(self, reference: Reference) -> Route:
        """Return the registry of a name, without its mirrors."""
        host = self._hosts(reference.domain, insecure=False)[-1]
        return self._route(reference, host, insecure=False, user_domain=reference.domain)

    def _to(self, reference: Reference, *, insecure: bool, user_domain: str) -> Iterator[Route]:
        if reference.domain == DEFAULT_DOMAIN:
            for text in self._options.mirrors:
                yield Route(reference, self._mirror(text), sees_credentials=False)
        for host in self._hosts(reference.domain, insecure=insecure):
            if "pull" in host.capabilities:
                yield self._route(reference, host, insecure=insecure, user_domain=user_domain)

    def _hosts(self, domain: str, *, insecure: bool) -> list[Host]:
        folder = find_folder(domain, self._options.certs)
        hosts = read_hosts(folder, domain) if folder else []
        if hosts:
            return hosts
        cas, pairs = certificates_in(folder)
        endpoint = replace(self._endpoints(domain, insecure)[0], cas=cas, client_certificates=pairs)
        return [Host(endpoint)]

    def _route(self, reference: Reference, host: Host, *, insecure: bool, user_domain: str) -> Route:
        endpoint = host.endpoint
        endpoints = [endpoint]
        says_tls = not endpoint.verify or endpoint.cas or endpoint.client_certificates
        if endpoint.scheme == "http" and says_tls:  # containerd: TLS was spoken of, so it is tried first
            endpoints.insert(0, replace(endpoint, scheme="https"))
        elif endpoint.authority == reference.domain and not endpoint.cas:
            usual = self._endpoints(reference.domain, insecure)
            endpoints = [
                replace(endpoint, scheme=one.scheme, verify=endpoint.verify and one.verify) for one in usual
            ]
        return Route(
            reference,
            tuple(endpoints),
            resolves="resolve" in host.capabilities,
            sees_credentials=speaks_for(endpoint.authority, user_domain),
        )

    def _endpoints(self, domain: str, insecure: bool) -> list[Endpoint]:
        options = (
            replace(self._options, insecure=(*self._options.insecure, domain)) if insecure else self._options
        )
        return endpoints_of(domain, options)

    def _mirror(self, text: str) -> tuple[Endpoint, ...]:
        parts = parse_mirror(text)
        cas, pairs = certificates_in(find_folder(parts.authority, self._options.certs))
        verify = not self._options.is_insecure(parts.authority)
        return (replace(parts, cas=cas, client_certificates=pairs, verify=verify),)


def parse_mirror(text: str) -> Endpoint:
    """Read the address of a mirror of Docker Hub.

    Raises:
        InvalidArgument: it is none, in Docker's words.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidArgument(f"invalid mirror: {text!r} is not http://HOST or https://HOST")
    if parts.username is not None or parts.query or parts.fragment:
        raise InvalidArgument(f"invalid mirror: user, query or fragment in the address of {parts.hostname}")
    return Endpoint(parts.scheme, parts.netloc, root=f"{parts.path.rstrip('/')}/v2")
