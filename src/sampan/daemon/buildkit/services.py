"""The services that BuildKit's clients call: `moby.buildkit.v1.Control` and, while they build, `LLBBridge`.

A client runs half of a build itself ("gateway"): its `Control/Solve` names no frontend; it asks the bridge
for the frontend it wants, returns what came of it, and only then its Solve is answered (`jobs.py`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.message import Message
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream

from sampan import __version__, log
from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.building import Builder
from sampan.daemon.buildkit.cache_calls import CacheCalls
from sampan.daemon.buildkit.calls import Metadata, refused, unary
from sampan.daemon.buildkit.connections import texts
from sampan.daemon.buildkit.failures import of_status, to_grpc
from sampan.daemon.buildkit.jobs import Job, Jobs
from sampan.daemon.buildkit.options import FRONTEND
from sampan.daemon.buildkit.outputs import Output, Sender, check_outputs, names_of, read_outputs
from sampan.daemon.buildkit.sessions import Sessions
from sampan.daemon.buildkit.uploads import Uploads
from sampan.errors import InvalidArgument, NotFound, SampanError, Unsupported
from sampan.store.platforms import host_platform

if TYPE_CHECKING:
    from sampan.build.host import Cancel
    from sampan.build.syntax import Place
    from sampan.engine.engine import Engine

T = TypeVar("T")

_BUILD_ID: Final = "buildkit-controlapi-buildid"
# What a client may ask of the bridge. Source: BuildKit, frontend/gateway/pb/caps.go.
_CAPABILITIES: Final = (
    "solve.base", "return", "returnmap", "proto.refarray", "importcaches", "frontend.inputs",
    "gateway.solve.metadata", "gateway.solve.evaluate", "gateway.warnings", "frontend.caps",
)  # fmt: skip

# Of what graphs may have, the part that buildx asks about. Source: BuildKit, solver/pb/caps.go.
_OF_GRAPHS: Final = ("exporter.image.attestations", "exporter.multiple")

# buildx exports caches only where a snapshotter is (driver/docker/driver.go).
_LABELS: Final = {
    "org.mobyproject.buildkit.worker.executor": "sampan",
    "org.mobyproject.buildkit.worker.snapshotter": "overlayfs",
}
_CONTROL_REFUSED: Final = ("ListenBuildHistory", "UpdateBuildHistory", "Session")
_BRIDGE_REFUSED: Final = (
    "ResolveImageConfig", "ResolveSourceMeta", "ReadFile", "ReadDir", "StatFile",
    "NewContainer", "ReleaseContainer", "ExecProcess",
)  # fmt: skip


class Services:
    """Everything one connection of `POST /grpc` may call."""

    def __init__(
        self, engine: Engine, sessions: Sessions, jobs: Jobs, *, uploads: Uploads | None = None
    ) -> None:
        """uploads: contexts that are sent beside the session; None: there are none."""
        self._uploads = uploads or Uploads()
        self._engine = engine
        self._sessions = sessions
        self._jobs = jobs

    def __mapping__(self) -> dict[str, Handler]:
        """Return who answers which method: what grpclib asks of a service."""
        control, bridge = "/moby.buildkit.v1.Control/", "/moby.buildkit.v1.frontend.LLBBridge/"
        health = unary(self._health, m.HealthCheckRequest, m.HealthCheckResponse)
        return {
            **{f"{control}{name}": refused(f"BuildKit's {name}") for name in _CONTROL_REFUSED},
            **{f"{bridge}{name}": refused(f"BuildKit's {name}") for name in _BRIDGE_REFUSED},
            **CacheCalls(self._engine.builds).handlers(control),
            f"{control}ListWorkers": unary(self._list_workers, m.ListWorkersRequest, m.ListWorkersResponse),
            f"{control}Info": unary(self._info, m.InfoRequest, m.InfoResponse),
            f"{control}Solve": unary(self._solve, m.ControlSolveRequest, m.ControlSolveResponse),
            f"{control}Status": Handler(
                self._status, Cardinality.UNARY_STREAM, m.StatusRequest, m.StatusResponse
            ),
            f"{bridge}Ping": unary(self._ping, m.PingRequest, m.PongResponse),
            f"{bridge}Solve": unary(self._bridge_solve, m.BridgeSolveRequest, m.BridgeSolveResponse),
            f"{bridge}Evaluate": unary(self._evaluate, m.EvaluateRequest, m.EvaluateResponse),
            f"{bridge}Inputs": unary(self._inputs, m.InputsRequest, m.InputsResponse),
            f"{bridge}Warn": unary(self._warn, m.WarnRequest, m.WarnResponse),
            f"{bridge}Return": unary(self._return, m.ReturnRequest, m.ReturnResponse),
            "/grpc.health.v1.Health/Check": health,
        }

    # Control

    async def _list_workers(self, request: Message, metadata: Metadata) -> Message:
        return m.ListWorkersResponse(record=[_worker()])

    async def _info(self, request: Message, metadata: Metadata) -> Message:
        return m.InfoResponse(buildkit_version=_version())

    async def _health(self, request: Message, metadata: Metadata) -> Message:
        return m.HealthCheckResponse(status=m.HealthCheckResponse.SERVING)

    async def _solve(self, request: Message, metadata: Metadata) -> Message:
        assert isinstance(request, m.ControlSolveRequest)
        return await self.solve(request)

    async def solve(self, request: m.ControlSolveRequest) -> m.ControlSolveResponse:
        """Build, or wait for the client's half of the build, and carry its outputs out.

        Raises:
            SampanError, GRPCError: what is wrong with it.
        """
        log.debug("BuildKit build", ref=request.ref, frontend=request.frontend, internal=request.internal)
        job = self._jobs.add(request)
        try:
            outputs = read_outputs(request)
            if request.definition.ByteSize():
                raise Unsupported("not supported: a build by its graph (LLB); only Dockerfiles")
            if request.frontend:
                reference = await self._run(job, request.frontend, dict(request.frontend_attrs))
                image_ids = job.results[reference]
            else:
                image_ids = _images_of(job, await job.returned)
            return m.ControlSolveResponse(exporter_response=await self._export(job, outputs, image_ids))
        finally:
            self._jobs.end(request.ref)

    async def _export(self, job: Job, outputs: list[Output], image_ids: Sequence[str]) -> dict[str, str]:
        """Carry the outputs out and return what is told of them."""
        told = dict(job.told)
        if image_ids:
            session = await self._sessions.find(job.request.session)
            sender = Sender(self._engine.builds, session, job.progress)
            for output in outputs:
                told.update(await self._jobs.in_thread(partial(sender.send, output, image_ids)))
        return told

    async def _status(self, stream: Stream[m.StatusRequest, m.StatusResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        try:
            job = await self._jobs.find(request.ref)
        except NotFound as exc:
            if self._jobs.is_over(request.ref):
                return  # the answer of its Solve says how it ended
            raise to_grpc(exc) from exc
        async for told in job.progress.follow():
            await stream.send_message(told)

    # The bridge

    async def _job(self, metadata: Metadata) -> Job:
        return await self._jobs.find(texts(metadata, _BUILD_ID))

    async def _ping(self, request: Message, metadata: Metadata) -> Message:
        await self._job(metadata)
        capabilities = [m.Capability(id=name, enabled=True) for name in _CAPABILITIES]
        known = [m.Capability(id=name, enabled=True) for name in _OF_GRAPHS]
        return m.PongResponse(frontend_api_caps=capabilities, llb_caps=known, workers=[_worker()])

    async def _bridge_solve(self, request: Message, metadata: Metadata) -> Message:
        assert isinstance(request, m.BridgeSolveRequest)
        job = await self._job(metadata)
        if request.frontend_inputs or not request.frontend:
            raise Unsupported("not supported: a build by its graph (LLB); only Dockerfiles")
        options = dict(request.frontend_opt)
        if options.get("requestid"):
            answered = await self._ask(job, request.frontend, options)
            return m.BridgeSolveResponse(result=m.Result(metadata=answered))
        reference = await self._run(job, request.frontend, options)
        result = m.Result(ref=m.Ref(id=reference))
        return m.BridgeSolveResponse(ref=reference, result=result)

    async def _evaluate(self, request: Message, metadata: Metadata) -> Message:
        await self._job(metadata)
        return m.EvaluateResponse()  # what we answer is built

    async def _inputs(self, request: Message, metadata: Metadata) -> Message:
        return m.InputsResponse()

    async def _warn(self, request: Message, metadata: Metadata) -> Message:
        return m.WarnResponse()

    async def _return(self, request: Message, metadata: Metadata) -> Message:
        assert isinstance(request, m.ReturnRequest)
        job = await self._job(metadata)
        if not job.returned.done():
            job.returned.set_result(request)
        return m.ReturnResponse()

    async def _run(self, job: Job, frontend: str, options: dict[str, str]) -> str:
        """Build, and return the reference of the result."""
        outputs = read_outputs(job.request)
        check_outputs(outputs, options)
        names = names_of(outputs)
        image_ids, told = await self._in_builder(
            job, frontend, lambda builder: builder.build(options, job.request, tags=names)
        )
        reference = os.urandom(12).hex()
        job.results[reference] = image_ids
        job.told.update(told)
        return reference

    async def _ask(self, job: Job, frontend: str, options: dict[str, str]) -> dict[str, bytes]:
        """Answer a question about a Dockerfile."""
        name = options["requestid"]
        return await self._in_builder(
            job, frontend, lambda builder: builder.answer(name, options, job.request)
        )

    async def _in_builder(self, job: Job, frontend: str, act: Callable[[Builder], T]) -> T:
        """Do something with a builder, in a thread; a client that goes cancels it."""
        from sampan.build.host import Cancel

        if frontend != FRONTEND:
            raise Unsupported(f"not supported: frontend {frontend!r}; there is {FRONTEND}")
        session = await self._sessions.find(job.request.session)
        cancel = Cancel()
        builder = Builder(
            self._engine, session, job.progress, cancel, upload=self._uploads.of(job.request.ref)
        )
        work = self._jobs.in_thread(partial(act, builder))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            cancel.set()
            raise
        except SampanError as exc:
            raise to_grpc(exc, _place_of(job, exc)) from exc
        finally:
            work.add_done_callback(partial(_close, cancel))


def _close(cancel: Cancel, work: asyncio.Future[T]) -> None:
    cancel.close()
    if not work.cancelled():
        work.exception()  # told already, or the client that would be told has gone


def _worker() -> m.WorkerRecord:
    platform = host_platform()
    return m.WorkerRecord(
        id="sampan",
        labels=_LABELS,
        platforms=[m.Platform(architecture=platform.architecture, os=platform.os, variant=platform.variant)],
        buildkit_version=_version(),
    )


def _version() -> m.BuildkitVersion:
    return m.BuildkitVersion(package="sampan", version=f"v{__version__}", revision="")


def _images_of(job: Job, returned: m.ReturnRequest) -> Sequence[str]:
    """Return the images that the client's half of a build came to."""
    if returned.HasField("error"):
        raise of_status(returned.error)
    result = returned.result
    references = [result.ref.id, result.ref_deprecated, *(one.id for one in result.refs.refs.values())]
    reference = next(filter(None, references), "")
    if not reference:
        return ()
    image_ids = job.results.get(reference)
    if image_ids is None:
        raise InvalidArgument(f"the client returned {reference!r}, which is no result of this build")
    return image_ids


def _place_of(job: Job, error: SampanError) -> Place | None:
    place = getattr(error, "place", None)
    if place is not None:
        return place  # type: ignore[no-any-return]  # a DockerfileError's
    return job.progress.failed.place if job.progress.failed is not None else None
