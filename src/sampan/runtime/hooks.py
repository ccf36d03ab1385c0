"""Hooks: programs of others that are run at six points of a container's life, with its state on stdin. Lean.

Source: OCI runtime-spec v1.2, config.md, "POSIX-platform Hooks"; runtime.md, "Lifecycle".
"""

from __future__ import annotations

import os
import select
import time

from sampan import fastjson
from sampan.errors import SampanError
from sampan.kernel import process
from sampan.lean import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_DFL, SIGKILL, SIGPIPE, signal

    from sampan.runtime.steps import Child
    from sampan.spec.runtime import Hook, OciState
else:
    from _signal import SIG_DFL, SIGKILL, SIGPIPE, signal

_OUTPUT_LIMIT = 4096


def encode_state(state: OciState) -> bytes:
    """Return what a hook reads on stdin."""
    return fastjson.dumps(state.document()).encode()


def run_hooks(name: str, hooks: tuple[Hook, ...], state: bytes) -> None:
    """Run the hooks of one point in order; stop at the first that fails.

    Raises:
        SampanError: a hook could not be run, ended with another code than 0, or took too long.
    """
    for index, hook in enumerate(hooks):
        _run_hook(f"hooks.{name}[{index}]: {hook.path}", hook, state)


def run_inside(name: str, hooks: tuple[Hook, ...], state: OciState) -> None:
    """Run hooks of the container's side, in the child; they see init's pid as the container numbers it."""
    run_hooks(name, hooks, encode_state(replace(state, pid=os.getpid())))


def container_hooks(child: Child, hooks: tuple[Hook, ...], state: OciState) -> None:
    """Run the createContainer hooks: the host's programs, in the container's namespaces. A step."""
    run_inside("createContainer", hooks, state)


def _run_hook(shown: str, hook: Hook, state: bytes) -> None:
    stdin, stdin_ours = os.pipe()
    output_ours, output = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_hook(hook, stdin, output)
    pidfd = process.pidfd_open(pid)
    os.close(stdin)
    os.close(output)
    try:
        _feed(stdin_ours, state)
        text = _collect(output_ours, pidfd, hook.timeout)
        if text is None:
            process.pidfd_send_signal(pidfd, SIGKILL)
            process.wait_pidfd(pidfd)
            raise SampanError(f"{shown}: took longer than {hook.timeout} s and was killed")
        status = process.wait_pidfd(pidfd)
    finally:
        os.close(pidfd)
        os.close(output_ours)
    if status.code or status.signal:
        how = f"was killed by signal {status.signal}" if status.signal else f"ended with code {status.code}"
        said = text.decode("utf-8", "replace").strip()
        raise SampanError(f"{shown}: {how}" + (f": {said}" if said else ""))


def _become_hook(hook: Hook, stdin: int, output: int) -> None:
    try:
        signal(SIGPIPE, SIG_DFL)
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        process.close_range(3)
        env = dict(entry.partition("=")[::2] for entry in hook.env)
        os.execve(hook.path, hook.args or (hook.path,), env)  # noqa: S606 -- an absolute path, by the bundle
    except OSError as exc:
        os.write(2, f"cannot be run: {exc.strerror}".encode())
    finally:
        os._exit(127)


def _feed(fd: int, state: bytes) -> None:
    """Write the state; a hook that does not read it is no failure and cannot hold us up."""
    os.set_blocking(fd, False)
    try:
        os.write(fd, state)
    except (BrokenPipeError, BlockingIOError):
        pass
    finally:
        os.close(fd)


def _collect(output: int, pidfd: int, timeout_s: int | None) -> bytes | None:
    """Read what the hook writes until it has ended; None when the time is over. The rest is thrown away.

    The hook's end counts, not the end of its output: a daemon that it left behind may keep that open.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(output, select.POLLIN)
    text = b""
    while True:
        left_ms = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000))
        ready = dict(poll.poll(left_ms))
        if not ready:
            return None
        if output in ready:
            part = os.read(output, 65536)
            text = (text + part)[:_OUTPUT_LIMIT]
            if not part:
                poll.unregister(output)
        elif pidfd in ready:
            return text
