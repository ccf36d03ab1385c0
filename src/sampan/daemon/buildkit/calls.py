"""How a service's methods become grpclib's handlers: one message in, one out, errors as clients know them."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping

from google.protobuf.message import Message
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from sampan import log
from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.failures import to_grpc
from sampan.errors import SampanError

Metadata = Mapping[str, str | bytes]
Unary = Callable[[Message, Metadata], Awaitable[Message]]


def unary(answer: Unary, request: type[Message], reply: type[Message]) -> Handler:
    """Return the handler of a method that takes one message and gives one."""

    async def handle(stream: Stream[Message, Message]) -> None:
        received = await stream.recv_message()
        assert received is not None  # grpclib ends a call without its message
        try:
            sent = await answer(received, stream.metadata or {})
        except SampanError as exc:
            raise to_grpc(exc) from exc
        except (GRPCError, ConnectionError):
            raise
        except Exception as exc:
            trace = "".join(traceback.format_exception(exc))
            log.error("a call of BuildKit's protocol failed", error=exc, trace=trace)
            raise to_grpc(exc) from exc
        await stream.send_message(sent)

    return Handler(handle, Cardinality.UNARY_UNARY, request, reply)


def refused(what: str) -> Handler:
    """Return the handler of a method that is not there; clients take this code for an older server."""

    async def handle(stream: Stream[Message, Message]) -> None:
        raise GRPCError(Status.UNIMPLEMENTED, f"{what} is not supported by this version of sampan")

    return Handler(handle, Cardinality.STREAM_STREAM, m.InputsRequest, m.InputsResponse)
