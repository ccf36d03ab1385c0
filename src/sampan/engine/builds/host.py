"""Builds over this engine: `build.host.Host` by launcher and store. docs/build.md.

A step that runs has `<data-root>/containers/<id>` and `<run-root>/containers/<id>` like a container, but no
row: sampand killed in the middle, the next start finds both unknown and sweeps them (`recovery`).
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import msgspec

from sampan import log
from sampan.build.cache_places import CacheTarget
from sampan.build.host import Base, Cancel, Change, Command, Fetch, PackedLayer, Ran, StepMount
from sampan.engine.builds.registry_caches import RegistryCache, RegistryTarget
from sampan.engine.bundle.config import cgroup_path
from sampan.engine.bundle.mount_wishes import UserMount, bind_options
from sampan.engine.core import Core
from sampan.engine.images.emulation import check_emulated
from sampan.engine.images.hello_image import resolve_image
from sampan.engine.images.layer_views import open_layers, root_mount
from sampan.engine.images.remote import PullRequest, RemoteImages
from sampan.engine.lifecycle.creating import with_default_network
from sampan.engine.lifecycle.launching import open_surroundings
from sampan.engine.lifecycle.planning import plan_bundle
from sampan.engine.records import Record
from sampan.engine.requests import check_request
from sampan.errors import Conflict, InvalidArgument, NotFound, SampanError
from sampan.ids import ContainerId, new_container_id
from sampan.kernel.files import write_atomic
from sampan.runtime.launcher.client import AttachRequest, ShimHandle, ShimRequest
from sampan.runtime.launcher.messages import Exited, LogSettings, Lost
from sampan.spec import docker
from sampan.spec.image import OCI_LAYER_GZIP, Descriptor, ImageConfig
from sampan.store.built import BuiltLayer, Stack, top_of
from sampan.store.model import Image
from sampan.store.platforms import matches, parse_platform
from sampan.store.references import parse_reference
from sampan.store.snapshotters import PLAIN, Snapshot

_FRAME: Final = struct.Struct(">BxxxL")
_PIECE: Final = 64 * 1024
_HOSTNAME: Final = "buildkitsandbox"  # as BuildKit's, so that its key and what RUN sees do not change
_DEATH_S: Final = 10.0


class BuildHost:
    """See `build.host.Host`."""

    def __init__(self, core: Core, remote: RemoteImages) -> None:
        self._core = core
        self._remote = remote

    @property
    def temporary(self) -> str:
        """See `build.host.Host`."""
        return self._core.paths.temporary

    @property
    def failed(self) -> str:
        """See `build.host.Host`."""
        return f"{self._core.paths.data}/build-failed"

    @property
    def downloads(self) -> str:
        """See `build.host.Host`."""
        return f"{self._core.paths.data}/build-downloads"

    @property
    def private(self) -> str:
        """See `build.host.Host`."""
        return self._core.paths.private

    def find_base(self, name: str, *, platform: str, fetch: Fetch) -> Base:
        """See `build.host.Host`. A local image is never asked for elsewhere, unless `fetch.always` is set."""
        image = None if fetch.always else self._find_local(name, platform)
        if image is None:
            self._pull(name, platform, fetch)
            image = resolve_image(self._core, name, parse_platform(platform) if platform else None)
        stack = self._core.store.built.stack_of(image)
        return Base(str(image.id), image.config, stack, image.manifest.digest)

    def _find_local(self, name: str, platform: str) -> Image | None:
        try:
            image = resolve_image(self._core, name, parse_platform(platform) if platform else None)
        except NotFound:
            return None
        is_other = platform and not matches(parse_platform(platform), image.config.platform)
        return None if is_other else image

    def _pull(self, name: str, platform: str, fetch: Fetch) -> None:
        reference = parse_reference(name)
        request = PullRequest(
            image=str(reference.with_default_tag()), platform=platform, auth=fetch.auth(reference.domain)
        )
        pull = self._remote.open_pull(request)
        try:
            with fetch.cancel.calling(pull.cancel):
                pull.run(fetch.report)
        except SampanError as exc:
            if fetch.cancel.is_set:
                raise
            here = "" if fetch.always else f"there is no image {name} here"
            made = "load it, or make one with `sampan image bootstrap`"
            exc.hint = exc.hint or (f"{here}; {made}" if here else "")
            raise

    def find_local(self, name: str) -> ImageConfig | None:
        """See `build.host.Host`."""
        try:
            image = self._find_local(name, "")
        except InvalidArgument:
            return None
        return image.config if image is not None else None

    def find_here(self, name: str, *, platform: str) -> Base | None:
        """See `build.host.Host`."""
        try:
            image = self._find_local(name, platform)
        except InvalidArgument:
            return None
        if image is None:
            return None
        return Base(str(image.id), image.config, self._core.store.built.stack_of(image))

    def open_cache(self, name: str, *, platform: str, auth: Callable[[str], str]) -> RegistryCache:
        """See `build.host.Host`."""
        return RegistryCache(self._remote, name, platform=platform, auth=auth)

    def cache_target(self, name: str, *, auth: Callable[[str], str]) -> CacheTarget:
        """See `build.host.Host`."""
        return RegistryTarget(self._remote, name, auth=auth)

    @contextmanager
    def packed(self, layer: BuiltLayer) -> Iterator[PackedLayer]:
        """See `build.host.Host`."""
        arrivals = self._core.store.arrivals
        with arrivals.holding([layer.blob]):
            form = arrivals.pack(layer.blob, as_it_is=False)
            with arrivals.holding([form.digest]):
                kind = OCI_LAYER_GZIP if form.is_new_form else layer.media_type
                descriptor = Descriptor(mediaType=kind, digest=form.digest, size=form.size_bytes)
                yield PackedLayer(descriptor, arrivals.blob_path(form.digest))

    def lower(self, stack: Stack) -> list[str]:
        """See `build.host.Host`."""
        return self._core.store.built.lower(stack)

    def cache_folder(self, name: str) -> str:
        """See `build.host.Host`."""
        return f"{self._core.paths.data}/build-cache/{name}"

    @contextmanager
    def open_root(self, stack: Stack) -> Iterator[int]:
        """See `build.host.Host`."""
        with open_layers(self._core, top_of(stack), writable=False) as view:
            yield view.root_fd

    @contextmanager
    def change(self, stack: Stack) -> Iterator[Change]:
        """See `build.host.Host`."""
        snapshots = self._core.store.snapshots
        with open_layers(self._core, top_of(stack), writable=True) as view:
            in_place = view.snapshot.driver != PLAIN
            yield Change(view.root_fd, lambda: snapshots.changes(view.snapshot), in_place)

    @contextmanager
    def _snapshot(self, container_id: ContainerId, stack: Stack) -> Iterator[Snapshot]:
        snapshots = self._core.store.snapshots
        snapshot = snapshots.prepare_on(container_id, top_of(stack))
        try:
            yield snapshot
        finally:
            self._core.removals.submit(lambda: _remove(self._core, container_id))

    @contextmanager
    def run(self, stack: Stack, command: Command) -> Iterator[Ran]:
        """See `build.host.Host`."""
        check_emulated(command.architecture)
        record = self._make_record(stack, command)
        with self._snapshot(ContainerId(record.id), stack) as snapshot:
            command.started(record.id)
            code = self._run(record, snapshot, command)
            with self._core.store.snapshots.changes(snapshot) as upper:
                yield Ran(code, upper)

    def _make_record(self, stack: Stack, command: Command) -> Record:
        core = self._core
        container_id = str(new_container_id())
        config = docker.Config(
            Hostname=_HOSTNAME if command.network != "host" else os.uname().nodename,
            User=command.user,
            Env=list(command.environment),
            Cmd=list(command.argv),
            WorkingDir=command.directory,
        )
        host, networking = with_default_network(
            _host_config(command), docker.NetworkingConfig(), core.settings.default_network
        )
        check_request(docker.ContainerCreate(Env=config.Env, HostConfig=host, WorkingDir=config.WorkingDir))
        return Record(
            id=container_id,
            name=f"build-{container_id[:12]}",
            created_ns=time.time_ns(),
            image_id=str(top_of(stack) or "scratch"),  # whose accounts are looked up, and remembered by it
            image="",
            config=config,
            host=host,
            network=networking,
            runtime=core.runtimes.choose(""),
            cgroup=cgroup_path(container_id, host.CgroupParent or core.settings.cgroup_parent),
            mounts=(),
        )

    def _run(self, record: Record, snapshot: Snapshot, command: Command) -> int:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                handle = self._start(record, snapshot, command, theirs.fileno())
            try:
                return _follow(handle, ours, command, command.cancel)
            finally:
                self._core.releases.submit(lambda: _release(handle))

    def _start(self, record: Record, snapshot: Snapshot, command: Command, fd: int) -> ShimHandle:
        core = self._core
        mounts = tuple(_mount(mount) for mount in command.mounts)
        folder = core.paths.bundle(record.id)
        request = ShimRequest(
            id=record.id,
            run_dir=core.paths.run_dir(record.id),
            bundle=folder,
            log=LogSettings(path="", enabled=False),
            root_mount=root_mount(snapshot),
            runtime=core.runtimes.command(record.runtime),
            seccomp_cache=core.paths.seccomp_cache,
        )
        attach = AttachRequest(fd=fd, attach_id="build", framed=True)
        with open_surroundings(core, record) as joins:
            user = core.users.find(record, snapshot)
            bundle = plan_bundle(core, record, user=user, joins=joins, mounts=mounts)
            write_atomic(f"{folder}/config.json", msgspec.json.encode(bundle.document))
            return core.launchers.start(request, [attach])


def _host_config(command: Command) -> docker.HostConfig:
    limits = command.limits
    return docker.HostConfig(
        NetworkMode=command.network,
        Privileged=command.privileged,
        ExtraHosts=list(command.extra_hosts),
        LogConfig=docker.LogConfig(Type="none"),
        Memory=limits.memory,
        MemorySwap=limits.memory_swap,
        CpuShares=limits.cpu_shares,
        CpuPeriod=limits.cpu_period,
        CpuQuota=limits.cpu_quota,
        CpusetCpus=limits.cpuset_cpus,
        CpusetMems=limits.cpuset_mems,
        ShmSize=limits.shm_size,
        CgroupParent=limits.cgroup_parent,
        Ulimits=[docker.Ulimit(Name=name, Soft=soft, Hard=hard) for name, soft, hard in limits.ulimits],
    )


def _mount(mount: StepMount) -> UserMount:
    if mount.kind == "tmpfs":
        size = (f"size={mount.size_bytes}",) if mount.size_bytes else ()
        return UserMount(kind="tmpfs", target=mount.target, options=("nosuid", "nodev", *size))
    options = bind_options("", "ro" if mount.read_only else "")
    return UserMount(
        kind="bind", source=mount.source, target=mount.target, options=options, read_only=mount.read_only
    )


def _follow(handle: ShimHandle, stream: socket.socket, command: Command, cancel: Cancel) -> int:
    """Pass a step's output on until it has ended; return its code. A cancelled one is killed."""
    poll = select.poll()
    for fd in (handle.fd, stream.fileno(), cancel.fd):
        poll.register(fd, select.POLLIN)
    frames = _Frames(command)
    code: int | None = None
    is_open = True
    while code is None or is_open:
        ready = {fd for fd, _ in poll.poll()}
        if cancel.fd in ready:
            poll.unregister(cancel.fd)
            handle.kill_all()
        if stream.fileno() in ready and not frames.feed(stream.recv(_PIECE)):
            is_open = False
            poll.unregister(stream.fileno())
        if handle.fd in ready:
            for event in handle.read_events():
                if isinstance(event, Exited):
                    code = event.code
                elif isinstance(event, Lost):
                    raise SampanError("the step's supervisor was killed")
            if code is not None:
                poll.unregister(handle.fd)
    return code


