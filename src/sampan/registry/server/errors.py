"""The specification's error codes, and the answers they are put in.

Source: OCI distribution-spec, spec.md, "Error Codes"; statuses as distribution's registry gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from sampan.errors import SampanError

STATUS: Final = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 416,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "SIZE_INVALID": 400,
    "TAG_INVALID": 400,
    "PAGINATION_NUMBER_INVALID": 400,
    "UNAUTHORIZED": 401,
    "DENIED": 403,
    "UNSUPPORTED": 405,
    "TOOMANYREQUESTS": 429,
    "UNAVAILABLE": 503,
    "UNKNOWN": 500,
}


class RegistryError(SampanError):
    """An answer with a code of the specification; headers go with it."""

    def __init__(
        self, code: str, message: str, *, headers: Mapping[str, str] | None = None, status: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status or STATUS[code]
        self.headers = dict(headers or {})


def answer(error: RegistryError) -> web.Response:
    """Return the error as the specification's JSON."""
    body = msgspec.json.encode({"errors": [{"code": error.code, "message": str(error), "detail": None}]})
    return web.Response(
        body=body, status=error.status, headers=error.headers, content_type="application/json"
    )
