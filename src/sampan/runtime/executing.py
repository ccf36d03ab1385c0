"""Run one more program in a container. The parent's side; chart: docs/runtime-protocol.md, "Exec". Lean."""

from __future__ import annotations

import os
import select

from sampan.errors import Conflict, InvalidArgument, SampanError, Unsupported
from sampan.kernel import files, namespaces, process
from sampan.kernel.cgroups import detect, open_manager
from sampan.lean import Undo, record
from sampan.runtime import child as child_steps
from sampan.runtime import handshake, program, sources
from sampan.runtime.child import run_child
from sampan.runtime.container import Process
from sampan.runtime.create import end_child, explain_death, write_pid_file
from sampan.runtime.handshake import ChildSide, ToldOnly
from sampan.runtime.plan import CLONE_FLAGS, plan_labels, plan_program_steps
from sampan.runtime.program import plan_program
from sampan.runtime.report import Reporter
from sampan.runtime.spawn import Placement, spawn
from sampan.runtime.state import SECCOMP, load_state, require_status
from sampan.runtime.steps import Child, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from sampan.kernel.cgroups import CgroupManager
    from sampan.runtime.filters import Filter
    from sampan.runtime.handshake import ParentSide
    from sampan.runtime.program import Program
    from sampan.runtime.requests import ExecRequest
    from sampan.runtime.state import State


def exec_process(request: ExecRequest) -> Process:
    """Run one more program in a container; return once execve has worked.

    Raises:
        NotFound: there is no such container.
        Conflict: it is not running (`created` counts), or it is paused.
        CommandNotFound, CommandNotExecutable, SampanError: as for `create_container`.
    """
    state = load_state(request.state_root, request.id)
    require_status(state, _allowed(request), "exec in")
    filter = _load_filter(state)
    setgroups = state.document.get("setgroups") is True
    wanted = plan_program(request.process, filter, None, setgroups=setgroups)
    reporter = Reporter(request.report)
    with Undo() as undo:
        running = _spawn(request, state, wanted, reporter, undo)
        undo.commit()
    return running


@record
class About:
    """What an exec has to know of its container, and what never changes in its life.

    kinds: the namespaces to join. seccomp_flags: None without a filter.
    """

    pid: int
    kinds: tuple[str, ...]
    keyring: bool
    setgroups: bool
    seccomp_flags: int | None


@record
class Entry:
    """Where a process is born that can `become_process`, with what it needs on its way; see `close_entry`.

    init: pidfd of the container's init, whose pid namespace it is. cgroup_fd: its cgroup of v2, -1 without.
    frozen_fd: as `CgroupManager.open_frozen`, -1 without a cgroup. task_fds: as `CgroupManager.entry_fds`.
    """

    about: About
    init: int
    cgroup_fd: int
    frozen_fd: int
    task_fds: tuple[int, ...]

    @property
    def fds(self) -> tuple[int, ...]:
        """Every descriptor of it, those that are -1 left out."""
        return tuple(fd for fd in (self.init, self.cgroup_fd, self.frozen_fd, *self.task_fds) if fd >= 0)


def open_entry(state_root: str, id: str) -> Entry | None:
    """Return where processes of a container are born; None where only `exec_process` can start one.

    Raises:
        Conflict: the container has stopped.
    """
    state = load_state(state_root, id)
    about = state.document.get("seccomp")
    if isinstance(about, dict) and about["listener_path"]:
        return None  # a parent has to take the listener and hand it over
    with Undo() as undo:
        init = _open_init(state)
        undo.add(os.close, init)
        cgroup_fd = frozen_fd = -1
        task_fds: tuple[int, ...] = ()
        manager = _open_cgroup(state, "")
        if manager is not None:
            undo.add(manager.close)
            frozen_fd = manager.open_frozen()
            undo.add(os.close, frozen_fd)
            cgroup_fd, task_fds = manager.clone_fd(), manager.entry_fds()
        undo.commit()  # the manager's descriptors, too, are the entry's now
    return Entry(
        about=_describe(state), init=init, cgroup_fd=cgroup_fd, frozen_fd=frozen_fd, task_fds=task_fds
    )


