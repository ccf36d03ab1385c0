"""Create a container: everything up to execve. The parent's side of docs/runtime-protocol.md. Lean."""

from __future__ import annotations

import os
import select
import time

from sampan import fastjson, log
from sampan.errors import InvalidArgument, SampanError
from sampan.kernel import capabilities, files, namespaces, process
from sampan.kernel import constants as k
from sampan.kernel.cgroups import detect, open_manager
from sampan.lean import Undo, replace
from sampan.runtime import handshake, sources
from sampan.runtime.child import run_child, start_init
from sampan.runtime.container import Container
from sampan.runtime.delete import remove_state_directory, run_stop_hooks
from sampan.runtime.devices import plan_rules
from sampan.runtime.handshake import ChildSide
from sampan.runtime.mount_plan import plan_mounts
from sampan.runtime.plan import CLONE_FLAGS, Prepared, Wishes, check_config, plan_init
from sampan.runtime.program import plan_program
from sampan.runtime.report import Reporter
from sampan.runtime.root_mounts import describe_root_mount
from sampan.runtime.spawn import Placement, spawn
from sampan.runtime.start import run_poststart
from sampan.runtime.state import (
    FIFO,
    NEW_FIFO,
    SECCOMP,
    START_ERROR,
    State,
    check_id,
    make_state_directory,
    save_init,
)
from sampan.runtime.steps import Child
from sampan.spec.config import parse_config
from sampan.spec.runtime import OCI_VERSION, LinuxResources, OciState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from sampan.fastjson import JsonValue
    from sampan.kernel.cgroups import CgroupManager
    from sampan.runtime.filters import Filter
    from sampan.runtime.handshake import ParentSide
    from sampan.runtime.mount_plan import PlannedMount
    from sampan.runtime.requests import CreateRequest
    from sampan.runtime.steps import Step
    from sampan.spec.runtime import Spec

_SIGKILL = 9
_CONFIG_LIMIT = 16 << 20


def load_config(path: str) -> tuple[Spec, dict[str, JsonValue]]:
    """Read and check a `config.json`; return it checked and as it stands.

    Raises:
        InvalidArgument, Unsupported: the file is missing, no JSON, or a field is wrong or asks too much.
    """
    try:
        raw = fastjson.loads(files.read_file(path, limit_bytes=_CONFIG_LIMIT))
    except FileNotFoundError as exc:
        raise InvalidArgument(
            f"JSON specification file {path} not found", hint="use --bundle DIRECTORY"
        ) from exc
    spec = parse_config(raw)
    check_config(spec)
    assert isinstance(raw, dict)  # parse_config refused anything else
    return spec, raw


def create_container(request: CreateRequest) -> Container:
    """Make namespaces, cgroup, mounts: all up to execve. The child waits for `start`, or goes on at once.

    Raises:
        InvalidArgument, Unsupported: the bundle; the message names the field.
        Conflict: the id is taken.
        CommandNotFound, CommandNotExecutable: the program is not there, or not runnable.
        SampanError: a step of the child or a hook failed; the message names it.
    """
    check_id(request.id)
    bundle = os.path.abspath(request.bundle)
    spec, raw = load_config(request.config_file or f"{bundle}/config.json")
    with Undo() as undo:
        creation = _Creation(request, bundle, spec, raw, undo)
        container = creation.run()
        undo.commit()
    return container


def plan_container(request: CreateRequest) -> None:
    """Decide all that `create_container` would do before its clone, and do none of it.

    Raises:
        InvalidArgument, Unsupported: as `create_container`.
    """
    bundle = os.path.abspath(request.bundle)
    spec, raw = load_config(request.config_file or f"{bundle}/config.json")
    with Undo() as undo:
        _Creation(request, bundle, spec, raw, undo).plan()


