"""Top: a container's processes as the host's own `ps` shows them. No program of a container is run."""

from __future__ import annotations

import glob
import re
import shlex
import shutil
import subprocess
from collections.abc import Collection
from typing import Final

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.lifecycle.states import restarting_refusal
from sampan.engine.observing.events import container_event
from sampan.errors import Conflict, InvalidArgument, SampanError, Unsupported
from sampan.kernel.cgroups.samples import read_small
from sampan.spec import docker

_TIMEOUT_S: Final = 20.0
# `-o pid=NAME` gives the column another title, and we would not find it (moby, validatePSArgs).
_RENAMED_PID: Final = re.compile(r"\s+(\S*)=\s*(PID\S*)", re.IGNORECASE)
_MAX_ARGS: Final = 1024


def top(core: Core, container: Container, args: str) -> docker.ContainerTop:
    """See `Containers.top`."""
    if container.state.status == "restarting":
        raise Conflict(restarting_refusal(container.id))
    if not container.running:
        raise Conflict(f"container {container.id} is not running")
    manager = core.cgroup(container)
    try:
        pids = frozenset(manager.pids()) - {container.checker_pid}
    finally:
        manager.close()
    found = parse_ps(_run_ps(args or "-ef"), pids | zombies_of(pids))
    core.events.emit(container_event(container, "top"))
    return found


def zombies_of(pids: Collection[int]) -> set[int]:
    """Return children of these processes that have ended and were not waited for.

    A zombie has left `cgroup.procs`, but its parent is still inside: outside, the shim reaps at once.
    Source: proc_pid_task(5), children; cgroups(7).
    """
    found: set[int] = set()
    for pid in pids:
        for path in glob.iglob(f"/proc/{pid}/task/*/children"):
            found.update(child for child in _read_numbers(path) if child not in pids and _is_zombie(child))
    return found


def count_unreaped(first_pid: int) -> int:
    """Return how many zombies a container's first process has, orphans that came to it included.

    One small file where there are none, so that a list of a thousand can afford it.
    """
    path = f"/proc/{first_pid}/task/{first_pid}/children"
    return sum(_is_zombie(child) for child in _read_numbers(path)) if first_pid else 0


def _read_numbers(path: str) -> list[int]:
    try:
        return [int(word) for word in read_small(path).split()]
    except OSError:
        return []  # it has just ended


def _is_zombie(pid: int) -> bool:
    try:
        return read_small(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def _run_ps(args: str) -> str:
    if len(args) > _MAX_ARGS or _RENAMED_PID.search(f" {args}"):
        raise InvalidArgument(f"specifying a name for the PID column is not allowed: {args[:80]!r}")
    program = shutil.which("ps", path="/usr/bin:/bin")
    if program is None:
        raise Unsupported("cannot list processes: the host has no ps", hint="apt-get install procps")
    try:
        words = shlex.split(args)
    except ValueError as exc:
        raise InvalidArgument(f"invalid ps arguments {args!r}: {exc}") from exc
    done = subprocess.run(
        [program, *words],
        capture_output=True,
        timeout=_TIMEOUT_S,
        env={"LC_ALL": "C.UTF-8"},
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise InvalidArgument(f"ps: {reason or f'exit code {done.returncode}'}")
    return done.stdout.decode(errors="replace")


def parse_ps(output: str, pids: Collection[int]) -> docker.ContainerTop:
    """Return the rows of a ps table whose PID is one of pids; the last column keeps its spaces.

    Raises:
        SampanError: the table has no PID column.
    """
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise SampanError("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows = []
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) > column and fields[column].isdigit() and int(fields[column]) in pids:
            rows.append(fields)
    return docker.ContainerTop(Titles=titles, Processes=rows)
