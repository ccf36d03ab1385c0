"""Attach: hand a client's connection to the container's shim, now or with the start."""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Callable
from typing import Final

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.detach_keys import parse_detach_keys
from sampan.engine.events import container_event
from sampan.engine.logs.reader import LogReader, open_source
from sampan.engine.types import AttachTarget, LogRequest
from sampan.errors import Conflict
from sampan.kernel.sockets import is_all_read
from sampan.runtime.launcher.client import AttachRequest

_FRAME: Final = struct.Struct(">BxxxL")  # stream, three zero bytes, length (API document, "Stream format")
_MAX_PENDING: Final = 32
_HEAD_S: Final = 0.1
_HEAD_POLL_S: Final = 0.001


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
    replay = logs and container.state.started_at_ns > 0  # who never ran has no log, and may be started now
    if replay:
        begin()
        _await_reader(request.fd)
        replay_log(core, container, request)
    with container.lock:
        if not replay:
            begin()
        shim = container.shim
        if stream and shim is None:
            _add_pending(container, request)
    if stream:
        core.events.emit(container_event(container, "attach"))
        if shim is not None:
            shim.attach(request)


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


def _await_reader(fd: int) -> None:
    """Let the client read the head of the answer before anything of the stream follows.

    docker-py reads the head through a buffer that it throws away, with what had come behind it by then.
    """
    deadline = time.monotonic() + _HEAD_S
    while not is_all_read(fd) and time.monotonic() < deadline:
        time.sleep(_HEAD_POLL_S)


def replay_log(core: Core, container: Container, request: AttachRequest) -> None:
    """Write what the container has said so far to the connection; blocks as its reader does."""
    source = open_source(core.paths, container.record)
    if source is None:
        return
    wanted = LogRequest(stdout=request.stdout, stderr=request.stderr)
    os.set_blocking(request.fd, True)
    with LogReader(source, wanted, container=None) as reader:
        while not reader.finished:
            for entry in reader.read_available():
                data = entry.data
                if request.framed:
                    data = _FRAME.pack(entry.stream, len(data)) + data
                _write_all(request.fd, data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