class _Frames:
    """Takes Docker's frames apart, wherever they are cut."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._left = 0
        self._head = b""

    def feed(self, data: bytes) -> bool:
        """Take a piece; False at the end."""
        rest = data
        while rest:
            if self._left:
                piece, rest = rest[: self._left], rest[self._left :]
                self._left -= len(piece)
                self._command.output(piece)
                continue
            missing = _FRAME.size - len(self._head)
            self._head, rest = self._head + rest[:missing], rest[missing:]
            if len(self._head) == _FRAME.size:
                self._left = _FRAME.unpack(self._head)[1]
                self._head = b""
        return bool(data)


def _release(handle: ShimHandle) -> None:
    deadline = time.monotonic() + _DEATH_S
    with ExitStack() as stack:
        stack.callback(handle.close)
        while True:
            try:
                handle.release()
                return
            except Conflict:  # it was given up before it ended
                if time.monotonic() > deadline:
                    raise
                handle.kill_all()
                select.select([handle.fd], [], [], 0.05)
                handle.read_events()


def _remove(core: Core, container_id: ContainerId) -> None:
    """Remove what a step leaves; its shim was released before, by another worker."""
    core.releases.drain(_DEATH_S)
    core.networking.detach(container_id)
    try:
        core.store.snapshots.remove(container_id)
    except (Conflict, OSError) as exc:
        log.warning("a build's step cannot be removed yet", container=container_id, reason=exc)
    shutil.rmtree(core.paths.bundle(container_id), ignore_errors=True)
