"""The registry client as the engine sees it: one for all users, with what they share."""

from __future__ import annotations

from sampan.registry.credentials import NOBODY, Credentials, parse_registry_auth
from sampan.registry.downloads import Downloads
from sampan.registry.options import RegistryOptions
from sampan.registry.pull_progress import PullProgress, Report
from sampan.registry.pulling import Puller
from sampan.registry.pushing import Pusher
from sampan.registry.repository import Repository
from sampan.registry.session import Registries, Session
from sampan.store.arrivals import Arrivals
from sampan.store.references import Reference


class Client:
    """Makes repositories and pulls; thread-safe."""

    def __init__(self, options: RegistryOptions) -> None:
        self._registries = Registries(options)
        self._downloads = Downloads()

    def repository(self, reference: Reference, auth: str) -> Repository:
        """Return a repository as the user of an `X-Registry-Auth` header sees it; "" is nobody."""
        credentials = parse_registry_auth(auth) if auth else NOBODY
        return Repository(self._registries.session(reference.domain, credentials), reference)

    def session(self, domain: str, credentials: Credentials) -> Session:
        """Return requests to a registry as one user."""
        return self._registries.session(domain, credentials)

    def puller(self, arrivals: Arrivals, reference: Reference, report: Report) -> Puller:
        """Return one pull, which tells Docker's lines."""
        return Puller(arrivals, self._downloads, progress=PullProgress(report, reference))

    def pusher(self, arrivals: Arrivals, reference: Reference, auth: str, report: Report) -> Pusher:
        """Return what pushes to a reference's registry."""
        credentials = parse_registry_auth(auth) if auth else NOBODY
        return Pusher(arrivals, self.session(reference.domain, credentials), report)

    def close(self) -> None:
        """Close idle connections."""
        self._registries.close()
