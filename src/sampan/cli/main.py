"""From the command line to a command, and from its end to an exit code. Lean (decision 0002)."""

from __future__ import annotations

import posix
import sys

from sampan.cli.commands import LATER, NOUNS, Command, find_command, load
from sampan.cli.flags import parse_flags
from sampan.cli.outcome import Failed, UsageError, complain, report
from sampan.errors import SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from sampan.cli.context import Context, TlsWishes
    from sampan.cli.flags import Flags, Group

    Handler = Callable[[Context, Flags, list[str]], int]

_READER_GONE = 141  # as if SIGPIPE had ended us

GLOBAL_FLAGS: tuple[Group, ...] = (
    (
        "Global options",
        (
            ("host", "H", "string", "Daemon to speak to: unix:///path or tcp://host:port"),
            ("tls", "", "bool", "Speak TLS on tcp://, whoever the daemon is"),
            ("tlsverify", "", "bool", "Speak TLS on tcp://, and have the daemon show who it is"),
            ("tlscacert", "", "string", "Who vouches for the daemon (default: ca.pem in DOCKER_CERT_PATH)"),
            ("tlscert", "", "string", "Your certificate (default: cert.pem in DOCKER_CERT_PATH)"),
            ("tlskey", "", "string", "Its key (default: key.pem in DOCKER_CERT_PATH)"),
            ("debug", "D", "bool", "Show where an error comes from"),
            ("log-level", "l", "string", "Accepted for docker's sake: this command writes no log"),
            ("config", "", "string", "Accepted for docker's sake: there are no client files"),
            ("version", "v", "bool", "Print the version and end"),
        ),
    ),
)


def main() -> NoReturn:
    """Run the command line of this process. Never returns: the interpreter's own end would cost 2 ms."""
    _open_standard_streams()
    code = run_command_line(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or _READER_GONE
    except OSError as exc:
        complain(f"error: cannot write the output: {exc.strerror}")
        code = code or 1
    posix._exit(code)


def _open_standard_streams() -> None:
    """Put /dev/null where a standard stream is closed, so that no socket of ours takes its number."""
    for fd in (0, 1, 2):
        try:
            posix.fstat(fd)
        except OSError:
            posix.open("/dev/null", posix.O_RDWR)  # the lowest free number is fd
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)


def run_command_line(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors are shown."""
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # a text file unless closed
    debug = False
    try:
        flags, words = parse_flags(GLOBAL_FLAGS, arguments, interspersed=False)
        debug = flags.truth("debug")
        return _dispatch(flags, words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _READER_GONE
    except SampanError as exc:
        if debug:
            _show_trace(exc)
        report(exc)
        return exc.code if isinstance(exc, Failed) else 1
    except OSError as exc:
        if debug:
            _show_trace(exc)
        where = f": {exc.filename}" if exc.filename else ""
        complain(f"error: {exc.strerror or exc}{where}")
        return 1


def _dispatch(flags: Flags, words: list[str]) -> int:
    if flags.truth("version"):
        from sampan import __version__

        print(f"sampan version {__version__}")
        return 0
    if not words or flags.truth("help"):
        from sampan.cli.help import show_help

        return show_help(words)
    if words[0] == "__complete":
        return _complete(flags, words[1:])
    found = find_command(words)
    if found is None:
        return _no_command(words)
    command, used = found
    return _run(command, flags, words[used:])


def _complete(flags: Flags, words: list[str]) -> int:
    from sampan.cli.completion import complete
    from sampan.cli.context import Context

    return complete(Context(host=flags.text("host"), tls=_tls(flags)), words)


def _run(command: Command, outer: Flags, arguments: list[str]) -> int:
    try:
        flags, rest = parse_flags(command.flag_groups(), arguments, interspersed=command.interspersed)
        if flags.truth("help"):
            from sampan.cli.help import show_command

            return show_command(command)
        _check_count(command, rest)
    except UsageError as exc:
        see = f"see 'sampan {command.aliases[0] if command.aliases else command.path} --help'"
        raise UsageError(str(exc), hint=exc.hint or see, code=exc.code) from exc
    from sampan.cli.context import Context

    handler: Handler = load(command.handler)  # type: ignore[assignment]  # the table says what it names
    context = Context(host=outer.text("host"), debug=outer.truth("debug"), tls=_tls(outer))
    return handler(context, flags, rest)


def _tls(flags: Flags) -> TlsWishes:
    from sampan.cli.context import TlsWishes

    return TlsWishes(
        wanted=flags.truth("tls") or flags.truth("tlsverify"),
        verify=flags.truth("tlsverify"),
        ca=flags.text("tlscacert"),
        cert=flags.text("tlscert"),
        key=flags.text("tlskey"),
    )


def _check_count(command: Command, arguments: list[str]) -> None:
    count, most = len(arguments), command.most
    if command.least <= count and (most < 0 or count <= most):
        return
    if most == 0:
        wanted = "no arguments"
    elif most == command.least:
        wanted = f"exactly {most} argument{'s' if most > 1 else ''}"
    elif count < command.least:
        wanted = f"at least {command.least} argument{'s' if command.least > 1 else ''}"
    else:
        wanted = f"at most {most} argument{'s' if most > 1 else ''}"
    usage = f"usage: sampan {command.path} [OPTIONS] {command.arguments}".rstrip()
    raise UsageError(f"'sampan {command.path}' takes {wanted}, not {count}", hint=usage, code=1)


def _no_command(words: list[str]) -> int:
    nouns = [noun for noun, _ in NOUNS]
    if words[0] in nouns:
        if len(words) == 1 or words[1] in ("--help", "-h", "help"):
            from sampan.cli.help import show_noun

            return show_noun(words[0])
        unknown, shown = " ".join(words[:2]), words[1]
    else:
        unknown = shown = words[0]
    if shown in LATER or words[0] in LATER:
        hint = "see 'sampan help' for what is"
        raise Failed(f"{unknown!r} is not part of this version of sampan", hint=hint)
    if shown.startswith("-"):
        raise UsageError(f"unknown flag: {shown}", hint=f"see 'sampan {words[0]} --help'")
    from sampan.cli.commands import all_commands
    from sampan.cli.suggest import nearest

    known = [name for command in all_commands() for name in (command.path, *command.aliases)]
    found = nearest(unknown, [*known, *nouns])
    hint = f"did you mean 'sampan {found}'?" if found else "see 'sampan help'"
    raise Failed(f"unknown command: sampan {unknown}", hint=hint)


def _show_trace(error: BaseException) -> None:
    import traceback

    complain("".join(traceback.format_exception(error)).rstrip())
