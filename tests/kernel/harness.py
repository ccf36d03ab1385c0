"""Run a function in a fresh process in fresh namespaces and bring back what it returned.

The function asserts effects from inside; what it returns must be a JSON value. Nothing survives: mounts,
host names, sockets and processes go with its namespaces.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from tests.kernel.census import descendants

from sampan.kernel import constants as c
from sampan.kernel.mounts import mount
from sampan.kernel.namespaces import unshare
from sampan.kernel.process import set_child_subreaper

DEADLINE_S = 60.0


def run_isolated(function: Callable[[], Any], *, namespaces: int = c.CLONE_NEWNS) -> Any:
    """Return function() as run by a forked child in new namespaces (with CLONE_NEWPID, as PID 1 of them).

    Mount propagation to the outside is off. A failed assertion inside fails the test with the inner trace.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    pid = fork()
    if pid == 0:
        os.close(read_end)
        _child(function, namespaces, write_end)
    os.close(write_end)
    try:
        answer = _read_all(read_end, pid)
    finally:
        os.close(read_end)
        _, status = os.waitpid(pid, 0)
    if not answer:
        raise AssertionError(f"the isolated process ended without an answer: status {status:#x}")
    kind, value = json.loads(answer)
    if kind == "skip":
        pytest.skip(value)
    if kind == "error":
        raise AssertionError(f"in the isolated process:\n{value}")
    return value


def fork() -> int:
    """Fork; Python 3.12 warns of a parent with threads (pytest-xdist), but the child here only runs tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _read_all(fd: int, pid: int) -> bytes:
    parts = []
    deadline = time.monotonic() + DEADLINE_S
    while select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
        part = os.read(fd, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError(f"the isolated process did not answer in {DEADLINE_S} s")


def _child(function: Callable[[], Any], namespaces: int, write_end: int) -> NoReturn:
    try:
        set_child_subreaper(True)
        unshare(namespaces)
        if namespaces & c.CLONE_NEWPID:
            inner = fork()
            if inner:
                os.close(write_end)
                _, status = os.waitpid(inner, 0)
                os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
        if namespaces & c.CLONE_NEWNS:
            mount(None, "/", None, c.MS_REC | c.MS_PRIVATE)
        if namespaces & c.CLONE_NEWPID and namespaces & c.CLONE_NEWNS:
            mount("proc", "/proc", "proc")
        answer = ("value", function())
    except pytest.skip.Exception as exc:
        answer = ("skip", str(exc))
    except BaseException:
        answer = ("error", traceback.format_exc())
    _end_descendants()
    data = json.dumps(answer).encode()
    while data:
        data = data[os.write(write_end, data) :]
    os._exit(0)


def _end_descendants() -> None:
    """Kill what a failed test left running: it would hold the test run's own output open.

    A process frozen by its cgroup does not die before it is thawed; it is left after five seconds.
    """
    deadline = time.monotonic() + 5
    while (left := descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if os.waitpid(-1, os.WNOHANG)[0] == 0:
            time.sleep(0.005)


def needs_kernel(version: tuple[int, int], what: str) -> None:
    """Skip the test, naming what is missing, on a kernel older than version."""
    if kernel_version() < version:
        pytest.skip(f"{what} is of Linux {version[0]}.{version[1]}")


def kernel_version() -> tuple[int, int]:
    """Return the running kernel's version, as (6, 18)."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int(minor)


def wait_until(condition: Callable[[], bool], what: str, *, deadline_s: float = 10.0) -> None:
    """Poll until condition() holds, or fail naming what did not happen."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {deadline_s} s: {what}"
        time.sleep(0.005)
