"""The `process` document of an exec: the container's own, with what the exec changes."""

from __future__ import annotations

import os
import stat
from typing import Final

import msgspec
from msgspec import Struct

from sampan.engine.bundle.plan import Document
from sampan.engine.bundle.process import (
    check_environment,
    check_workdir,
    make_environment,
    make_process,
    merge_environment,
)
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.execs.detach_keys import parse_detach_keys
from sampan.engine.files.users import Accounts, User, resolve_user
from sampan.errors import Conflict, InvalidArgument
from sampan.kernel.files import read_file, reopen
from sampan.kernel.process import start_ticks
from sampan.kernel.resolve import open_in_root
from sampan.spec import docker

_MAX_ACCOUNTS: Final = 10 << 20


class _Capabilities(Struct, frozen=True):
    bounding: list[str] = []


class _Process(Struct, frozen=True):
    """What an exec takes over from the container's program."""

    capabilities: _Capabilities = _Capabilities()
    rlimits: list[dict[str, object]] = []
    noNewPrivileges: bool = False
    oomScoreAdj: int = 0
    apparmorProfile: str = ""


class _Config(Struct, frozen=True):
    process: _Process


_decode_config = msgspec.json.Decoder(_Config).decode


def check_exec(request: docker.ExecCreate) -> None:
    """Refuse a request that is wrong in itself.

    Raises:
        InvalidArgument: the message names the field.
    """
    if not request.Cmd:
        raise InvalidArgument("No exec command specified")
    if any("\0" in word for word in request.Cmd):
        raise InvalidArgument("invalid exec command: NUL inside an argument")
    check_environment(request.Env)
    check_workdir(request.WorkingDir)
    parse_detach_keys(request.DetachKeys)


def make_exec_process(
    core: Core,
    container: Container,
    request: docker.ExecCreate,
    *,
    tty: bool,
    console_size: tuple[int, int] | None,
) -> Document:
    """Return the OCI `process` of an exec: limits and capabilities as the container was started with.

    Raises:
        InvalidArgument: an unknown user.
    """
    record = container.record
    started_with = _decode_config(
        read_file(f"{core.paths.bundle(record.id)}/config.json", limit_bytes=16 << 20)
    )
    process = started_with.process
    user = _find_user(container, request.User or record.config.User)
    config = msgspec.structs.replace(record.config, Tty=tty)
    linked = core.linking.environment(record) if record.host.Links else ()
    config = msgspec.structs.replace(config, Env=merge_environment(linked, config.Env)) if linked else config
    environment = make_environment(config, home=user.home, hostname=record.config.Hostname)
    capabilities = sorted(core.machine.capabilities) if request.Privileged else process.capabilities.bounding
    return make_process(
        args=request.Cmd or (),
        environment=merge_environment(environment, request.Env),
        workdir=request.WorkingDir or record.config.WorkingDir,
        user=user,
        terminal=tty,
        capabilities=capabilities,
        no_new_privileges=process.noNewPrivileges and not request.Privileged,
        rlimits=process.rlimits,
        oom_score_adj=process.oomScoreAdj,
        apparmor="unconfined" if request.Privileged else process.apparmorProfile,
        console_size=console_size or (),
    )


def lives(container: Container) -> bool:
    """Tell whether the container's first process has not begun to end."""
    try:
        os.close(_open_root(container))
    except Conflict:
        return False
    return True


def _find_user(container: Container, text: str) -> User:
    """Look the user up in the running container's own files, volumes and later changes included.

    Raises:
        Conflict: the container has just ended.
        InvalidArgument: an unknown user.
    """
    groups = container.record.host.GroupAdd
    root_fd = _open_root(container)
    try:
        accounts = Accounts(
            passwd=_read_in_root(root_fd, "etc/passwd"), group=_read_in_root(root_fd, "etc/group")
        )
    finally:
        os.close(root_fd)
    return resolve_user(text, accounts, group_add=groups)


def _open_root(container: Container) -> int:
    state = container.state
    try:
        root_fd = os.open(f"/proc/{state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if start_ticks(state.pid) == state.start_ticks:
                return root_fd
        except BaseException:
            os.close(root_fd)
            raise
        os.close(root_fd)
    except (FileNotFoundError, ProcessLookupError) as exc:
        raise Conflict(f"container {container.id} is not running") from exc
    raise Conflict(f"container {container.id} is not running")


def _read_in_root(root_fd: int, path: str) -> bytes:
    """Read a regular file inside a root; nothing is opened before it is known to be one (CVE-2024-9676)."""
    try:
        found = open_in_root(root_fd, path, os.O_PATH)
    except OSError:
        return b""
    try:
        status = os.fstat(found)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_ACCOUNTS:
            raise InvalidArgument(f"/{path} of the container is no regular file of at most 10 MiB")
        fd = reopen(found, os.O_RDONLY)
    finally:
        os.close(found)
    with os.fdopen(fd, "rb") as file:
        return file.read(_MAX_ACCOUNTS)
