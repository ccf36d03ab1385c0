"""The one place where an error becomes an HTTP status and a body."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from sampan.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    Forbidden,
    InvalidArgument,
    NotFound,
    NotModified,
    SampanError,
    Unauthorized,
    Unavailable,
    Unsupported,
)

HTTP_STATUS: Final[dict[type[SampanError], int]] = {
    InvalidArgument: 400,
    CommandNotFound: 400,
    CommandNotExecutable: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    NotModified: 304,
    Unsupported: 501,
    Unavailable: 503,
}
# What `docker run` exits with; the container's own codes never reach this table (docker run, "Exit status").
EXIT_CODE: Final[dict[type[SampanError], int]] = {CommandNotFound: 127, CommandNotExecutable: 126}
NO_START: Final = 125

JSON_TYPE: Final = "application/json"  # exactly this: Go's client compares the whole string


class PayloadTooLarge(SampanError):
    """A request body exceeds its limit."""


def status_of(error: BaseException) -> int:
    """Return the HTTP status for an error; what nobody expected is 500."""
    if isinstance(error, PayloadTooLarge):
        return 413
    for kind in type(error).__mro__:
        if issubclass(kind, SampanError) and kind in HTTP_STATUS:
            return HTTP_STATUS[kind]
    return 500


def exit_code_of(error: BaseException) -> int:
    """Return what a client that ran a container should exit with when error kept it from starting."""
    return EXIT_CODE.get(type(error), NO_START) if isinstance(error, SampanError) else NO_START


def message_of(error: BaseException) -> str:
    """Return the one line for the user."""
    if isinstance(error, SampanError):
        return str(error)
    return (
        f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else str(error)
    )


def hint_of(error: BaseException) -> str:
    """Return what to try next, or nothing."""
    return error.hint if isinstance(error, SampanError) else ""


def error_response(error: BaseException) -> web.Response:
    """Return the response for an error: `{"message"}`, with `hint` when there is one."""
    status = status_of(error)
    if status == HTTPStatus.NOT_MODIFIED:
        return web.Response(status=status)
    hint = hint_of(error)
    document = {"message": message_of(error) or type(error).__name__, **({"hint": hint} if hint else {})}
    body = msgspec.json.encode(document) + b"\n"
    return web.Response(status=status, body=body, headers={"Content-Type": JSON_TYPE})


def raw_error(error: BaseException, *, content_type: str) -> bytes:
    """Return the whole HTTP response for a failed attach: its body is the message alone (docker-api 3.1)."""
    status = HTTPStatus(status_of(error))
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n\r\n"
    return head.encode() + message_of(error).encode(errors="replace") + b"\r\n"
