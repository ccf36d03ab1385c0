"""Who asks, and what they may do: nobody's name, a user with a password, or a token signed here.

A token is what `GET /token` gives for a name and password, or for none: claims in JSON and their keyed hash.
Clients take it for opaque. Source: distribution, "Token Authentication Specification" (the flow, not JWT).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sampan.registry.server.accounts import Accounts
from sampan.registry.server.errors import RegistryError

Actions = frozenset[str]
ALL: Final[Actions] = frozenset({"pull", "push", "delete"})
PULL: Final[Actions] = frozenset({"pull"})
NONE: Final[Actions] = frozenset()

TOKEN_S: Final = 300
IDENTITY_S: Final = 90 * 86400
_IDENTITY: Final = b"identity-"  # no token of the other kind begins so, and none is taken for the other
_MAX_TOKEN: Final = 64 * 1024
_SCOPE: Final = re.compile(
    r"(repository|registry)(?:\([a-z0-9]+\))?:([^:]+(?::\d+/[^:]+)?):([a-z*,]*)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may do: everywhere the same, and more in repositories by name.

    user "": nobody's name. is_known: something was shown for it, and it was right.
    """

    user: str
    everywhere: Actions
    is_known: bool
    repositories: dict[str, Actions] = field(default_factory=dict)

    def may(self, action: str, repository: str) -> bool:
        """Tell whether an action on a repository is allowed."""
        return action in self.everywhere or action in self.repositories.get(repository, NONE)


@dataclass(frozen=True, slots=True)
class Scope:
    """One thing that a token is asked for."""

    kind: str
    name: str
    actions: Actions


class _Claims(msgspec.Struct):
    user: str
    until: float
    repositories: dict[str, list[str]]


class _Identity(msgspec.Struct):
    user: str
    until: float
    mark: str  # of the password it was given for


class Access:
    """Turns what a request shows into a grant; thread-safe, and slow where a password is checked."""

    def __init__(self, accounts: Accounts | None, *, anonymous: Actions, token_key: bytes = b"") -> None:
        self._accounts = accounts
        self._anonymous = anonymous
        self._key = token_key
        self.wants_login = accounts is not None
        self.gives_tokens = bool(token_key)

    def grant(self, authorization: str) -> Grant:
        """Return what the bearer of an `Authorization` header ("": none) may do.

        Raises:
            RegistryError: the name, the password or the token is wrong.
        """
        kind, _, rest = authorization.partition(" ")
        if not authorization or self._accounts is None:
            return Grant("", self._anonymous, is_known=False)
        if kind.lower() == "bearer" and self._key:
            return self._read_token(rest.strip())
        if kind.lower() == "basic":
            return Grant(self._log_in(rest.strip()), ALL, is_known=True)
        raise RegistryError("UNAUTHORIZED", "authentication required")

    def _log_in(self, credentials: str) -> str:
        """Return the user of Basic credentials.

        Raises:
            RegistryError: they are wrong.
        """
        try:
            user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = password = ""
        if self._accounts is None or not self._accounts.is_right(user, password):
            raise RegistryError("UNAUTHORIZED", "authentication required: wrong name or password")
        return user

    def make_token(self, user: str, scopes: Sequence[Scope]) -> str:
        """Return a token for what of the scopes a user ("": nobody) may do."""
        allowed = ALL if user else self._anonymous
        claims = _Claims(
            user=user,
            until=time.time() + TOKEN_S,
            repositories={
                scope.name: sorted(scope.actions & allowed) for scope in scopes if scope.kind == "repository"
            },
        )
        if user and any(scope.kind == "registry" for scope in scopes):
            claims.repositories[""] = ["pull"]  # the catalog
        body = base64.urlsafe_b64encode(msgspec.json.encode(claims))
        return (body + b"." + self._sign(body)).decode()

    def make_identity(self, user: str) -> str:
        """Return a token that stands for a user's password, until that changes or a season is over."""
        assert self._accounts is not None  # only who has logged in gets one
        claims = _Identity(user=user, until=time.time() + IDENTITY_S, mark=self._accounts.mark(user))
        body = base64.urlsafe_b64encode(msgspec.json.encode(claims))
        return (_IDENTITY + body + b"." + self._sign(_IDENTITY + body)).decode()

    def read_identity(self, token: str) -> str:
        """Return whom an identity token stands for.

        Raises:
            RegistryError: it is not from here, too old, or the user has another password by now.
        """
        body, _, signature = token.encode(errors="replace")[:_MAX_TOKEN].partition(b".")
        if body.startswith(_IDENTITY) and hmac.compare_digest(signature, self._sign(body)):
            claims = msgspec.json.decode(
                base64.urlsafe_b64decode(body.removeprefix(_IDENTITY)), type=_Identity
            )
            known = self._accounts.mark(claims.user) if self._accounts is not None else ""
            if claims.until >= time.time() and known and hmac.compare_digest(claims.mark, known):
                return claims.user
        raise RegistryError("UNAUTHORIZED", "authentication required: log in again")

    def _read_token(self, token: str) -> Grant:
        body, _, signature = token.encode()[:_MAX_TOKEN].partition(b".")
        if body.startswith(_IDENTITY) or not hmac.compare_digest(signature, self._sign(body)):
            raise RegistryError("UNAUTHORIZED", "authentication required: the token is not from here")
        claims = msgspec.json.decode(base64.urlsafe_b64decode(body), type=_Claims)
        if claims.until < time.time():
            raise RegistryError("UNAUTHORIZED", "authentication required: the token is too old")
        repositories = {name: frozenset(actions) for name, actions in claims.repositories.items()}
        return Grant(claims.user, NONE, is_known=True, repositories=repositories)

    def _sign(self, body: bytes) -> bytes:
        return base64.urlsafe_b64encode(hmac.new(self._key, body, hashlib.sha256).digest())


def parse_scopes(texts: Sequence[str]) -> Sequence[Scope]:
    """Read `repository:NAME:pull,push`, several in a text; what has another form is left out."""
    found = []
    for text in (part for line in texts for part in line.split()):
        match = _SCOPE.fullmatch(text)
        if match:
            actions = frozenset(match[3].split(","))
            found.append(Scope(match[1], match[2], ALL if "*" in actions else actions))
    return found


def read_token_key(path: str, *, write: Callable[[str, bytes], None]) -> bytes:
    """Return the key that signs tokens; made once, for this registry alone."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        key = os.urandom(32)
        write(path, key)
        return key
