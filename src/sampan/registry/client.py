"""The registry client as the engine sees it: one for all users, with what they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sampan.errors import InvalidArgument
from sampan.ids import Digest
from sampan.registry.credentials import NOBODY, Credentials, parse_registry_auth
from sampan.registry.downloads import Downloads
from sampan.registry.listings import read_catalog
from sampan.registry.manifest_lists import Entry, push_list
from sampan.registry.options import RegistryOptions
from sampan.registry.policy import read_policy
from sampan.registry.pull_progress import PullProgress, Report
from sampan.registry.pulling import Puller
from sampan.registry.pushing import Pusher
from sampan.registry.repository import Repository
from sampan.registry.search import Hit, check_limit, parse_term, search
from sampan.registry.session import Registries, Session
from sampan.registry.signatures import Signature, find_signatures, parse_key
from sampan.registry.sources import Sources
from sampan.registry.uploads import Uploads
from sampan.spec.image import Platform
from sampan.store.arrivals import Arrivals
from sampan.store.references import Reference


@dataclass(frozen=True, slots=True)
class Signed:
    """Whose signatures an image has."""

    digest: Digest
    signatures: Sequence[Signature]


class Client:
    """Makes repositories and pulls; thread-safe."""

    def __init__(self, options: RegistryOptions) -> None:
        self._registries = Registries(options)
        self.downloads = Downloads()

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

    def catalog(self, domain: str, credentials: Credentials, *, last: str = "") -> Iterator[Sequence[str]]:
        """Yield the names of a registry's repositories behind last, a page at a time.

        Raises:
            NotFound: it has no such list. Unauthorized, Unavailable: as it says.
        """
        return read_catalog(self.session(domain, credentials), last=last)

    def own_sources(self, reference: Reference, credentials: Credentials) -> Sources:
        """As `sources_as`, but the registry itself alone: no mirror, which might be who asks."""
        session = self._registries.session(self._registries.routes.to_itself(reference), credentials)
        return Sources(reference, [Repository(session, reference)])

    def signatures(
        self, reference: Reference, auth: str, *, digest: Digest | None, keys: Sequence[bytes]
    ) -> Signed:
        """Return the signatures of an image that keys (PEM) have made, or the keys that the policy names.

        digest: of the image that is meant; None: the one that the tag has now.

        Raises:
            InvalidArgument: a key is none, or none is known. SampanError: as the registry says.
        """
        sources = self.sources(reference, auth)
        digest = digest or sources.get_document(reference.tag).digest
        policy = read_policy(self._registries.options.policy, reference)
        pems = list(keys) or [pem for requirement in policy.signed for pem in requirement.keys()]
        if not pems:
            raise InvalidArgument(
                f"no key is known for {reference.familiar}",
                hint="--key FILE, or a policy with sigstoreSigned",
            )
        return Signed(digest, find_signatures(sources, digest, [parse_key(pem) for pem in pems]))

    def search(self, text: str, auth: str, *, limit: int) -> list[Hit]:
        """Return names of repositories that have a word (`[host/]word`) in them.

        Raises:
            InvalidArgument: text or limit is none. NotFound: the registry cannot be searched.
        """
        term, limit = parse_term(text), check_limit(limit)
        route = self._registries.routes.for_search(term.domain)
        credentials = parse_registry_auth(auth) if auth else NOBODY
        return search(self._registries.session(route, credentials), term.text, limit=limit)

    def push_list(self, target: Reference, images: Sequence[tuple[Reference, Platform]], auth: str) -> Digest:
        """Push an index of images that are in target's registry; return its digest.

        Raises:
            InvalidArgument: an image is elsewhere. SampanError: as the registry says.
        """
        credentials = parse_registry_auth(auth) if auth else NOBODY
        session = self._registries.session(self._registries.routes.for_push(target), credentials)
        entries = [
            Entry(source, platform, self.sources_as(source, credentials)) for source, platform in images
        ]
        return push_list(Uploads(session, target), target, entries)

    def puller(self, arrivals: Arrivals, reference: Reference, report: Report) -> Puller:
        """Return one pull, which tells Docker's lines."""
        return Puller(arrivals, self.downloads, progress=PullProgress(report, reference))

    def pusher(self, arrivals: Arrivals, reference: Reference, auth: str, report: Report) -> Pusher:
        """Return what pushes to a reference's registry."""
        credentials = parse_registry_auth(auth) if auth else NOBODY
        route = self._registries.routes.for_push(reference)
        return Pusher(arrivals, self._registries.session(route, credentials), report)

    def uploads(self, reference: Reference, auth: str) -> Uploads:
        """Return what writes blobs and manifests to a reference's repository."""
        credentials = parse_registry_auth(auth) if auth else NOBODY
        route = self._registries.routes.for_push(reference)
        return Uploads(self._registries.session(route, credentials), reference)

    def close(self) -> None:
        """Close idle connections."""
        self._registries.close()
