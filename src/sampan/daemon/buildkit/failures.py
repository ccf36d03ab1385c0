"""Errors as gRPC carries them, both ways; those of a Dockerfile with the lines that a client shows."""

from __future__ import annotations

import base64
import json
from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage
from grpclib.const import Status
from grpclib.encoding.base import StatusDetailsCodecBase
from grpclib.exceptions import GRPCError

from sampan.build.running import CommandFailed
from sampan.build.syntax import Place
from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.failures import message_of
from sampan.errors import (
    Forbidden,
    InvalidArgument,
    NotFound,
    SampanError,
    Unauthorized,
    Unavailable,
    Unsupported,
)

# Source: BuildKit, solver/errdefs; typed errors travel as JSON under this URL.
_SOURCE: Final = "github.com/moby/buildkit/errdefs.Source+json"
_CODES: Final[dict[type[SampanError], Status]] = {
    InvalidArgument: Status.UNKNOWN,  # clients show any other code before the message
    NotFound: Status.UNKNOWN,
    Forbidden: Status.PERMISSION_DENIED,
    Unauthorized: Status.UNAUTHENTICATED,
    Unavailable: Status.UNAVAILABLE,
    Unsupported: Status.UNIMPLEMENTED,
}


class StatusDetails(StatusDetailsCodecBase):
    """`grpc-status-details-bin`: a google.rpc.Status; details are protobuf Any."""

    def encode(self, status: Status, message: str | None, details: object) -> bytes:
        """Return the trailer's value."""
        chosen = [one for one in details if isinstance(one, AnyMessage)] if isinstance(details, list) else []
        return m.Status(code=status.value, message=message or "", details=chosen).SerializeToString()

    def decode(self, status: Status, message: str | None, data: bytes) -> object:
        """Return the details of an error that came."""
        return list(m.Status.FromString(data).details)


def to_grpc(error: BaseException, place: Place | None = None) -> GRPCError:
    """Return an error for a client; place: the lines of the Dockerfile that it comes from."""
    code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), Status.UNKNOWN)
    details = [_source(place)] if place is not None and place.lines else []
    message = shown(error)
    hint = error.hint if isinstance(error, SampanError) and not details else ""
    return GRPCError(code, f"{message}\n{hint}" if hint else message, details)


def shown(error: BaseException) -> str:
    """Return the line for the user; a failed command's in BuildKit's words."""
    if isinstance(error, CommandFailed):
        return f'process "{error.shown}" did not complete successfully: exit code: {error.exit_code}'
    return message_of(error) or type(error).__name__


def of_status(status: m.Status) -> GRPCError:
    """Return the error that a client has put into a message."""
    return GRPCError(Status(status.code), status.message, list(status.details))


def _source(place: Place) -> AnyMessage:
    text = "\n".join(place.lines)
    document = {
        "info": {
            "filename": place.file,
            "data": base64.b64encode(text.encode()).decode(),
            "language": "Dockerfile",
        },
        "ranges": [{"start": {"line": place.first}, "end": {"line": place.last}}],
    }
    return AnyMessage(type_url=_SOURCE, value=json.dumps(document).encode())


def is_gone(error: BaseException) -> bool:
    """Tell whether a call failed because the client has gone."""
    return isinstance(error, ConnectionError) or (
        isinstance(error, GRPCError) and error.status in (Status.CANCELLED, Status.UNAVAILABLE)
    )
