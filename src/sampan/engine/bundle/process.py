"""`process` of config.json: arguments, environment, user, limits. For containers and execs."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from sampan.engine.bundle import posture
from sampan.engine.bundle.plan import Document
from sampan.engine.files.users import User
from sampan.errors import InvalidArgument
from sampan.spec import docker


def command_of(config: docker.Config) -> list[str]:
    """Return ENTRYPOINT and CMD together.

    Raises:
        InvalidArgument: neither names a program.
    """
    entrypoint = [] if config.Entrypoint in (None, [""]) else list(config.Entrypoint or ())
    args = entrypoint + list(config.Cmd or ())
    if not args:
        raise InvalidArgument("no command specified", hint="name a program behind the image")
    for arg in args:
        if "\0" in arg:
            raise InvalidArgument("invalid command: NUL inside an argument")
    return args


def make_environment(config: docker.Config, *, home: str, hostname: str) -> list[str]:
    """Return the environment: Docker's own variables first, the configuration over them, HOME at last."""
    own = [f"PATH={posture.DEFAULT_PATH}", f"HOSTNAME={hostname}"]
    own += ["TERM=xterm"] if config.Tty else []
    return with_home(merge_environment(own, config.Env), home)


def merge_environment(base: Iterable[str], changes: Iterable[str]) -> list[str]:
    """Return base with variables replaced or added; `KEY` alone takes one away."""
    values = {entry.partition("=")[0]: entry for entry in base}
    for entry in changes:
        key, equals, _ = entry.partition("=")
        if equals:
            values[key] = entry
        else:
            values.pop(key, None)
    return list(values.values())


def with_home(environment: list[str], home: str) -> list[str]:
    """Return the environment with HOME, unless it has one."""
    has_home = any(entry.startswith("HOME=") for entry in environment)
    return environment if has_home else [*environment, f"HOME={home}"]


def check_environment(entries: Iterable[str]) -> None:
    """Raise unless each entry is `KEY=value` or `KEY`.

    Raises:
        InvalidArgument: no name, or NUL inside.
    """
    for entry in entries:
        if not entry or entry.startswith("=") or "\0" in entry:
            raise InvalidArgument(f"invalid environment variable: {entry[:80]!r}")


def check_workdir(path: str) -> None:
    """Raise unless path is empty or absolute.

    Raises:
        InvalidArgument: a relative path, NUL inside.
    """
    if path and (not path.startswith("/") or "\0" in path):
        raise InvalidArgument(f"the working directory '{path}' is invalid, it needs to be an absolute path")


def make_process(
    *,
    args: Sequence[str],
    environment: Sequence[str],
    workdir: str,
    user: User,
    terminal: bool,
    capabilities: Sequence[str],
    no_new_privileges: bool,
    rlimits: Sequence[Document],
    oom_score_adj: int = 0,
    apparmor: str = "",
    console_size: Sequence[int] = (),
) -> Document:
    """Return an OCI `process`.

    Another user than root gets no effective and permitted set (as Docker), and nobody gets inheritable or
    ambient capabilities (CVE-2022-24769).
    """
    sets: Document = {"bounding": list(capabilities)}
    if user.uid == 0:
        sets.update(effective=list(capabilities), permitted=list(capabilities))
    process: Document = {
        "terminal": terminal,
        "user": {
            "uid": user.uid,
            "gid": user.gid,
            "umask": posture.UMASK,
            "additionalGids": list(user.groups),
        },
        "args": list(args),
        "env": list(environment),
        "cwd": posixpath.normpath(workdir) if workdir else "/",
        "capabilities": sets,
        "rlimits": list(rlimits),
        "noNewPrivileges": no_new_privileges,
        "oomScoreAdj": oom_score_adj,
    }
    if apparmor and apparmor != "unconfined":
        process["apparmorProfile"] = apparmor
    if terminal and len(console_size) == 2 and all(console_size):
        process["consoleSize"] = {"height": console_size[0], "width": console_size[1]}
    return process
