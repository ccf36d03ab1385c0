"""The worker that creates and starts the container, forked before anybody asks for one. Lean.

What a fresh fork touches it has to copy first: a third of a start's time went there. A worker that waits
has done so already, by planning a container that is never made (docs/shim.md, "Spares").
"""

from __future__ import annotations

from sampan.errors import SampanError
from sampan.kernel.process import read_status, start_ticks
from sampan.runtime.launcher import rundir
from sampan.runtime.launcher.foreign import ForeignPayload
from sampan.runtime.launcher.messages import unpack_request
from sampan.runtime.launcher.payload import OwnPayload
from sampan.runtime.launcher.stdio import Stdio
from sampan.runtime.launcher.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.runtime.launcher.messages import ShimRequest
    from sampan.runtime.launcher.payload import Payload
    from sampan.runtime.launcher.worker import WorkerSide
    from sampan.runtime.requests import Plank


def payload_of(request: ShimRequest) -> Payload:
    """Return what makes the container: sampan's own runtime, or the one that the request names."""
    return OwnPayload(request) if request.runtime is None else ForeignPayload(request)


def fork_creator(warm_up: Callable[[], None] | None = None) -> Worker:
    """Fork a worker that waits for a container to create; warm_up is done first, in the worker."""

    def work(side: WorkerSide) -> None:
        if warm_up is not None:
            warm_up()
        _create_when_told(side)

    return Worker(work)


def tell_creator(worker: Worker, body: bytes, stdio: Stdio) -> Worker:
    """Let a waiting worker create and start the container; return it, or another one if it was killed.

    body: of the start packet.
    """
    for creator in (worker, None):
        if creator is None:
            worker.close()
            creator = fork_creator()
        try:
            creator.give(body, stdio.child)
        except OSError:
            continue
        return creator
    raise SampanError("the runtime's process was killed")


def _create_when_told(side: WorkerSide) -> None:
    told = side.receive()
    if told is None:
        return
    document, fds = told
    request = unpack_request(document.get("request"))
    stdio = Stdio(child=(fds[0], fds[1], fds[2]), outputs={}, stdin=-1)
    create_and_start(request, payload_of(request), stdio, side)


def create_and_start(request: ShimRequest, payload: Payload, stdio: Stdio, side: WorkerSide) -> None:
    """Do the runtime's part; tell the shim when the run directory is ours, and when the program runs."""
    report: list[Plank] | None = [] if request.report else None
    process = payload.run(stdio, report, lambda: side.tell({"claimed": True}))
    if report is not None:
        rundir.write_report(request.run_dir, report)
    # It may have ended by now, but the shim has not reaped it, so /proc still has it.
    alone = read_status(process.pid)["NSpid"].split()[-1] == "1"
    side.tell(
        {"pid": process.pid, "start_ticks": start_ticks(process.pid), "alone": alone},
        (process.console_master,) if process.console_master >= 0 else (),
    )