def close_entry(entry: Entry) -> None:
    """Close what `open_entry` opened."""
    for fd in entry.fds:
        os.close(fd)


def _describe(state: State) -> About:
    filter = state.document.get("seccomp")
    flags = filter["flags"] if isinstance(filter, dict) else None
    assert flags is None or isinstance(flags, int)  # we wrote it
    return About(
        pid=state.pid,
        kinds=tuple(_different_namespaces(state)),
        keyring=state.document.get("keyring") is True,
        setgroups=state.document.get("setgroups") is True,
        seccomp_flags=flags,
    )


def become_process(request: ExecRequest, entry: Entry, channel_fd: int) -> NoReturn:
    """Turn this process, born at a container's entry, into one more of its processes.

    Saves the second clone of `exec_process`, and what a fresh copy of an interpreter copies. channel_fd,
    which execve closes, gets `console` with a terminal's master, `ready` just before execve, and the error of
    a step.

    Raises:
        as `exec_process`, before the first step.
    """
    about = entry.about
    if _has_ended(entry.init):
        raise Conflict(f"cannot exec in container {request.id!r}: container not running")
    if entry.frozen_fd >= 0 and not request.ignore_paused and os.pread(entry.frozen_fd, 1, 0) == b"1":
        raise Conflict(f"cannot exec in container {request.id!r}: it is paused")
    filter = None
    if about.seccomp_flags is not None:
        from sampan.runtime.filters import Filter

        filter = Filter(program=_read_filter(request.state_root, request.id), flags=about.seccomp_flags)
    wanted = plan_program(request.process, filter, None, setgroups=about.setgroups)
    child = Child(ToldOnly(channel_fd), request.stdio, request.keep_fds, fifo_fd=-1, error_fd=-1)
    steps = _plan(request, about, wanted, entry.task_fds, entry.init)
    process.set_dumpable(False)
    if request.process.oom_score_adj is not None:
        process.set_oom_score_adj("self", request.process.oom_score_adj)
    run_child(child, steps, lambda child: program.execute(child, wanted), timed=False)


def become_checker(
    request: ExecRequest,
    channel_fd: int,
    shim_fd: int,
    serve: Callable[[Child, Program], None],
    *,
    parent: int,
) -> NoReturn:
    """Turn this process, a fork of the shim, into a container's checker (runtime/launcher/checker.py).

    As `become_process`, but its own pid namespace stays as it is, and instead of execve comes serve, which
    starts the program as its child. channel_fd is the asker's; shim_fd becomes `child.error_fd`. parent: the
    shim's pid; if it is another's by the end, the shim died while no signal was asked for, and so do we.

    Raises:
        as `exec_process`, before the first step. Unsupported: only a plain exec can run this program.
    """
    state = load_state(request.state_root, request.id)
    require_status(state, ("running",), "exec in")
    filter = _load_filter(state)
    if (filter is not None and filter.listener_path) or plan_labels(request.process):
        raise Unsupported("a seccomp listener and a label of the program need an exec each")
    setgroups = state.document.get("setgroups") is True
    wanted = plan_program(request.process, filter, None, setgroups=setgroups)
    init = _open_init(state)
    manager = _open_cgroup(state, "")
    about = _describe(state)
    child = Child(ToldOnly(channel_fd), request.stdio, request.keep_fds, fifo_fd=-1, error_fd=shim_fd)
    steps = _plan(request, about, wanted, manager.entry_fds() if manager is not None else (), init)
    if manager is not None and manager.clone_fd() >= 0:
        enter = Step(label="join the cgroup", run=child_steps.enter_unified, arguments=(manager.clone_fd(),))
        steps = (enter, *steps)
    if "pid" in about.kinds:
        join = Step(
            label="children's pid namespace",
            run=child_steps.join_process,
            arguments=(init, CLONE_FLAGS["pid"]),
        )
        steps = (join, *steps)
    process.set_dumpable(False)
    if request.process.oom_score_adj is not None:
        process.set_oom_score_adj("self", request.process.oom_score_adj)

    def last(child: Child) -> None:
        if os.getppid() == parent:
            serve(child, wanted)

    run_child(child, steps, last, timed=False)


