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
from sampan.registry.sources import Sources
from sampan.store.arrivals import Arrivals
from sampan.store.references import Reference


class Client:
    """Makes repositories and pulls; thread-safe."""

    def __init__(self, options: RegistryOptions) -> None:
        self._registries = Registries(options)
        self._downloads = Downloads()

    def sources(self, reference: Reference, auth: str) -> Sources:
        """Return who may have an image, as the user of an `X-Registry-Auth` header sees it; "" is nobody.

        Raises:
            Forbidden, InvalidArgument: as `Routes.for_pull`.
        """
        return self.sources_as(reference, parse_registry_auth(auth) if auth else NOBODY)

    def sources_as(self, reference: Reference, credentials: Credentials) -> Sources:
        """As `sources`, for credentials that have been read."""
        routes = self._registries.routes.for_pull(reference)
        sessions = [self._registries.session(route, credentials) for route in routes]
        return Sources(reference, [Repository(session, reference) for session in sessions])

    def session(self, domain: str, credentials: Credentials) -> Session:
        """Return requests to a registry itself as one user."""
        return self._registries.session(self._registries.routes.for_login(domain), credentials)

    def puller(self, arrivals: Arrivals, reference: Reference, report: Report) -> Puller:
        """Return one pull, which tells Docker's lines."""
        return Puller(arrivals, self._downloads, progress=PullProgress(report, reference))

    def pusher(self, arrivals: Arrivals, reference: Reference, auth: str, report: Report) -> Pusher:
        """Return what pushes to a reference's registry."""
        credentials = parse_registry_auth(auth) if auth else NOBODY
        route = self._registries.routes.for_push(reference)
        return Pusher(arrivals, self._registries.session(route, credentials), report)

    def close(self) -> None:
        """Close idle connections."""
        self._registries.close()
