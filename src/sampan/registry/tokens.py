"""Bearer tokens: asked for with a scope, kept until shortly before they end.

Source: distribution, spec/auth/token.md and oauth.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from sampan.errors import Forbidden, Unauthorized, Unavailable
from sampan.registry.answers import describe
from sampan.registry.challenges import Challenge
from sampan.registry.credentials import Credentials
from sampan.registry.endpoints import Endpoint, may_see_credentials
from sampan.registry.transport import Transport, host_in

_CLIENT: Final = "sampan"
_MAX_TOKEN: Final = 64 * 1024  # bytes of an answer
_USUAL_S: Final = 60  # of life, when nothing is said (token.md)
_EARLY_S: Final = 10


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""
    expires_in: float = _USUAL_S
    refresh_token: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token server gave; identity_token: for later logins, or ""."""

    token: str
    identity_token: str
    until: float  # monotonic


@dataclass(frozen=True, slots=True)
class _Key:
    realm: str
    service: str
    scopes: tuple[str, ...]
    credentials: Credentials


class Tokens:
    """Asks for tokens and remembers them; thread-safe."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._grants: dict[_Key, Grant] = {}
        self._lock = threading.Lock()

    def get(
        self,
        challenge: Challenge,
        *,
        endpoint: Endpoint,
        scopes: Sequence[str],
        credentials: Credentials,
        fresh: bool = False,
        offline: bool = False,
    ) -> Grant:
        """Return a token that a challenge asks for; fresh: not one from before; offline: for a login.

        Raises:
            Forbidden: the token server is none that may see credentials.
            Unauthorized: it refuses.
            Unavailable: it does not answer as it should.
        """
        realm = challenge.parameters.get("realm", "")
        asked = tuple(sorted({*scopes, *challenge.parameters.get("scope", "").split()}))
        key = _Key(realm, challenge.parameters.get("service", ""), asked, credentials)
        now = time.monotonic()
        with self._lock:
            self._grants = {one: grant for one, grant in self._grants.items() if grant.until > now}
            known = self._grants.get(key)
        if known is not None and not fresh and not offline:
            return known
        _check_realm(realm, endpoint, credentials)
        grant = self._ask(key, endpoint, offline)
        with self._lock:
            self._grants[key] = grant
        return grant

    def _ask(self, key: _Key, endpoint: Endpoint, offline: bool) -> Grant:
        given = key.credentials
        query = [("service", key.service)] if key.service else []
        query += [("scope", scope) for scope in key.scopes]
        authorization = ""
        form: bytes | None = None
        if given.identity_token:
            fields = {
                "grant_type": "refresh_token",
                "refresh_token": given.identity_token,
                "service": key.service,
                "scope": " ".join(key.scopes),
                "client_id": _CLIENT,
            }
            form = urlencode(fields).encode()
        elif given.username:
            authorization = given.basic
            query += [("account", given.username)]
        if offline:
            query += [("offline_token", "true"), ("client_id", _CLIENT)]
        joint = "&" if urlsplit(key.realm).query else "?"
        url = key.realm if form is not None else f"{key.realm}{joint}{urlencode(query)}"
        answer = self._transport.send(
            "POST" if form is not None else "GET",
            url,
            endpoint=_home_of(url, endpoint),
            authorization=authorization,
            headers={"Content-Type": "application/x-www-form-urlencoded"} if form is not None else None,
            body=(lambda: form) if form is not None else None,
        )
        with answer:
            return _read(answer.status, answer.read_document(_MAX_TOKEN), key.realm)


def _read(status: int, raw: bytes, realm: str) -> Grant:
    if status in (400, 401, 403):
        raise Unauthorized(f"unauthorized: {describe(status, raw)}", hint="log in again: sampan login")
    if status != 200:
        raise Unavailable(f"token server {host_in(realm)}: {describe(status, raw)}")
    try:
        given = msgspec.json.decode(raw, type=_Token)
    except msgspec.DecodeError as exc:
        raise Unavailable(f"token server {host_in(realm)} sent no token") from exc
    token = given.token or given.access_token
    if not token or not token.isascii() or not token.isprintable():
        raise Unavailable(f"token server {host_in(realm)} sent no token")
    life_s = max(given.expires_in, _USUAL_S) - _EARLY_S
    return Grant(token, given.refresh_token, time.monotonic() + life_s)


def _check_realm(realm: str, endpoint: Endpoint, credentials: Credentials) -> None:
    scheme = urlsplit(realm).scheme
    is_lax = endpoint.scheme == "http" or not endpoint.verify
    if scheme != "https" and not (scheme == "http" and is_lax):
        raise Forbidden(f"registry {endpoint.authority}: its token server {realm[:200]!r} is not https")
    if credentials and not may_see_credentials(realm, endpoint):
        raise Forbidden(
            f"registry {endpoint.authority} wants the credentials sent to {host_in(realm)}: refused",
            hint="log out of this registry to pull without credentials",
        )


def _home_of(url: str, endpoint: Endpoint) -> Endpoint:
    """The token server as an endpoint of its own: its redirects lose the credentials, too."""
    parts = urlsplit(url)
    if parts.netloc == endpoint.authority:
        return replace(endpoint, scheme=parts.scheme)
    return Endpoint(parts.scheme, parts.netloc)