def _allowed(request: ExecRequest) -> tuple[str, ...]:
    return ("created", "running", "paused") if request.ignore_paused else ("created", "running")


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _open_init(state: State) -> int:
    try:
        return state.open_init()
    except OSError as exc:
        raise Conflict(f"cannot exec in container {state.id!r}: it has stopped") from exc


def _load_filter(state: State) -> Filter | None:
    """Return the container's own filter, as it was compiled for init."""
    about = state.document.get("seccomp")
    if not isinstance(about, dict):
        return None
    flags = about["flags"]
    assert isinstance(flags, int)  # we wrote it
    from sampan.runtime.filters import Filter

    return Filter(
        program=_read_filter(state.state_root, state.id),
        flags=flags,
        listener_path=str(about["listener_path"]),
        listener_metadata=str(about["listener_metadata"]),
    )


def _read_filter(state_root: str, id: str) -> bytes:
    return files.read_file(f"{state_root}/{id}/{SECCOMP}")


def _spawn(request: ExecRequest, state: State, wanted: Program, reporter: Reporter, undo: Undo) -> Process:
    with sources.Descriptors() as fds:
        init = fds.add(_open_init(state))
        manager = _open_cgroup(state, request.cgroup)
        if manager is not None:
            undo.add(manager.close)
        channel, channel_fd = handshake.pair()
        undo.add(channel.close)
        child = Child(
            ChildSide(fds.add(channel_fd)), request.stdio, request.keep_fds, fifo_fd=-1, error_fd=-1
        )
        about = _describe(state)
        steps = _plan(request, about, wanted, manager.entry_fds() if manager is not None else (), init)

        def last(child: Child) -> None:
            program.execute(child, wanted)

        def run() -> NoReturn:
            run_child(child, steps, last, timed=reporter.wanted)

        if os.geteuid() == 0:
            process.set_dumpable(False)
        reporter.begin()
        placement = Placement(
            new=0,
            join_pid=fds.add(namespaces.open_namespace(state.pid, "pid")) if "pid" in about.kinds else -1,
            cgroup_fd=manager.clone_fd() if manager is not None else -1,
            init=init if not request.cgroup else -1,
            for_parent=request.for_parent,
        )
        pid, pidfd = spawn(placement, run)
    undo.add(os.close, pidfd)
    undo.add(end_child, pidfd)
    reporter.cloned((), pid)
    if request.process.oom_score_adj is not None:
        try:
            process.set_oom_score_adj(pid, request.process.oom_score_adj)
        except (FileNotFoundError, ProcessLookupError):
            pass  # the child has failed and is gone: what it said is read below
    master = _converse(request, state, wanted, channel, (pid, pidfd), reporter, steps, undo)
    if manager is not None:
        manager.close()
    return Process(pid, pidfd, master)


def _open_cgroup(state: State, below: str) -> CgroupManager | None:
    if not state.cgroup_path:
        return None
    if not below:
        return state.cgroup()
    manager = open_manager(detect(), f"{state.cgroup_path}/{below.strip('/')}", state.cgroup_driver)
    if not any(os.path.isdir(path) for path in manager.paths().values()):
        raise InvalidArgument(f"cgroup {below!r} does not exist below the container's")
    return manager


def _different_namespaces(state: State) -> list[str]:
    """Return the types of namespaces that the container does not share with us: those are to be joined."""
    kinds = state.document.get("namespaces")
    assert isinstance(kinds, list)  # we wrote it
    return [
        str(kind)
        for kind in kinds
        if namespaces.namespace_id(state.pid, sources.SHORT_KINDS[str(kind)])
        != namespaces.namespace_id("self", sources.SHORT_KINDS[str(kind)])
    ]


