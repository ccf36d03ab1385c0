"""The command `sampan-runtime`: an OCI runtime with runc's command line. Lean.

One table of commands; the module that does a command is imported when it is called.
"""

from __future__ import annotations

import os
import sys

from sampan.errors import InvalidArgument, SampanError
from sampan.lean import record
from sampan.runtime import runtime_log
from sampan.runtime.options import Option, Values, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_ERROR = 1
_DEFAULT_ROOT = "/run/sampan/runtime"


@record
class Command:
    """One command: where its function is (`module:function`), its options, and how many words it takes."""

    name: str
    help: str
    usage: str
    function: str
    options: tuple[Option, ...] = ()
    least: int = 1
    most: int | None = 1


@record
class Globals:
    """The options in front of the command."""

    root: str
    driver: str
    debug: bool


def _flag(names: str, help: str) -> Option:
    return Option(names=tuple(names.split()), kind="flag", help=help)


def _text(names: str, help: str) -> Option:
    return Option(names=tuple(names.split()), kind="text", help=help)


def _number(names: str, help: str) -> Option:
    return Option(names=tuple(names.split()), kind="number", help=help)


def _list(names: str, help: str) -> Option:
    return Option(names=tuple(names.split()), kind="list", help=help)


_GLOBAL = (
    _text("root", "directory for the state of containers"),
    _text("log", "file that errors and warnings are appended to"),
    _text("log-format", "text or json"),
    _flag("debug", "log more"),
    _flag("systemd-cgroup", "let systemd make the cgroups"),
    _text("cgroup-manager", "cgroupfs or systemd"),
    _text("rootless", "accepted for runc's sake: true, false or auto"),
    _text("criu", "accepted for runc's sake"),
    _flag("version v", "print the version"),
    _flag("help h", "print this help"),
)
_HELP = _flag("help h", "print the help of this command")
_CREATE = (
    _text("bundle b", "directory of the bundle, by default the current one"),
    _text("config f", "configuration file, by default config.json in the bundle"),
    _text("console-socket", "unix socket that is sent the terminal's master"),
    _text("pid-file", "file to write the pid of init to"),
    _flag("no-pivot", "use chroot in place of pivot_root, for a root on a ramdisk"),
    _flag("no-new-keyring", "keep the caller's session keyring"),
    _number("preserve-fds", "pass on this many descriptors from 3 on, besides LISTEN_FDS"),
    _HELP,
)
_EXEC = (
    _text("console-socket", "unix socket that is sent the terminal's master"),
    _text("cwd", "working directory in the container"),
    _list("env e", "NAME=value to add to the environment"),
    _flag("tty t", "give the process a terminal"),
    _text("user u", "UID[:GID]"),
    _list("additional-gids g", "a further group"),
    _text("process p", "file with the process as in config.json"),
    _flag("detach d", "do not wait for the process"),
    _text("pid-file", "file to write the pid to"),
    _text("process-label", "SELinux label"),
    _text("apparmor", "AppArmor profile"),
    _flag("no-new-privs", "set no-new-privileges"),
    _list("cap c", "capability to add"),
    _number("preserve-fds", "pass on this many descriptors from 3 on, besides LISTEN_FDS"),
    _list("cgroup", "existing cgroup below the container's to run in"),
    _flag("ignore-paused", "do it in a paused container too"),
    _HELP,
)
_FORMAT = _text("format f", "table or json")
_UPDATE = (
    _text("resources r", "file with linux.resources, - for standard input; other options are then ignored"),
    _number("blkio-weight", "weight of block I/O, 10 to 1000"),
    _number("cpu-period", "CFS period in microseconds"),
    _number("cpu-quota", "CFS quota in microseconds"),
    _number("cpu-burst", "CFS burst in microseconds"),
    _number("cpu-share", "relative weight of CPU time"),
    _number("cpu-rt-period", "real-time period in microseconds"),
    _number("cpu-rt-runtime", "real-time runtime in microseconds"),
    _number("cpu-idle", "1 for SCHED_IDLE"),
    _text("cpuset-cpus", "processors to use"),
    _text("cpuset-mems", "memory nodes to use"),
    _text("memory", "limit in bytes"),
    _text("memory-reservation", "soft limit in bytes"),
    _text("memory-swap", "limit of memory and swap in bytes, -1 for none"),
    _number("pids-limit", "limit of processes"),
    _text("l3-cache-schema", "not supported"),
    _text("mem-bw-schema", "not supported"),
    _HELP,
)
_ID = "<container-id>"

