"""Execs in the Engine API."""

from __future__ import annotations

from msgspec import Struct, field

from sampan.spec.docker.common import StrList, Words


class ExecCreate(Struct, frozen=True, kw_only=True):
    """Body of POST /containers/{id}/exec."""

    User: str = ""
    Privileged: bool = False
    Tty: bool = False
    ConsoleSize: list[int] | None = None  # height, width
    AttachStdin: bool = False
    AttachStderr: bool = False
    AttachStdout: bool = False
    DetachKeys: str = ""
    Env: StrList = field(default_factory=list)
    WorkingDir: str = ""
    Cmd: Words = None


class ExecStart(Struct, frozen=True, kw_only=True):
    """Body of POST /exec/{id}/start."""

    Detach: bool = False
    Tty: bool = False
    ConsoleSize: list[int] | None = None  # height, width


class IdResponse(Struct, frozen=True, kw_only=True):
    """Answer that is an id alone: exec create, commit."""

    Id: str


class ExecProcess(Struct, frozen=True, kw_only=True):
    """The process of an exec."""

    tty: bool
    entrypoint: str
    arguments: StrList
    privileged: bool = False
    user: str = ""


class ExecInspect(Struct, frozen=True, kw_only=True):
    """Answer to GET /exec/{id}/json. ExitCode is None until the process has ended."""

    ID: str
    Running: bool
    ExitCode: int | None
    ProcessConfig: ExecProcess
    OpenStdin: bool
    OpenStdout: bool
    OpenStderr: bool
    CanRemove: bool = False
    ContainerID: str
    DetachKeys: str = ""
    Pid: int