class _Creation:
    """One run of create_container: the order of things is `run`, top to bottom."""

    def __init__(
        self, request: CreateRequest, bundle: str, spec: Spec, raw: dict[str, JsonValue], undo: Undo
    ) -> None:
        assert spec.process is not None  # check_config
        self.request = request
        self.bundle = bundle
        self.spec = spec
        self.process = replace(spec.process, env=(*spec.process.env, *request.extra_env))
        self.undo = undo
        self.report = Reporter(request.report)
        self.directory = f"{request.state_root}/{request.id}"
        self.rootfs = os.path.join(bundle, spec.root.path)
        self.new = {item.type for item in spec.linux.namespaces if not item.path}
        self.filter = self._make_filter()
        self.setgroups = "user" not in self.new or _may_set_groups()
        self.program = plan_program(
            self.process, self.filter, spec.linux.personality, setgroups=self.setgroups
        )
        self.hierarchy = detect()
        self.manager: CgroupManager | None = open_manager(
            self.hierarchy, self._cgroup_path(), request.cgroup_driver
        )
        self.document = self._make_document(raw)

    def run(self) -> Container:
        """Create it."""
        self._make_state_directory()
        if self.request.claimed is not None:
            self.request.claimed()
        self._make_cgroup()
        with sources.Descriptors() as fds:
            channel, channel_fd = handshake.pair()
            fds.add(channel_fd)
            self.undo.add(channel.close)
            pid, pidfd = self._clone(fds, channel_fd)
        self.undo.add(self._run_stop_hooks)
        self.undo.add(os.close, pidfd)
        self.undo.add(end_child, pidfd)
        self._after_clone(pid, channel)
        master = self._converse(channel, pid, pidfd)
        state = State(self.request.state_root, self.document, pid, self.start_ticks)
        if self.request.start:
            self._start(channel, state)
        else:
            os.rename(f"{self.directory}/{NEW_FIFO}", f"{self.directory}/{FIFO}")
            self._write_pid_file(pid)
            channel.go()
        channel.close()
        if self.manager is not None:
            self.manager.close()
        return Container(state, pidfd, master, self.report)

    def plan(self) -> tuple[Step, ...]:
        """Return the child's steps as they would be, but for descriptors."""
        assert self.manager is not None  # from __init__
        planned = plan_mounts(self.spec, self.bundle, self.hierarchy, self.manager.paths())
        resources = self.spec.linux.resources or LinuxResources()
        plan_rules(resources.devices)
        prepared = Prepared(
            root_fd=-1,
            source_fds={},
            null_fd=-1,
            namespace_fds=(),
            entry_fds=(),
            inside_ids=None,
            staged=False,
            has_kcore=True,
            root_text=self._describe_root(),
            state=self._oci_state("creating"),
        )
        return plan_init(self.spec, self.program, planned, prepared, self._wishes())

    # Before the clone

    def _make_filter(self) -> Filter | None:
        if self.spec.linux.seccomp is None:
            return None
        from sampan.runtime.filters import make_filter

        return make_filter(self.spec.linux.seccomp, cache_dir=self.request.seccomp_cache)

    def _cgroup_path(self) -> str:
        """Return an absolute path, so that whoever manages the container later finds the same cgroup."""
        wanted = self.spec.linux.cgroups_path
        if self.request.cgroup_driver == "systemd":
            from sampan.kernel.cgroups.units import default_unit_path

            return wanted or default_unit_path(self.request.id)
        if wanted.startswith("/"):
            return wanted
        return f"/sampan/{wanted or self.request.id}"

    def _make_document(self, raw: dict[str, JsonValue]) -> dict[str, JsonValue]:
        own = os.getpid()
        kinds: list[JsonValue] = [item.type for item in self.spec.linux.namespaces]
        annotations: dict[str, JsonValue] = dict(self.spec.annotations)
        filter = self.filter
        return {
            "id": self.request.id,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": _now(),
            "owner": os.geteuid(),
            "creator_pid": own,
            "creator_ticks": process.start_ticks("self"),
            "cgroup_path": self._cgroup_path(),
            "cgroup_driver": self.request.cgroup_driver,
            "annotations": annotations,
            "namespaces": kinds,
            "setgroups": self.setgroups,
            "keyring": self.request.keyring,
            "process": raw.get("process"),
            "hooks": raw.get("hooks"),
            "seccomp": None
            if filter is None
            else {
                "flags": filter.flags,
                "listener_path": filter.listener_path,
                "listener_metadata": filter.listener_metadata,
            },
        }

    def _make_state_directory(self) -> None:
        make_state_directory(self.request.state_root, self.request.id, self.document)
        self.undo.add(remove_state_directory, self.directory)
        if not self.request.start:
            os.mkfifo(f"{self.directory}/{NEW_FIFO}", 0o600)

    def _make_cgroup(self) -> None:
        manager = self.manager
        assert manager is not None  # from __init__
        begun = time.monotonic_ns()
        try:
            manager.create()
        except PermissionError:
            if os.geteuid() == 0:
                raise
            log.warning("no cgroup", container=self.request.id, why="permission denied")
            self.manager = None  # without root and without delegation there are no limits to set
            return
        self.undo.add(manager.close)
        self.undo.add(manager.delete)
        resources = self.spec.linux.resources or LinuxResources()
        manager.apply(resources)
        manager.apply_devices(plan_rules(resources.devices))
        self.report.cgroup(manager, resources, begun)

    def _clone(self, fds: sources.Descriptors, channel_fd: int) -> tuple[int, int]:
        paths = self.manager.paths() if self.manager is not None else {}
        planned = plan_mounts(self.spec, self.bundle, self.hierarchy, paths)
        joined = sources.open_joined(self.spec, fds)
        staged = "user" in joined or ("user" in self.new and bool(joined.keys() - {"pid"}))
        prepared = self._prepare(planned, joined, fds, staged=staged)
        steps = plan_init(self.spec, self.program, planned, prepared, self._wishes())
        fifo_fd = error_fd = -1
        if not self.request.start:
            fifo_fd = fds.add(os.open(f"{self.directory}/{NEW_FIFO}", os.O_RDWR | os.O_CLOEXEC))
            error_fd = fds.add(_write_new(f"{self.directory}/{START_ERROR}", b"", keep=True))
        child = Child(
            ChildSide(channel_fd),
            self.request.stdio,
            self.request.keep_fds,
            fifo_fd=fifo_fd,
            error_fd=error_fd,
        )
        state = self._oci_state("created")

        before = self._before_execve(state)

        def last(child: Child) -> None:
            start_init(child, self.program, before)

        def run() -> NoReturn:
            run_child(child, steps, last, timed=self.report.wanted)

        self.steps = steps
        if os.geteuid() == 0:
            process.set_dumpable(False)  # inherited: the child is never open to ptrace (CVE-2016-9962)
        self.report.begin()
        return spawn(self._placement(joined, staged=staged), run)

    def _wishes(self) -> Wishes:
        return Wishes(
            id=self.request.id,
            pivot=self.request.pivot,
            keyring=self.request.keyring,
            console_size=self.request.console_size,
            die_with_parent=self.request.die_with_parent,
        )

    def _before_execve(self, state: OciState) -> tuple[Callable[[], None], ...]:
        """Return what the child does between start and execve, imported here."""
        actions: list[Callable[[], None]] = []
        wanted = self.spec.hooks.start_container
        if wanted:
            from sampan.runtime.hooks import run_inside

            actions.append(lambda: run_inside("startContainer", wanted, state))
        if self.request.init:
            from sampan.runtime.launcher.builtin_init import become_init, plan_title

            title = plan_title(self.program.argv)
            actions.append(lambda: become_init(title, terminal=self.program.terminal))
        return tuple(actions)

    def _prepare(
        self,
        planned: tuple[PlannedMount, ...],
        joined: dict[str, int],
        fds: sources.Descriptors,
        *,
        staged: bool,
    ) -> Prepared:
        linux = self.spec.linux
        cut = linux.rootfs_propagation.removeprefix("r")
        propagation = {"shared": 0, "private": k.MS_PRIVATE, "unbindable": k.MS_PRIVATE}.get(cut, k.MS_SLAVE)
        own_mounts = "mount" in self.new
        source_fds = {
            index: sources.open_overlay(mount, fds)
            if mount.fstype == "overlay"
            else sources.open_bind(
                mount,
                propagation=propagation,
                container_maps=(linux.uid_mappings, linux.gid_mappings),
                fds=fds,
            )
            for index, mount in enumerate(planned)
            if mount.made_by_parent
        }
        order = ("ipc", "uts", "network", "cgroup", "time", "mount")
        return Prepared(
            root_fd=fds.add(sources.open_root(self.rootfs, self.request.root_mount, own_mounts=own_mounts)),
            source_fds=source_fds,
            null_fd=sources.open_null(fds) if linux.masked_paths else -1,
            namespace_fds=tuple((joined[kind], CLONE_FLAGS[kind]) for kind in order if kind in joined),
            entry_fds=self.manager.entry_fds() if self.manager is not None else (),
            inside_ids=self._inside_ids(joined),
            staged=staged,
            has_kcore=os.path.exists("/proc/kcore"),
            root_text=self._describe_root(),
            state=self._oci_state("creating"),
        )

    def _describe_root(self) -> str:
        layers = self.request.root_mount
        return f"root file system: {self.rootfs if layers is None else describe_root_mount(layers)}"

    def _inside_ids(self, joined: dict[str, int]) -> tuple[int, int] | None:
        """Return the ids to set a container up as in its user namespace: root, or the user's without one."""
        if "user" in joined:
            return 0, 0
        if "user" not in self.new:
            return None
        linux, user = self.spec.linux, self.process.user
        return (
            0 if any(line.container == 0 for line in linux.uid_mappings) else user.uid,
            0 if any(line.container == 0 for line in linux.gid_mappings) else user.gid,
        )

    def _placement(self, joined: dict[str, int], *, staged: bool) -> Placement:
        new = 0
        for kind in self.new - {"cgroup", "time"}:  # made later; made by the parent for the child
            new |= CLONE_FLAGS[kind]
        stage: tuple[tuple[int, int], ...] = ()
        if staged:
            order = ("ipc", "uts", "network", "cgroup", "time", "mount", "user")
            stage = tuple((joined[kind], CLONE_FLAGS[kind]) for kind in order if kind in joined)
        return Placement(
            new=new,
            join_pid=joined.get("pid", -1),
            stage=stage,
            time=self.spec.linux.time_offsets if "time" in self.new else None,
            cgroup_fd=self.manager.clone_fd() if self.manager is not None else -1,
            for_parent=self.request.for_parent,
        )

    # After the clone

    def _after_clone(self, pid: int, channel: ParentSide) -> None:
        """Do the parent's part while the child does its own."""
        self.report.cloned(self.new, pid)
        if "user" in self.new:
            linux = self.spec.linux
            namespaces.write_id_maps(
                pid,
                sources.triples(linux.uid_mappings),
                sources.triples(linux.gid_mappings),
                deny_setgroups=not self.setgroups,
            )
            self._raise_rlimits(pid)
            channel.go()
        if self.filter is not None:
            _write_new(f"{self.directory}/{SECCOMP}", self.filter.program)
        wanted = self.process.oom_score_adj
        if wanted is not None:
            actual = process.set_oom_score_adj(pid, wanted)
            if actual != wanted:
                log.warning("oom score clamped", container=self.request.id, wanted=wanted, actual=actual)
        self.start_ticks = process.start_ticks(pid)
        if not self.request.start:
            save_init(self.request.state_root, self.request.id, pid, self.start_ticks)

    def _raise_rlimits(self, pid: int) -> None:
        """Raise hard limits for a child that cannot from inside its user namespace; it lowers them itself."""
        for number, _, hard in self.program.rlimits:
            soft, ours = process.prlimit(pid, number)
            if hard > ours:
                process.prlimit(pid, number, (soft, hard))

    def _converse(self, channel: ParentSide, pid: int, pidfd: int) -> int:
        """Answer the child until it is ready; return the terminal's master, -1 if there is none to keep."""
        master = -1
        while True:
            message, received = channel.receive()
            if "hooks" in message:
                self._run_create_hooks(pid)
                channel.go()
            elif "console" in message:
                from sampan.runtime.console import keep_or_send

                master = keep_or_send(received[0], self.request.console_socket)
                if master >= 0:
                    self.undo.add(os.close, master)
            elif "listener" in message:
                assert self.filter is not None
                from sampan.runtime.filters import hand_over

                taken = handshake.take_listener(pidfd, message)
                hand_over(self.filter, taken, self._oci_state("creating", pid).document(), pid)
                channel.go()
            elif "ready" in message:
                self.report.child_done(self.steps, message["ready"])
                return master
            else:
                raise SampanError(explain_death(pidfd))

    def _start(self, channel: ParentSide, state: State) -> None:
        """Let the child, which is ready, run the program; return once execve has worked.

        Only now it gets an init on record: until here it was `creating`, and never is `created`.
        """
        self.report.begin()
        save_init(self.request.state_root, self.request.id, state.pid, state.start_ticks)
        self._write_pid_file(state.pid)
        channel.go()
        channel.receive()  # end of file: execve closed the child's end
        run_poststart(state)
        self.report.started()

    def _oci_state(self, status: str, pid: int = 0) -> OciState:
        return OciState(
            oci_version=OCI_VERSION,
            id=self.request.id,
            status=status,
            pid=pid,
            bundle=self.bundle,
            annotations=self.spec.annotations,
        )

    def _run_create_hooks(self, pid: int) -> None:
        from sampan.runtime.hooks import encode_state, run_hooks

        state = encode_state(self._oci_state("creating", pid))
        run_hooks("prestart", self.spec.hooks.prestart, state)
        run_hooks("createRuntime", self.spec.hooks.create_runtime, state)

    def _run_stop_hooks(self) -> None:
        run_stop_hooks(self.spec.hooks.poststop, self._oci_state("stopped"))

    def _write_pid_file(self, pid: int) -> None:
        if self.request.pid_file:
            write_pid_file(self.request.pid_file, pid)