def _plan(
    request: ExecRequest, about: About, wanted: Program, entry_fds: tuple[int, ...], init: int
) -> tuple[Step, ...]:
    steps = []
    affinity = request.process.exec_cpu_affinity
    if affinity is not None and affinity.initial:
        cpus = parse_cpus(affinity.initial, "process.execCPUAffinity.initial")
        steps.append(Step(label="initial processors", run=child_steps.set_affinity, arguments=(cpus,)))
    if entry_fds:
        steps.append(Step(label="join the cgroups", run=child_steps.enter_cgroups, arguments=(entry_fds,)))
    if affinity is not None and affinity.final:
        cpus = parse_cpus(affinity.final, "process.execCPUAffinity.final")
        steps.append(Step(label="final processors", run=child_steps.set_affinity, arguments=(cpus,)))
    flags = 0
    for kind in about.kinds:
        flags |= CLONE_FLAGS[kind] if kind != "pid" else 0
    if plan_labels(request.process):
        from sampan.runtime.sysctls import open_private_proc

        steps.append(Step(label="open a private procfs", run=open_private_proc))
    if flags:
        label = f"join namespaces {' '.join(sorted(about.kinds))}"
        steps.append(Step(label=label, run=child_steps.join_process, arguments=(init, flags), plank="sees"))
    else:
        steps.append(Step(label="enter the root", run=_enter_root, arguments=(about.pid,)))
    if "user" in about.kinds:
        steps.append(Step(label="become root inside", run=child_steps.take_ids, arguments=(0, 0)))
    if about.keyring:
        arguments = (f"_ses.{request.id}", "user" in about.kinds)
        steps.append(
            Step(label="join the session keyring", run=child_steps.join_keyring, arguments=arguments)
        )
    if wanted.terminal:
        from sampan.runtime.console import open_console

        size = request.process.console_size
        rows_columns = (size.height, size.width) if size is not None else None
        steps.append(
            Step(label="open a terminal", run=open_console, arguments=(rows_columns, wanted.uid, False))
        )
    steps += plan_program_steps(request.process, wanted, die_with_parent=request.die_with_parent)
    return tuple(steps)


def _enter_root(child: Child, pid: int) -> None:
    """Without a mount namespace to join, only the root directory is different."""
    os.chroot(f"/proc/{pid}/root")
    os.chdir("/")


def parse_cpus(text: str, where: str) -> frozenset[int]:
    """Read a list of processors, `0-3,7`.

    Raises:
        InvalidArgument: it is none, or one of its numbers is above 8191.
    """
    cpus: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()) or len(last) > 4:
            raise InvalidArgument(f"{where}: {text!r} is not a list of processors such as 0-3,7")
        if int(last) > 8191 or int(first) > int(last):
            raise InvalidArgument(f"{where}: {part!r} is not a range of processors")
        cpus.update(range(int(first), int(last) + 1))
    return frozenset(cpus)


def _converse(
    request: ExecRequest,
    state: State,
    wanted: Program,
    channel: ParentSide,
    child: tuple[int, int],
    reporter: Reporter,
    steps: tuple[Step, ...],
    undo: Undo,
) -> int:
    """Answer the child until its execve has worked; return the terminal's master, -1 if none is kept."""
    pid, pidfd = child
    master = -1
    ready = False
    while True:
        message, received = channel.receive()
        if "console" in message:
            from sampan.runtime.console import keep_or_send

            master = keep_or_send(received[0], request.console_socket)
            if master >= 0:
                undo.add(os.close, master)
        elif "listener" in message:
            assert wanted.filter is not None
            from sampan.runtime.filters import hand_over

            taken = handshake.take_listener(pidfd, message)
            hand_over(wanted.filter, taken, state.oci("running").document(), pid)
            channel.go()
        elif "ready" in message:
            reporter.child_done(steps, message["ready"])
            if request.pid_file:
                write_pid_file(request.pid_file, pid)
            ready = True
            channel.go()
        elif ready:
            channel.close()  # end of file: execve closed the child's end
            return master
        else:
            raise SampanError(explain_death(pidfd))
