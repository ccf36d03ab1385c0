"""Requests to one registry with a user's credentials: finds the way there, answers a 401 once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sampan.errors import Unauthorized, Unavailable
from sampan.registry.challenges import Challenge, find_challenge, parse_challenges
from sampan.registry.credentials import NOBODY, Credentials
from sampan.registry.endpoints import Endpoint, origin
from sampan.registry.options import RegistryOptions
from sampan.registry.routes import Route, Routes
from sampan.registry.tokens import Grant, Tokens
from sampan.registry.transport import Answer, Body, ConnectFailed, Transport

_ERROR_BYTES: Final = 64 * 1024
_FIRST_TRIES: Final = 2  # of a registry that never answered yet: it may be a slip of the pen


@dataclass(frozen=True, slots=True)
class Way:
    """How a registry is reached, and what it asks of everybody (None: nothing)."""

    endpoint: Endpoint
    challenges: tuple[Challenge, ...]


class Registries:
    """What is known of registries, shared by all sessions; thread-safe. The engine closes it."""

    def __init__(self, options: RegistryOptions) -> None:
        self.options = options
        self.transport = Transport(options)
        self.tokens = Tokens(self.transport)
        self.routes = Routes(options)
        self._ways: dict[tuple[Endpoint, ...], Way] = {}
        self._lock = threading.Lock()

    def session(self, route: Route, credentials: Credentials = NOBODY) -> Session:
        """Return a session with the server of a route; nothing is sent before it is used."""
        return Session(self, route, credentials if route.sees_credentials else NOBODY)

    def find_way(self, endpoints: tuple[Endpoint, ...]) -> Way:
        """Return how to reach a server, asked for once.

        Raises:
            Unavailable: it cannot be reached, or is no registry.
        """
        with self._lock:
            known = self._ways.get(endpoints)
        if known is None:
            known = self._ask_way(endpoints)
            with self._lock:
                self._ways[endpoints] = known
        return known

    def forget_way(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Ask again the next time: the registry did not answer as it did before."""
        with self._lock:
            self._ways.pop(endpoints, None)

    def close(self) -> None:
        """Close idle connections."""
        self.transport.close()

    def _ask_way(self, candidates: tuple[Endpoint, ...]) -> Way:
        for endpoint in candidates:
            is_last = endpoint is candidates[-1]
            try:
                answer = self.transport.send(
                    "GET", endpoint.address("/v2/"), endpoint=endpoint, tries=_FIRST_TRIES if is_last else 1
                )
            except ConnectFailed:
                if is_last:
                    raise
                continue
            with answer:
                answer.read_document(_ERROR_BYTES)
                if answer.status not in (200, 401, 403, 404):
                    where = endpoint.authority
                    raise Unavailable(
                        f"registry {where} answers {answer.status} to /v2/: it may not be a registry"
                    )
                return Way(endpoint, tuple(challenges_of(answer)))
        raise AssertionError("there is always a last way")


class Session:
    """Requests to one registry as one user; thread-safe."""

    def __init__(self, registries: Registries, route: Route, credentials: Credentials) -> None:
        self._registries = registries
        self._route = route
        self._credentials = credentials

    @property
    def route(self) -> Route:
        """The server, and what the image is called there."""
        return self._route

    @property
    def options(self) -> RegistryOptions:
        """The client's settings."""
        return self._registries.options

    def request(
        self,
        method: str,
        path: str,
        *,
        scopes: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        tries: int = 0,
    ) -> Answer:
        """Return the answer to a request for a path (`/v2/…`) or an address that the registry gave.

        Raises:
            Unauthorized: it wants credentials, or other ones.
            Unavailable: no answer.
        """
        try:
            way = self._registries.find_way(self._route.endpoints)
            url = path if path.startswith(("http://", "https://")) else way.endpoint.address(path)
            authorization = self._prove(way, way.challenges, scopes, fresh=False)
            answer = self._send(way, method, url, authorization, headers, body, tries)
            if answer.status != 401 or origin(answer.url) != origin(way.endpoint.url):
                return answer
            with answer:
                answer.read_document(_ERROR_BYTES)
                renewed = self._prove(way, challenges_of(answer), scopes, fresh=True)
            if not renewed or (renewed == authorization and renewed.startswith("Basic ")):
                raise self._refused()
            return self._send(way, method, url, renewed, headers, body, tries)
        except ConnectFailed:
            self._registries.forget_way(self._route.endpoints)
            raise

    def login(self) -> str:
        """Check the credentials; return an identity token, or "" where the password is to be kept.

        Raises:
            Unauthorized: they are wrong.
        """
        way = self._registries.find_way(self._route.endpoints)
        bearer = find_challenge(way.challenges, "bearer")
        if bearer is not None:
            grant = self._grant(way, bearer, (), fresh=True, offline=True)
            authorization, identity = f"Bearer {grant.token}", grant.identity_token
        else:
            authorization, identity = self._credentials.basic, ""
        with self._send(way, "GET", way.endpoint.address("/v2/"), authorization, None, None, 0) as answer:
            answer.read_document(_ERROR_BYTES)
            if answer.status == 200:
                return identity
            raise self._refused()

    def _send(
        self,
        way: Way,
        method: str,
        url: str,
        authorization: str,
        headers: Mapping[str, str] | None,
        body: Body | None,
        tries: int,
    ) -> Answer:
        return self._registries.transport.send(
            method,
            url,
            endpoint=way.endpoint,
            authorization=authorization,
            headers=headers,
            body=body,
            tries=tries,
        )

    def _prove(self, way: Way, challenges: Sequence[Challenge], scopes: Sequence[str], *, fresh: bool) -> str:
        """Return the value of `Authorization` that answers challenges, "" if there is none to give."""
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        bearer = find_challenge(challenges, "bearer")
        if bearer is not None:
            return f"Bearer {self._grant(way, bearer, scopes, fresh=fresh).token}"
        if find_challenge(challenges, "basic") is not None and self._credentials.username:
            return self._credentials.basic
        return ""

    def _grant(
        self, way: Way, bearer: Challenge, scopes: Sequence[str], *, fresh: bool, offline: bool = False
    ) -> Grant:
        return self._registries.tokens.get(
            bearer,
            endpoint=way.endpoint,
            scopes=scopes,
            credentials=self._credentials,
            fresh=fresh,
            offline=offline,
        )

    def _refused(self) -> Unauthorized:
        if self._credentials:
            return Unauthorized(
                "unauthorized: authentication required: incorrect username or password",
                hint=f"log in again: sampan login {self._route.reference.domain}",
            )
        return Unauthorized(
            "no basic auth credentials", hint=f"log in first: sampan login {self._route.reference.domain}"
        )


def challenges_of(answer: Answer) -> list[Challenge]:
    """Return what an answer asks for."""
    return parse_challenges(answer.headers.getlist("WWW-Authenticate"))
