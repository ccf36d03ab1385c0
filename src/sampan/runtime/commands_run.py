"""`sampan-runtime` commands that put a process into a container: create, run, exec. Lean."""

from __future__ import annotations

import os

from sampan import fastjson
from sampan.errors import InvalidArgument
from sampan.kernel import sockets
from sampan.lean import replace
from sampan.runtime import own_program
from sampan.runtime.create import create_container
from sampan.runtime.delete import delete_container
from sampan.runtime.options import parse_number
from sampan.runtime.requests import CreateRequest
from sampan.spec.runtime import Capabilities, User

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from sampan.runtime.main import Globals
    from sampan.runtime.options import Values
    from sampan.runtime.state import State
    from sampan.spec.runtime import Process

_FIRST_KEPT = 3


def create(common: Globals, options: Values, arguments: list[str]) -> int:
    """Create a container and leave it to be started."""
    own_program.protect()
    sock = _connect(options.text("console-socket"))
    create_container(_create_request(common, options, arguments[0], sock)).close()
    return 0


def run(common: Globals, options: Values, arguments: list[str]) -> int:
    """Create and start a container; unless detached, stay with it and return its exit code."""
    own_program.protect()
    sock = _connect(options.text("console-socket"))
    request = replace(_create_request(common, options, arguments[0], sock), start=True)
    if options.flag("detach"):
        create_container(request).close()
        return 0
    return _run_attached(request, options)


def _run_attached(request: CreateRequest, options: Values) -> int:
    from sampan.runtime import foreground

    foreground.prepare(reap_orphans=not options.flag("no-subreaper"))
    container = create_container(request)
    try:
        return foreground.stay_with(container.pid, container.pidfd, container.console_master)
    finally:
        container.close()
        if not options.flag("keep"):
            delete_container(request.state_root, request.id, force=True)


def execute(common: Globals, options: Values, arguments: list[str]) -> int:
    """Run a further process; unless detached, stay with it and return its exit code."""
    own_program.protect()
    from sampan.runtime import foreground
    from sampan.runtime.executing import exec_process
    from sampan.runtime.requests import ExecRequest
    from sampan.runtime.state import load_state

    process = _exec_process(load_state(common.root, arguments[0]), options, arguments[1:])
    sock = _connect(options.text("console-socket"))
    detach = options.flag("detach")
    if detach and process.terminal and sock is None:
        raise InvalidArgument("a detached process with a terminal needs --console-socket")
    if not detach:
        foreground.prepare(reap_orphans=False)
    kept, env = _kept_descriptors(options)
    running = exec_process(
        ExecRequest(
            id=arguments[0],
            state_root=common.root,
            process=replace(process, env=(*process.env, *env)),
            console_socket=sock.fileno() if sock is not None else -1,
            keep_fds=kept,
            cgroup=_exec_cgroup(options),
            ignore_paused=options.flag("ignore-paused"),
            pid_file=os.path.abspath(options.text("pid-file")) if options.text("pid-file") else "",
        )
    )
    try:
        return 0 if detach else foreground.stay_with(running.pid, running.pidfd, running.console_master)
    finally:
        running.close()


def _create_request(common: Globals, options: Values, id: str, sock: socket | None) -> CreateRequest:
    kept, env = _kept_descriptors(options)
    return CreateRequest(
        id=id,
        bundle=os.path.abspath(options.text("bundle", ".")),
        config_file=os.path.abspath(options.text("config")) if options.text("config") else "",
        state_root=common.root,
        console_socket=sock.fileno() if sock is not None else -1,
        keep_fds=kept,
        extra_env=env,
        pivot=not options.flag("no-pivot"),
        keyring=not options.flag("no-new-keyring"),
        pid_file=os.path.abspath(options.text("pid-file")) if options.text("pid-file") else "",
        cgroup_driver=common.driver,
    )


