"""What a registry's errors mean, in Docker's texts. Source: OCI distribution-spec, "Error Codes"."""

from __future__ import annotations

from typing import Final

import msgspec

from sampan.errors import Forbidden, NotFound, SampanError, Unauthorized, Unavailable
from sampan.store.references import Reference

_LOGIN: Final = "log in first: sampan login"
_SHOWN: Final = 300  # characters of a registry's own text


class _One(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct, frozen=True):
    errors: list[_One] = []
    details: str = ""
    message: str = ""


def describe(status: int, body: bytes) -> str:
    """Return a registry's own words: `manifest unknown: manifest unknown`."""
    try:
        answer = msgspec.json.decode(body, type=_Errors)
    except msgspec.DecodeError:
        return f"received unexpected HTTP status: {status}"
    if answer.errors:
        return "; ".join(_say(one) for one in answer.errors[:3])
    text = _plain(answer.details or answer.message)
    return text or f"received unexpected HTTP status: {status}"


def error_of(status: int, body: bytes, *, reference: Reference, what: str = "") -> SampanError:
    """Return the error that an answer means for a reference; what: the kind of thing asked for."""
    said = describe(status, body)
    code = _code(body)
    name = reference.familiar
    if status == 404 or code in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN"):
        if code == "NAME_UNKNOWN":
            return NotFound(f"repository {reference.familiar_name} not found: {said}")
        if what == "blob":
            return NotFound(f"blob of {name} is not in the registry: {said}")
        return NotFound(f"manifest for {name} not found: {said}")
    if code == "DENIED" or status == 403:
        if what == "push":
            return Forbidden(said if said.startswith("denied") else f"denied: {said}", hint=_LOGIN)
        return NotFound(
            f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
            f"'docker login': {said}"
        )
    if status == 401:
        return Unauthorized(said if said.startswith("unauthorized") else f"unauthorized: {said}", hint=_LOGIN)
    if status == 429:
        return Unavailable(f"toomanyrequests: {said}", hint="the registry limits requests; try again later")
    return Unavailable(f"registry {reference.domain} refused {name}: {said}")


def _code(body: bytes) -> str:
    try:
        answer = msgspec.json.decode(body, type=_Errors)
    except msgspec.DecodeError:
        return ""
    return answer.errors[0].code.upper() if answer.errors else ""


def _say(one: _One) -> str:
    code = _plain(one.code).lower().replace("_", " ")
    return f"{code}: {_plain(one.message)}" if one.message else code


def _plain(text: str) -> str:
    return "".join(letter for letter in text[:_SHOWN] if letter.isprintable())
