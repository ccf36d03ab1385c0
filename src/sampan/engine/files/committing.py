"""Make an image of a container (API 1.51, `/commit`).

The container is frozen while its upper directory is packed, unless the caller says otherwise. Killed in the
middle, sampand would leave it frozen with nobody to thaw it: a mark in the container's directory says that it
was us, and recovery thaws it (`thaw_interrupted`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from sampan import log
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.lifecycle.stopping import Stopper
from sampan.engine.observing.events import container_event, image_event
from sampan.errors import Conflict, NotFound, SampanError
from sampan.ids import ContainerId, Digest
from sampan.spec import docker
from sampan.spec.image import ContainerDefaults, History, ImageConfig, RootFS
from sampan.store.changes import apply_changes
from sampan.store.model import Image
from sampan.store.references import Reference, make_tagged

_MARK = "frozen-by-commit"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRequest:
    """What the image shall be. changes: lines of a Dockerfile; config: what they are applied to."""

    repository: str = ""
    tag: str = ""
    comment: str = ""
    author: str = ""
    changes: Sequence[str] = ()
    pause: bool = True
    config: ContainerDefaults = field(default_factory=ContainerDefaults)


def commit(core: Core, stopper: Stopper, container: Container, request: CommitRequest) -> Digest:
    """See `Containers.commit`."""
    reference = make_tagged(request.repository, request.tag) if request.repository else None
    defaults = merge_config(apply_changes(request.config, request.changes), container.record.config)
    parent = core.store.images.get(Digest(container.record.image_id))
    with _Frozen(core, stopper, container, wanted=request.pause) as frozen:
        image_id = _make(core, container, request, parent, defaults, reference, frozen)
    event = container_event(
        container,
        "commit",
        comment=request.comment,
        imageID=image_id,
        imageRef=reference.familiar if reference is not None else "",
    )
    core.events.emit(event)
    if reference is not None:
        core.events.emit(image_event("tag", image_id, reference.familiar, defaults.Labels))
    return image_id


def _make(
    core: Core,
    container: Container,
    request: CommitRequest,
    parent: Image,
    defaults: ContainerDefaults,
    reference: Reference | None,
    frozen: _Frozen,
) -> Digest:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    step = History(
        created=now,
        created_by=" ".join(container.record.config.Cmd or ()),
        author=request.author,
        comment=request.comment,
    )

    def describe(diff_ids: list[Digest]) -> ImageConfig:
        empty = len(diff_ids) == len(parent.layers)
        return msgspec.structs.replace(
            parent.config,
            created=now,
            author=request.author,
            comment="",
            config=defaults,
            cache="",
            rootfs=RootFS(diff_ids=list(diff_ids)),
            history=[*parent.config.history, msgspec.structs.replace(step, empty_layer=empty)],
        )

    try:
        snapshot = core.store.snapshots.get(ContainerId(container.id))
        with core.store.snapshots.changes(snapshot) as upper:
            return core.store.commits.make(
                parent, upper, describe=describe, reference=reference, packed=frozen.thaw
            )
    except NotFound as exc:
        raise Conflict(f"You cannot commit container {container.id} which is being removed") from exc
    except OSError as exc:
        if exc.errno not in _FULL:
            raise
        raise SampanError(
            f"cannot commit container {container.id}: no space left on device",
            hint="nothing was kept; see what takes space with: sampan system df",
        ) from exc


class _Frozen:
    """A running container frozen for as long as it is packed, and a user of its files; use it in a `with`."""

    def __init__(self, core: Core, stopper: Stopper, container: Container, *, wanted: bool) -> None:
        self._core = core
        self._stopper = stopper
        self._container = container
        self._wanted = wanted
        self._frozen = False

    def __enter__(self) -> _Frozen:
        container = self._container
        with container.lock:
            if container.removed:
                raise Conflict(f"You cannot commit container {container.id} which is being removed")
            container.file_users.begin()
        try:
            if self._wanted and container.state.status == "running":
                self._freeze()
        except BaseException:
            container.file_users.end()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self.thaw()
        finally:
            self._container.file_users.end()

    def _freeze(self) -> None:
        _write_mark(self._core, self._container)
        self._frozen = True
        with suppress(Conflict):  # it has just ended, or somebody paused it: both are still enough
            self._stopper.pause(self._container)
            return
        self._frozen = False
        _remove_mark(self._core, self._container)

    def thaw(self) -> None:
        """Let the container go on; nothing happens if it was not frozen here, or is not any more."""
        if not self._frozen:
            return
        self._frozen = False
        try:
            with suppress(SampanError):  # somebody else has thawed or ended it
                self._stopper.unpause(self._container)
        finally:
            _remove_mark(self._core, self._container)


def _mark_path(core: Core, container: Container) -> str:
    return f"{core.paths.bundle(container.id)}/{_MARK}"


def _write_mark(core: Core, container: Container) -> None:
    os.close(os.open(_mark_path(core, container), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _remove_mark(core: Core, container: Container) -> None:
    with suppress(FileNotFoundError):
        os.unlink(_mark_path(core, container))


def thaw_interrupted(core: Core, container: Container) -> None:
    """Thaw a container that a commit froze whose sampand was killed; before its state is read."""
    if not os.path.exists(_mark_path(core, container)):
        return
    manager = core.cgroup(container)
    try:
        manager.thaw()
        log.warning(
            "container was frozen by a commit that was cut short, and goes on", container=container.id
        )
    except OSError as exc:
        log.info("no container to thaw after a commit", container=container.id, reason=exc)
    finally:
        manager.close()
    _remove_mark(core, container)


def merge_config(wanted: ContainerDefaults, own: docker.Config) -> ContainerDefaults:
    """Return an image's defaults: what was asked for, and for the rest the container's own configuration.

    Source: moby, daemon/commit.go, merge. Shell and OnBuild are not inherited.
    """
    command: dict[str, object] = {}
    if not wanted.Entrypoint:
        if not wanted.Cmd:
            command.update(Cmd=own.Cmd, ArgsEscaped=own.ArgsEscaped)
        if wanted.Entrypoint is None:
            command.update(Entrypoint=own.Entrypoint)
    named = {one.partition("=")[0] for one in wanted.Env or ()}
    environment = [*(wanted.Env or ()), *(one for one in own.Env if one.partition("=")[0] not in named)]
    return msgspec.structs.replace(
        wanted,
        **command,
        User=wanted.User or own.User,
        ExposedPorts={**own.ExposedPorts, **(wanted.ExposedPorts or {})} or None,
        Env=environment or None,
        Labels={**own.Labels, **(wanted.Labels or {})} or None,
        Healthcheck=_merge_health(wanted.Healthcheck, own.Healthcheck),
        WorkingDir=wanted.WorkingDir or own.WorkingDir,
        Volumes={**own.Volumes, **(wanted.Volumes or {})} or None,
        StopSignal=wanted.StopSignal or own.StopSignal,
    )


def _merge_health(
    wanted: docker.HealthConfig | None, own: docker.HealthConfig | None
) -> docker.HealthConfig | None:
    if wanted is None or own is None:
        return wanted or own
    missing = {name: getattr(own, name) for name in wanted.__struct_fields__ if not getattr(wanted, name)}
    return msgspec.structs.replace(wanted, **missing)