def _kept_descriptors(options: Values) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the descriptors to pass on and what tells the program of them (sd_listen_fds(3)).

    Raises:
        InvalidArgument: one of them is not open.
    """
    listen = os.environ.get("LISTEN_FDS", "")
    activated = parse_number(listen, "LISTEN_FDS") if listen else 0
    count = (options.number("preserve-fds") or 0) + activated
    if not 0 <= count < 1024:
        raise InvalidArgument(f"option --preserve-fds: {count} descriptors cannot be passed on")
    kept = tuple(range(_FIRST_KEPT, _FIRST_KEPT + count))
    for fd in kept:
        try:
            os.get_inheritable(fd)
        except OSError as exc:
            raise InvalidArgument(f"option --preserve-fds: descriptor {fd} is not open") from exc
    return kept, (f"LISTEN_FDS={activated}", "LISTEN_PID=1") if activated else ()


def _connect(path: str) -> socket | None:
    if not path:
        return None
    folder, _, name = os.path.abspath(path).rpartition("/")
    try:
        return sockets.connect_at(folder or "/", name)
    except OSError as exc:
        raise InvalidArgument(f"option --console-socket: cannot connect to {path!r}: {exc.strerror}") from exc


def _exec_cgroup(options: Values) -> str:
    """Return the cgroup below the container's own; `controller:path` of v1 must be the same path for all."""
    paths = {entry.rpartition(":")[2].strip("/") for entry in options.list("cgroup")}
    if len(paths) > 1:
        raise InvalidArgument("option --cgroup: one path for all controllers is supported")
    path = paths.pop() if paths else ""
    return "" if path == "." else path


def _exec_process(state: State, options: Values, words: list[str]) -> Process:
    """Return the process to run: a document of its own, or init's with what the options change."""
    from sampan.spec.config import check_process, parse_process

    if options.text("process"):
        with open(options.text("process"), "rb") as file:
            return parse_process(fastjson.loads(file.read()))
    if not words:
        raise InvalidArgument("exec needs a command", hint="sampan-runtime exec <container-id> <command>")
    base = parse_process(state.document["process"])
    changes: dict[str, object] = {
        "args": tuple(words),
        "env": (*base.env, *options.list("env")),
        "terminal": options.flag("tty"),
        "console_size": None,
        "oom_score_adj": base.oom_score_adj,
    }
    if options.text("cwd"):
        changes["cwd"] = options.text("cwd")
    if options.text("apparmor"):
        changes["apparmor_profile"] = options.text("apparmor")
    if options.text("process-label"):
        changes["selinux_label"] = options.text("process-label")
    if options.flag("no-new-privs"):
        changes["no_new_privileges"] = True
    if options.list("cap"):
        changes["capabilities"] = _with_capabilities(base.capabilities, options.list("cap"))
    if options.text("user") or options.list("additional-gids"):
        changes["user"] = _user(base.user, options.text("user"), options.list("additional-gids"))
    process = replace(base, **changes)
    check_process(process)
    return process


def _with_capabilities(base: Capabilities | None, names: tuple[str, ...]) -> Capabilities:
    """Add capabilities to what the process has; inheritable and ambient stay empty (CVE-2022-29162)."""
    base = base or Capabilities()
    return replace(
        base,
        bounding=tuple(dict.fromkeys((*base.bounding, *names))),
        effective=tuple(dict.fromkeys((*base.effective, *names))),
        permitted=tuple(dict.fromkeys((*base.permitted, *names))),
    )


def _user(base: User, text: str, groups: tuple[str, ...]) -> User:
    uid, colon, gid = text.partition(":")
    return replace(
        base,
        uid=_id(uid, "--user") if uid else base.uid,
        gid=_id(gid, "--user") if colon else base.gid,
        additional_gids=(*base.additional_gids, *(_id(group, "--additional-gids") for group in groups)),
    )


def _id(text: str, name: str) -> int:
    number = parse_number(text, f"option {name}")
    if not 0 <= number < (1 << 32) - 1:
        raise InvalidArgument(f"option {name}: {text!r} is no user or group id")
    return number