def write_pid_file(path: str, pid: int) -> None:
    """Write a pid file whole: new file beside it, then rename."""
    folder, _, name = path.rpartition("/")
    temporary = f"{folder or '.'}/.{name}.{pid}"
    os.close(_write_new(temporary, str(pid).encode(), keep=True))
    os.rename(temporary, path)


def end_child(pidfd: int) -> None:
    """Kill a half-made child, return once it has ended, and reap it unless its parent is another process."""
    try:
        process.pidfd_send_signal(pidfd, _SIGKILL)
    except ProcessLookupError:
        return  # ended and reaped already
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    try:
        process.wait_pidfd(pidfd)
    except ChildProcessError:
        pass  # made for our parent


def explain_death(pidfd: int) -> str:
    try:
        status = process.wait_pidfd(pidfd)
    except ChildProcessError:  # made for our parent, who alone learns how it ended
        return "the process was killed while it was set up: the memory limit may be too low"
    if status.signal == _SIGKILL:
        return "the process was killed while it was set up: the memory limit may be too low"
    how = f"signal {status.signal}" if status.signal else f"code {status.code}"
    return f"the process ended with {how} while it was set up"


def _may_set_groups() -> bool:
    return capabilities.NUMBERS["CAP_SETGID"] in capabilities.get_caps().effective


def _write_new(path: str, data: bytes, *, keep: bool = False) -> int:
    """Write a new file of ours; return its descriptor when it is to be kept open, else -1."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        files.write_all(fd, data)
    except BaseException:
        os.close(fd)
        raise
    if keep:
        return fd
    os.close(fd)
    return -1


def _now() -> str:
    """Return the time as RFC 3339 with nanoseconds."""
    now = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09d}Z"
