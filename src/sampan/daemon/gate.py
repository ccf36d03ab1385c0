"""What every request must pass before it is routed: a sane path, the API version, and on TCP its origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from sampan.errors import Forbidden, InvalidArgument
from sampan.spec.docker import API_VERSION, MIN_API_VERSION

Version = tuple[int, int]

_LOCAL_HOSTS: Final = frozenset(("localhost", "127.0.0.1", "::1"))


def decode_path(target: str) -> str:
    """Return the percent-decoded path of a request target.

    Raises:
        InvalidArgument: it is no absolute path, not UTF-8, or carries control characters.
    """
    raw = target.partition("?")[0]
    if not raw.startswith("/"):
        raise InvalidArgument("the request target must be a path")
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as exc:
        raise InvalidArgument("the request path is not UTF-8") from exc
    if any(ord(letter) < 32 or letter == "\x7f" for letter in path):
        raise InvalidArgument("the request path carries control characters")
    return path


def parse_version(text: str) -> Version:
    """Read an API version such as 1.51.

    Raises:
        InvalidArgument: text has another form.
    """
    major, dot, minor = text.partition(".")
    if not dot or not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise InvalidArgument(f"API version {text!r} is not of the form 1.51")
    return int(major), int(minor)


_OURS: Final = parse_version(API_VERSION)
_OLDEST: Final = parse_version(MIN_API_VERSION)


def check_version(text: str) -> Version:
    """Return the version a request speaks; ours when its path has none.

    Raises:
        InvalidArgument: the client is too old or too new for this server; the words are Docker's.
    """
    if not text:
        return _OURS
    version = parse_version(text)
    if version < _OLDEST:
        raise InvalidArgument(
            f"client version {text} is too old. Minimum supported API version is {MIN_API_VERSION}, "
            "please upgrade your client to a newer version"
        )
    if version > _OURS:
        raise InvalidArgument(
            f"client version {text} is too new. Maximum supported API version is {API_VERSION}"
        )
    return version


def check_origin(headers: Mapping[str, str]) -> None:
    """Refuse what a browser sends: any page may post to a port that the browser can reach.

    Raises:
        Forbidden: there is an Origin.
    """
    if "Origin" in headers:
        raise Forbidden(
            "requests from web pages are not served", hint="use a client without an Origin header"
        )


def check_host(headers: Mapping[str, str]) -> None:
    """Refuse what came by another name: a page may give this machine's address to a name of its own.

    Raises:
        Forbidden: Host is not this machine.
    """
    host = headers.get("Host", "")
    name = host[1 : host.find("]")] if host.startswith("[") else host.rpartition(":")[0] or host
    if name.lower() not in _LOCAL_HOSTS:
        raise Forbidden(f"host {host!r} is not this machine", hint="connect to 127.0.0.1 or localhost")
