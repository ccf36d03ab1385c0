"""Shell completion: scripts that ask this command, and the answers, made from the table of commands. Lean.

The scripts call `sampan __complete WORD…`, the last word being the one under the cursor. The answer is one
candidate a line, `value<TAB>description`; the line `:files` alone asks the shell to offer file names.
"""

from __future__ import annotations

import sys

from sampan.cli.commands import COMMANDS, NOUNS, Command, find_command
from sampan.cli.flags import REPEATED
from sampan.cli.outcome import UsageError
from sampan.client.address import connect
from sampan.client.session import Session
from sampan.errors import SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags, Row
    from sampan.fastjson import JsonValue

FILES = ":files"

_BASH = """\
_sampan() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o default
        else
            COMPREPLY+=("${line%%$'\\t'*}")
        fi
    done < <(sampan __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "${COMP_WORDS[COMP_CWORD]}"
    fi
}
complete -F _sampan sampan
"""
_ZSH = """\
#compdef sampan
_sampan() {
    local -a found
    local line
    for line in ${(f)"$(sampan __complete ${words[2,CURRENT]} 2>/dev/null)"}; do
        if [[ $line == :files ]]; then
            _files
        else
            found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
        fi
    done
    _describe sampan found
}
if [[ $funcstack[1] == _sampan ]]; then
    _sampan "$@"
else
    compdef _sampan sampan
fi
"""
_FISH = """\
function __sampan_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (sampan __complete $words[2..-1] 2>/dev/null)
        if test $line = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c sampan -f -a '(__sampan_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_VALUES = {  # of flags that know their values
    "network": ("none", "host", "bridge"),
    "net": ("none", "host", "bridge"),
    "pull": ("always", "missing", "never"),
    "restart": ("no", "always", "unless-stopped", "on-failure"),
    "health-on-failure": ("none", "kill", "restart", "stop"),
    "cgroupns": ("host", "private"),
    "ipc": ("none", "private", "shareable", "host"),
    "pid": ("host",),
    "uts": ("host",),
    "type": ("container", "image"),
    "format": ("json", "table"),
    "attach": ("stdin", "stdout", "stderr"),
    "signal": ("TERM", "KILL", "HUP", "INT", "QUIT", "USR1", "USR2"),
    "log-driver": ("json-file", "local", "journald", "syslog", "none"),
}
_FILE_FLAGS = frozenset(
    ("cidfile", "env-file", "label-file", "input", "output", "volume", "data-root", "run-root")
)
_RUNNING_ONLY = frozenset(("exec", "stop", "kill", "attach", "pause", "top", "port", "show"))
_FIXED = {
    "bash|zsh|fish": ("bash", "zsh", "fish"),
    "busybox|debian[:SUITE]|hello": ("busybox", "debian", "hello"),
}


def completion(_context: Context, _flags: Flags, arguments: list[str]) -> int:
    """Write the script for one shell."""
    script = _SCRIPTS.get(arguments[0])
    if script is None:
        raise UsageError(f"there is no completion for {arguments[0]!r}", hint="bash, zsh or fish", code=1)
    sys.stdout.write(script)
    return 0


def complete(context: Context, words: list[str]) -> int:
    """Print the candidates for the last of words."""
    current = words[-1] if words else ""
    for value, text in _candidates(context, words[:-1], current):
        if value.startswith(current) or value == FILES:
            sys.stdout.write(f"{value}\t{text}\n" if text else f"{value}\n")
    return 0


def _candidates(context: Context, before: list[str], current: str) -> Iterator[tuple[str, str]]:
    found = find_command(before) if before else None
    if found is None:
        yield from _words(before)
        return
    command, used = found
    rows = [row for _, group in command.flag_groups() for row in group]
    arguments, open_flag = _split(rows, before[used:], interspersed=command.interspersed)
    if open_flag is not None:
        yield from _flag_values(open_flag)
    elif current.startswith("-") and (command.interspersed or not arguments):
        yield from ((f"--{row[0]}", row[3]) for row in rows)
        yield "--help", "Show help"
    else:
        yield from _argument_values(context, command, len(arguments))


def _words(before: list[str]) -> Iterator[tuple[str, str]]:
    """Yield nouns and short commands, or the verbs of a noun."""
    if not before:
        yield from NOUNS
    for row in COMMANDS:
        for path in (row[0], *row[1]):
            noun, space, verb = path.partition(" ")
            if not before and not space:
                yield path, row[-1]
            elif before == [noun] and space:
                yield verb, row[-1]


def _split(rows: list[Row], words: list[str], *, interspersed: bool) -> tuple[list[str], Row | None]:
    """Return the arguments so far, and the flag that the next word is the value of."""
    takes_value = {name: row for row in rows if row[2] != "bool" for name in _spellings(row)}
    arguments: list[str] = []
    open_flag: Row | None = None
    for word in words:
        if open_flag is not None:
            open_flag = None
        elif word in takes_value and (interspersed or not arguments):
            open_flag = takes_value[word]
        elif not word.startswith("-") or (arguments and not interspersed):
            arguments.append(word)
    return arguments, open_flag


def _spellings(row: Row) -> tuple[str, ...]:
    return (f"--{row[0]}", f"-{row[1]}") if row[1] else (f"--{row[0]}",)


def _flag_values(row: Row) -> Iterator[tuple[str, str]]:
    if row[0] in _FILE_FLAGS:
        yield FILES, ""
    elif row[0] in _VALUES and (row[2] in REPEATED or row[2] == "string"):
        yield from ((value, "") for value in _VALUES[row[0]])


def _argument_values(context: Context, command: Command, count: int) -> Iterator[tuple[str, str]]:
    arguments = command.arguments
    if arguments in _FIXED and not count:
        yield from ((value, "") for value in _FIXED[arguments])
    elif arguments.startswith(("CONTAINER", "NAME")) and (
        not count or "..." in arguments.partition("COMMAND")[0]
    ):
        yield from _containers(context, running=command.path.rpartition(" ")[2] in _RUNNING_ONLY)
        if arguments.startswith("NAME"):
            yield from _images(context)
    elif arguments.startswith(("IMAGE", "SOURCE", "[REPOSITORY")) and (
        not count or "[IMAGE...]" in arguments
    ):
        yield from _images(context)
    elif arguments.startswith(("VOLUME", "[VOLUME")) and (not count or "..." in arguments):
        yield from _volumes(context)
    elif (arguments.startswith("FILE") and not count) or "[FILE|-]" in arguments:
        yield FILES, ""


def _containers(context: Context, *, running: bool) -> Iterator[tuple[str, str]]:
    for item in _ask(context, "/containers/json", [] if running else [("all", "1")]):
        names = item.get("Names")
        for name in names if isinstance(names, list) else ():
            yield str(name).removeprefix("/"), str(item.get("Image"))


def _images(context: Context) -> Iterator[tuple[str, str]]:
    for item in _ask(context, "/images/json", []):
        tags = item.get("RepoTags")
        for tag in tags if isinstance(tags, list) else ():
            yield str(tag).removesuffix(":latest"), ""


def _volumes(context: Context) -> Iterator[tuple[str, str]]:
    """Yield the names of volumes."""
    found = _ask_any(context, "/volumes", [])
    items = found.get("Volumes") if isinstance(found, dict) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            yield str(item.get("Name")), str(item.get("Driver"))


def _ask_any(context: Context, path: str, query: list[tuple[str, str]]) -> JsonValue:
    """Return the answer; None when no daemon answers."""
    try:
        return Session(context.address, connector=connect).call("GET", path, query)
    except (SampanError, OSError):
        return None


def _ask(context: Context, path: str, query: list[tuple[str, str]]) -> list[dict[str, object]]:
    """Return a list of objects; nothing when no daemon answers: a TAB starts none."""
    found = _ask_any(context, path, query)
    return [{**item} for item in found if isinstance(item, dict)] if isinstance(found, list) else []
