"""Help pages, made from the table of commands. Lean."""

from __future__ import annotations

import sys

from sampan.cli.commands import COMMANDS, NOUNS, Command, all_commands, find_command
from sampan.cli.flags import REPEATED
from sampan.cli.outcome import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags, Group, Row

_FIRST = (  # what the first page shows: the commands one needs on the first day
    ("Run", ("run", "exec", "ps", "logs", "cp", "stop", "rm")),
    ("Containers", ("create", "start", "restart", "kill", "attach", "wait", "rename", "pause", "unpause",
                    "top", "port", "diff", "export", "commit")),
    ("Images", ("images", "image bootstrap", "load", "import", "save", "tag", "rmi", "history")),
    ("See", ("inspect", "explain run", "explain show", "events", "info", "version")),
    ("Daemon", ("system start", "system stop", "system status")),
    ("More", ("completion", "help")),
)  # fmt: skip

EXAMPLES: dict[str, tuple[str, ...]] = {
    "container run": (
        "sampan run --rm busybox echo hello",
        "sampan run -it --rm debian:bookworm-slim bash",
        "sampan run -d --name web -m 256m --cpus 0.5 -v ./site:/site:ro busybox httpd -f -h /site",
        "echo data | sampan run -i --rm busybox wc -c",
    ),
    "container exec": ("sampan exec -it web sh", "sampan exec web cat /etc/hosts"),
    "container ls": (
        "sampan ps -a",
        "sampan ps --filter status=exited --format '{{.Names}}: {{.Status}}'",
        "sampan rm $(sampan ps -aq)",
    ),
    "container logs": ("sampan logs -f --tail 20 web", "sampan logs --since 10m web"),
    "container stop": ("sampan stop -t 2 web",),
    "container kill": ("sampan kill -s HUP web",),
    "container start": ("sampan start -ai web",),
    "container cp": (
        "sampan cp web:/etc/hosts .",
        "sampan cp ./site/. web:/srv/site",
        "sampan cp web:/var/log - | tar t",
        "tar -c ./conf | sampan cp - web:/etc",
    ),
    "container export": ("sampan export -o root.tar web",),
    "container commit": ("sampan commit -m 'with tools' -c 'CMD [\"sh\"]' web mine:1",),
    "container top": ("sampan top web -o pid,args",),
    "inspect": (
        "sampan inspect web",
        "sampan inspect -f '{{.State.Status}} {{.State.Pid}}' web",
        "sampan inspect --anatomy web",
    ),
    "explain run": ("sampan explain run --memory 64m busybox true",),
    "explain show": ("sampan explain show web",),
    "image bootstrap": ("sampan image bootstrap busybox", "sampan image bootstrap debian:bookworm"),
    "image load": ("sampan load -i images.tar", "zcat images.tar.gz | sampan load"),
    "image import": ("tar -C rootfs -c . | sampan import - mine:latest",),
    "image save": ("sampan save -o images.tar busybox debian",),
    "image ls": ("sampan images", "sampan images --filter dangling=true -q"),
    "system events": ("sampan events --since 10m --filter type=container",),
    "system start": (
        "sampan system start",
        "sampan system start --data-root /srv/sampan --run-root /run/other",
    ),
    "completion": (
        "source <(sampan completion bash)",
        "sampan completion zsh > ~/.zfunc/_sampan",
        "sampan completion fish > ~/.config/fish/completions/sampan.fish",
    ),
}


def show_help(words: list[str]) -> int:
    """Print the first page, or the page of the command or noun that words name."""
    if not words:
        sys.stdout.write("\n".join(_first_page()) + "\n")
        return 0
    if len(words) == 1 and words[0] in [noun for noun, _ in NOUNS]:
        return show_noun(words[0])
    found = find_command(words)
    if found is None:
        raise Failed(f"there is no command {' '.join(words)!r}", hint="see 'sampan help'")
    return show_command(found[0])


def help_command(_context: Context, _flags: Flags, words: list[str]) -> int:
    """Do what `sampan help …` says."""
    return show_help(words)


def show_noun(noun: str) -> int:
    """Print the commands of one noun."""
    lines = [f"Usage: sampan {noun} COMMAND", "", dict(NOUNS)[noun], "", "Commands"]
    rows = [command for command in all_commands() if command.path.startswith(f"{noun} ")]
    lines += _columns((command.path.removeprefix(f"{noun} "), command.summary) for command in rows)
    lines += ["", f"'sampan {noun} COMMAND --help' says more about one."]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def show_command(command: Command) -> int:
    """Print the page of one command."""
    groups = [group for group in command.flag_groups() if group[1]]
    name = command.aliases[0] if command.aliases else command.path
    options = " [OPTIONS]" if groups else ""
    lines = [f"Usage: sampan {name}{options} {command.arguments}".rstrip(), "", command.summary]
    others = [path for path in (command.path, *command.aliases) if path != name]
    if others:
        lines += ["", "Also: " + ", ".join(f"sampan {path}" for path in others)]
    if command.path in EXAMPLES:
        lines += ["", "Examples", *(f"  {line}" for line in EXAMPLES[command.path])]
    for title, rows in groups:
        lines += ["", title, *_columns((_flag_text(row), row[3]) for row in rows)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _first_page() -> list[str]:
    from sampan.cli.main import GLOBAL_FLAGS

    summaries = {alias: row[-1] for row in COMMANDS for alias in (row[0], *row[1])}
    lines = ["Usage: sampan [GLOBAL OPTIONS] COMMAND", "", "Containers for the clients you already have."]
    for title, names in _FIRST:
        lines += ["", title, *_columns((name, summaries[name]) for name in names)]
    lines += ["", "Nouns", *_columns(NOUNS)]
    lines += _groups(GLOBAL_FLAGS)
    return [*lines, "", "'sampan COMMAND --help' says more about one; SAMPAN_HOST names another daemon."]


def _groups(groups: Iterable[Group]) -> list[str]:
    return [
        line for title, rows in groups for line in ["", title, *_columns((_flag_text(r), r[3]) for r in rows)]
    ]


def _flag_text(row: Row) -> str:
    name, letter, kind, _ = row
    shown = f"-{letter}, --{name}" if letter else f"    --{name}"
    return shown if kind == "bool" else f"{shown} {kind}{'…' if kind in REPEATED else ''}"


def _columns(pairs: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(pairs)
    width = max((len(left) for left, _ in rows), default=0) + 2
    return [f"  {left.ljust(width)}{right}".rstrip() for left, right in rows]
