"""The cache of steps as `docker buildx du` and `prune` see it: `Control/DiskUsage`, `Control/Prune`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream

from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.calls import Metadata, unary
from sampan.daemon.buildkit.failures import to_grpc
from sampan.errors import SampanError, Unsupported

if TYPE_CHECKING:
    from sampan.engine.builds.builds import Builds
    from sampan.engine.builds.cache import Kept


class CacheCalls:
    """The two methods."""

    def __init__(self, builds: Builds) -> None:
        self._builds = builds

    def handlers(self, prefix: str) -> dict[str, Handler]:
        """Return the methods by their paths."""
        return {
            f"{prefix}DiskUsage": unary(self._usage, m.DiskUsageRequest, m.DiskUsageResponse),
            f"{prefix}Prune": Handler(self._prune, Cardinality.UNARY_STREAM, m.PruneRequest, m.UsageRecord),
        }

    async def _usage(self, request: Message, _metadata: Metadata) -> Message:
        assert isinstance(request, m.DiskUsageRequest)
        _check_filters(list(request.filter))
        kept = await asyncio.to_thread(lambda: self._builds.cache().all())
        return m.DiskUsageResponse(record=[_usage_of(one) for one in kept])

    async def _prune(self, stream: Stream[m.PruneRequest, m.UsageRecord]) -> None:
        request = await stream.recv_message()
        assert request is not None
        try:
            for record in await asyncio.to_thread(self._remove, request):
                await stream.send_message(record)
        except SampanError as exc:
            raise to_grpc(exc) from exc

    def _remove(self, request: m.PruneRequest) -> list[m.UsageRecord]:
        """Forget what is asked for and return it. Layers that images need stay, and count nothing."""
        from sampan.engine.builds.cache import PruneWish

        _check_filters(list(request.filter))
        before = {one.id: one for one in self._builds.cache().all()}
        filters = {"until": [f"{request.keep_duration // 10**9}s"]} if request.keep_duration else {}
        wish = PruneWish(filters=filters, every=request.all, keep_bytes=request.reserved_space or None)
        pruned = self._builds.prune(wish)
        found = [_usage_of(before[one]) for one in pruned.ids if one in before]
        rest = pruned.freed_bytes
        for record in found:
            record.size = min(record.size, rest)
            rest -= record.size
        return found


def _check_filters(filters: list[str]) -> None:
    for one in filter(None, filters):  # clients send an empty one for none
        raise Unsupported(f"not supported yet: filter {one!r} of a build cache")


def _usage_of(kept: Kept) -> m.UsageRecord:
    return m.UsageRecord(
        id=kept.id,
        in_use=kept.in_use,
        shared=kept.shared,
        size=kept.size_bytes,
        created_at=_time(kept.created_ns),
        last_used_at=_time(kept.used_ns),
        usage_count=kept.uses,
        description=kept.description,
        record_type=kept.kind,
    )


def _time(time_ns: int) -> Timestamp:
    seconds, nanos = divmod(time_ns, 10**9)
    return Timestamp(seconds=seconds, nanos=nanos)