COMMANDS = (
    Command(
        name="create",
        help="create a container",
        usage=_ID,
        function="commands_run:create",
        options=_CREATE,
    ),
    Command(name="start", help="start a created container", usage=_ID, function="commands_change:start"),
    Command(
        name="run",
        help="create and start a container",
        usage=_ID,
        function="commands_run:run",
        options=(
            *_CREATE[:-1],
            _flag("detach d", "do not wait for the container"),
            _flag("keep", "keep the container's state after its end"),
            _flag("no-subreaper", "do not reap the container's orphans"),
            _HELP,
        ),
    ),
    Command(
        name="exec",
        help="run a further process in a container",
        usage=f"{_ID} <command> [args…] | --process FILE {_ID}",
        function="commands_run:execute",
        options=_EXEC,
        most=None,
    ),
    Command(name="state", help="print a container's state", usage=_ID, function="commands_query:state"),
    Command(
        name="kill",
        help="send a signal to a container, by default SIGTERM",
        usage=f"{_ID} [signal]",
        function="commands_change:kill",
        options=(_flag("all a", "to every process in it"), _HELP),
        most=2,
    ),
    Command(
        name="delete",
        help="remove a stopped container",
        usage=_ID,
        function="commands_change:delete",
        options=(_flag("force f", "kill it first, and forgive absence"), _HELP),
    ),
    Command(
        name="list",
        help="list containers",
        usage="",
        function="commands_query:list_containers",
        options=(_FORMAT, _flag("quiet q", "only ids"), _HELP),
        least=0,
        most=0,
    ),
    Command(
        name="ps",
        help="list a container's processes",
        usage=f"{_ID} [ps options]",
        function="commands_query:processes",
        options=(_FORMAT, _HELP),
        most=None,
    ),
    Command(
        name="pause", help="stop all processes of a container", usage=_ID, function="commands_change:pause"
    ),
    Command(name="resume", help="let a paused container go on", usage=_ID, function="commands_change:resume"),
    Command(
        name="update",
        help="change a container's limits",
        usage=_ID,
        function="commands_change:update",
        options=_UPDATE,
    ),
    Command(
        name="events",
        help="print usage and out-of-memory events",
        usage=_ID,
        function="commands_query:events",
        options=(
            Option(names=("interval",), kind="seconds", help="time between statistics, by default 5s"),
            _flag("stats", "print once and end"),
            _HELP,
        ),
    ),
    Command(
        name="spec",
        help="write a config.json to start from",
        usage="",
        function="commands_spec:write_spec",
        options=(
            _text("bundle b", "directory to write to"),
            _flag("rootless", "for running without root"),
            _HELP,
        ),
        least=0,
        most=0,
    ),
    Command(
        name="features",
        help="print what this runtime can do",
        usage="",
        function="commands_spec:features",
        least=0,
        most=0,
    ),
)


def run_command(words: Sequence[str]) -> int:
    """Do what the command line says; return the exit code.

    Raises:
        SampanError, OSError: it failed.
    """
    values, rest = parse(_GLOBAL, words)
    runtime_log.configure(
        path=values.text("log"), format=values.text("log-format", "text"), debug=values.flag("debug")
    )
    if values.flag("version"):
        return _version()
    if not rest or rest[0] in ("help", "h") or values.flag("help"):
        _print(_help())
        return 0
    command = _find_command(rest[0])
    options, arguments = parse(command.options or (_HELP,), rest[1:])
    if options.flag("help"):
        _print(_command_help(command))
        return 0
    _check_count(command, arguments)
    return _call(command, _read_globals(values), options, arguments)


def main() -> None:
    """Run as a program: print errors, end with the exit code, skip the interpreter's own end."""
    try:
        code = run_command(sys.argv[1:])
    except (SampanError, OSError) as exc:
        runtime_log.fatal(exc)
        code = 255 if "exec" in sys.argv[1:] else _ERROR  # as runc: 1 could be the process's own
    except KeyboardInterrupt:
        code = 130
    sys.stdout.flush()
    os._exit(code)


def _find_command(name: str) -> Command:
    for command in COMMANDS:
        if command.name == name:
            return command
    import difflib  # only on the way to an error

    near = difflib.get_close_matches(name, [command.name for command in COMMANDS], n=1)
    raise InvalidArgument(
        f"unknown command {name!r}", hint=f"did you mean {near[0]}?" if near else "see sampan-runtime --help"
    )


def _read_globals(values: Values) -> Globals:
    driver = values.text("cgroup-manager", "cgroupfs")
    if driver not in ("cgroupfs", "systemd"):
        raise InvalidArgument(f"option --cgroup-manager: {driver!r} is neither cgroupfs nor systemd")
    return Globals(
        root=os.path.abspath(values.text("root", _default_root())),
        driver="systemd" if values.flag("systemd-cgroup") else driver,
        debug=values.flag("debug"),
    )


def _default_root() -> str:
    if os.geteuid() == 0:
        return _DEFAULT_ROOT
    return f"{os.environ.get('XDG_RUNTIME_DIR') or f'/tmp/sampan-{os.geteuid()}'}/sampan/runtime"  # noqa: S108 -- 0700


def _check_count(command: Command, arguments: Sequence[str]) -> None:
    if len(arguments) < command.least or (command.most is not None and len(arguments) > command.most):
        raise InvalidArgument(
            f"{command.name} takes {command.usage or 'no arguments'}", hint=f"see {command.name} --help"
        )


def _call(command: Command, common: Globals, options: Values, arguments: list[str]) -> int:
    module_name, _, function_name = command.function.partition(":")
    name = f"sampan.runtime.{module_name}"
    __import__(name)
    function = getattr(sys.modules[name], function_name)
    code: int = function(common, options, arguments)
    return code


def _version() -> int:
    from sampan import __version__
    from sampan.spec.runtime import OCI_VERSION

    _print(f"sampan-runtime version {__version__}\nspec: {OCI_VERSION}")
    return 0


def _help() -> str:
    lines = [
        "sampan-runtime runs OCI bundles.",
        "",
        "Usage: sampan-runtime [options] command …",
        "",
        "Commands:",
    ]
    lines += [f"  {command.name:<10} {command.help}" for command in COMMANDS]
    return "\n".join([*lines, "", "Options:", *_option_lines(_GLOBAL)])


def _command_help(command: Command) -> str:
    usage = f"Usage: sampan-runtime {command.name} [options] {command.usage}".rstrip()
    return "\n".join(
        [f"{command.help}", "", usage, "", "Options:", *_option_lines(command.options or (_HELP,))]
    )


def _option_lines(options: Sequence[Option]) -> list[str]:
    lines = []
    for option in options:
        names = ", ".join(f"-{name}" if len(name) == 1 else f"--{name}" for name in option.names)
        lines.append(f"  {names + ('' if option.kind == 'flag' else ' VALUE'):<28} {option.help}")
    return lines


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
