"""Attach: hand a client's connection to the container's shim, now or with the start."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Final

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.execs.detach_keys import parse_detach_keys
from sampan.engine.execs.replaying import Replay, await_reader
from sampan.engine.observing.events import container_event
from sampan.engine.types import AttachTarget
from sampan.errors import Conflict, NotFound
from sampan.runtime.launcher.client import AttachRequest, ShimHandle

_MAX_PENDING: Final = 32


def prepare_attach(container: Container, ref: str) -> AttachTarget:
    """Check that an attach is allowed now.

    Raises:
        Conflict: in Docker's words.
    """
    if container.state.status == "paused":
        raise Conflict(f"container {ref} is paused, unpause the container before attach")
    if container.state.status == "restarting":
        raise Conflict(f"container {ref} is restarting, wait until the container is running")
    if container.removed:
        raise Conflict(f"container {ref} is marked for removal")
    return AttachTarget(id=container.id, tty=container.record.config.Tty, running=container.running)


def attach(
    core: Core,
    container: Container,
    request: AttachRequest,
    *,
    stream: bool,
    logs: bool,
    begin: Callable[[], None],
) -> None:
    """Replay the log if asked, then join the streams; request.fd stays the caller's.

    begin answers the client (`Containers.attach`). A client that was answered may start the container at
    once, by another connection, so that answer and place in the queue are given under one lock: a start
    sees both or neither.

    Raises:
        Conflict: the container has just ended, or too many connections wait for its start.
    """
    if not (logs and container.state.started_at_ns > 0):  # who never ran has no log, may be started now
        _join(core, container, request, stream=stream, begin=begin)
        return
    running = container.running
    begin()
    await_reader(request.fd)
    with Replay(core.paths, container.record, request) as replay:
        if not stream:
            replay.write()
            return
        core.events.emit(container_event(container, "attach"))
        replay.write_until_now()
        _join_behind(container, request, replay, waits=not running)


def _join(
    core: Core, container: Container, request: AttachRequest, *, stream: bool, begin: Callable[[], None]
) -> None:
    with container.lock:
        begin()
        shim = container.shim
        if stream and shim is None:
            _add_pending(container, request)
    if stream:
        core.events.emit(container_event(container, "attach"))
        if shim is not None:
            shim.attach(request)


def _join_behind(container: Container, request: AttachRequest, replay: Replay, *, waits: bool) -> None:
    """Write the rest of the log and join the streams: no byte is missing, none comes twice (held.py).

    waits: the container did not run, so its next start is waited for.
    """
    while (shim := _find_shim(container, request, replay, waits=waits)) is None:
        if replay.fetched:
            replay.write()
        elif waits:
            return
        else:
            return _write_to_the_end(request, replay)
    try:
        with shim.hold(request) as held:
            replay.write(until_ns=held.until_ns)
            held.join()
    except (Conflict, NotFound):
        _write_to_the_end(request, replay)


def _find_shim(
    container: Container, request: AttachRequest, replay: Replay, *, waits: bool
) -> ShimHandle | None:
    """Return the shim; without one, have the client wait if all of the log is written by now."""
    with container.lock:
        if container.shim is None and not replay.fetch() and waits:
            _add_pending(container, request)
        return container.shim


def _write_to_the_end(request: AttachRequest, replay: Replay) -> None:
    """The container has ended, and its log is complete: Docker's clients are content with that."""
    replay.write()
    if request.end_frame:
        raise Conflict("the container has ended")


def make_attach_request(
    *,
    fd: int,
    framed: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    detach_keys: str,
    tty: bool,
    end_frame: bool = False,
) -> AttachRequest:
    """Name an attach; raises InvalidArgument for unknown keys. Without a terminal data is no keys."""
    keys = parse_detach_keys(detach_keys)
    return AttachRequest(
        fd=fd,
        attach_id=os.urandom(8).hex(),
        framed=framed,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        detach_keys=keys if tty else b"",
        end_frame=end_frame,
    )


def _add_pending(container: Container, request: AttachRequest) -> None:
    """Keep a duplicate of the connection until the start; those whose client has gone are dropped."""
    gone = [waiting for waiting in container.pending if _is_gone(waiting.fd)]
    for waiting in gone:
        container.pending.remove(waiting)
        os.close(waiting.fd)
    if len(container.pending) >= _MAX_PENDING:
        raise Conflict(f"{_MAX_PENDING} clients wait for the start of container {container.id} already")
    fields = {**request.__dict__, "fd": os.dup(request.fd)}
    container.pending.append(AttachRequest(**fields))


def _is_gone(fd: int) -> bool:
    """Tell whether the other end has closed both directions."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
