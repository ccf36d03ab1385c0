"""What a user has given to prove who he is, and how it comes: the header `X-Registry-Auth`."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

import msgspec


@dataclass(frozen=True, slots=True)
class Credentials:
    """Name and password, or an identity token of an earlier login; neither is ever shown."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)

    @property
    def basic(self) -> str:
        """The value of `Authorization` in the Basic scheme. Source: RFC 7617."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


NOBODY = Credentials()


class _AuthConfig(msgspec.Struct, frozen=True):
    username: str = ""
    password: str = ""
    auth: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


def parse_registry_auth(header: str) -> Credentials:
    """Read `X-Registry-Auth`: base64url of a JSON object. What cannot be read is nobody, as for Docker."""
    try:
        raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
        given = msgspec.json.decode(raw, type=_AuthConfig)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        return NOBODY
    username, password = given.username, given.password
    if given.auth and not username:
        username, password = parse_basic(given.auth)
    return Credentials(username, password, given.identitytoken, given.registrytoken)


def parse_basic(text: str) -> tuple[str, str]:
    """Read base64 of `name:password`; two empty texts if it is none."""
    try:
        name, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        return "", ""
    return name, password.rstrip("\0")
