"""Opens what lies at an http or https URL, by the proxies of our environment; nothing else, so no files.

Source: RFC 9110, 13.1 (conditional requests).
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import Final
from urllib.parse import urlsplit

from sampan.errors import InvalidArgument, NotFound, NotModified, Unavailable
from sampan.tls import client_context

TIMEOUT_S: Final = 60.0  # of each read, too


def open_url(url: str, *, headers: Mapping[str, str]) -> HTTPResponse:
    """Ask for a URL and return the answer, whose body is still to be read; the caller closes it.

    Raises:
        InvalidArgument: it is no http or https URL. NotModified: the server says that what headers name is
            as it was. NotFound, Unavailable: it says so, or does not answer.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        named = parts.scheme in ("http", "https") and host and (parts.port or 1)
        named = named and ("%" not in host or ":" in host)  # only an IPv6 address has a zone behind it
    except ValueError:
        named = False
    if not named or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidArgument(f"cannot fetch {url!r}: it is no http or https URL")
    request = urllib.request.Request(url, headers={"User-Agent": "sampan", **headers})  # noqa: S310 -- http(s) only
    try:
        answer: HTTPResponse = _opener().open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as exc:
        exc.close()
        if exc.code == 304:
            raise NotModified(f"{url} has not changed") from exc
        kind = NotFound if exc.code in (404, 410) else Unavailable
        raise kind(f"cannot fetch {url}: {exc.code} {exc.reason}") from exc
    except (OSError, HTTPException) as exc:
        raise broken(url, exc) from exc
    return answer


def broken(url: str, error: Exception) -> Unavailable:
    """Return the error for a server that does not answer, or not to the end."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return Unavailable(f"cannot fetch {url}: {reason}")


def promised_bytes(answer: HTTPResponse) -> int | None:
    """Return how many bytes the body is to have, None if the server does not say."""
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens http and https, also where it is led to, and nothing else."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=client_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
