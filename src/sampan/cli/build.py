"""`sampan build`: send a directory, show what is done. Lean; what reads the directory is loaded when used."""

from __future__ import annotations

import os
import sys

from sampan import fastjson
from sampan.cli.bars import Bars
from sampan.cli.build_output import Output, check_outputs, parse_output, write_outputs
from sampan.cli.outcome import Failed, UsageError
from sampan.cli.progress import read_documents
from sampan.cli.registry_auth import all_headers
from sampan.client.build_door import Inputs, begin_build
from sampan.lean import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.client.http import Response
    from sampan.fastjson import JsonValue

_PROGRESS = ("auto", "tty", "plain", "json", "rawjson", "quiet")
_TEXTS = (
    ("target", "target"),
    ("network", "networkmode"),
    ("platform", "platform"),
    ("cgroup-parent", "cgroupparent"),
    ("cpuset-cpus", "cpusetcpus"),
    ("cpuset-mems", "cpusetmems"),
)
_TRUTHS = (
    ("no-cache", "nocache"),
    ("pull", "pull"),
    ("squash", "squash"),
    ("check", "check"),
    ("explain-cache", "explain"),
)
_INPUTS = ("secret", "build-context", "ssh", "cache-from", "cache-to")
_SIZES = (("memory", "memory"), ("memory-swap", "memswap"), ("shm-size", "shmsize"))


def build(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Build an image of a Dockerfile and a directory."""
    source = arguments[0]
    outputs = [parse_output(text) for text in flags.items("output")]
    if flags.truth("push"):
        outputs.append(Output(kind="registry"))
    check_outputs(outputs, flags.items("tag"))
    # Standard output may be taken by an archive.
    shown = sys.stderr if any(one.dest == "-" for one in outputs) else sys.stdout
    progress = _progress(flags, shown)
    with Undo() as held:  # what the build needs of us while it runs
        inputs = Inputs(source, flags.text("file"))
        if source != "-" and not os.path.isdir(source) and not inputs.is_url:
            raise UsageError(f"unable to prepare context: path {source!r} is no directory", code=1)
        if any(flags.items(name) for name in _INPUTS):
            _add_inputs(flags, inputs, held)
        query = _query(flags, progress)
        response = begin_build(context.session(), query, inputs, headers=all_headers())
        try:
            result = _show(response, shown, progress, flags.items("tag"))
        except _BuildFailed as exc:
            if not exc.failed_step:
                raise
            from sampan.cli.build_debug import after_failure

            return after_failure(context, exc, exc.failed_step, opens=flags.truth("debug"))
    if flags.truth("check"):
        return 1 if result.findings else 0
    if flags.text("iidfile"):
        with open(flags.text("iidfile"), "w", encoding="utf-8") as out:
            out.write(result.image_id)
    write_outputs(context, result.image_id, outputs, flags.items("tag"))
    return 0


def _add_inputs(flags: Flags, inputs: Inputs, held: Undo) -> None:
    from sampan.cli.build_inputs import open_agents, place_of, read_cache_folders, read_contexts, read_secrets

    read_cache_folders(flags.items("cache-from"), flags.items("cache-to"), inputs, held)
    inputs.secrets = read_secrets(flags.items("secret"))
    for name, place in read_contexts(flags.items("build-context")).items():
        inputs.add_context(name, elsewhere=place_of(place), folder=place)
    agents = open_agents(flags.items("ssh"))
    held.add(agents.close)
    inputs.agents = agents.sockets


def _progress(flags: Flags, shown: TextIO) -> str:
    """Return how to show the build: one of _PROGRESS, but `auto`.

    Raises:
        UsageError: no such way, or not here.
    """
    progress = flags.text("progress") or os.environ.get("BUILDKIT_PROGRESS") or "auto"
    if progress not in _PROGRESS:
        raise UsageError(f"--progress {progress!r}: {', '.join(_PROGRESS[:-1])} or {_PROGRESS[-1]}")
    if flags.truth("quiet"):
        return "quiet"
    if flags.truth("check") or flags.truth("explain-cache"):  # these are text
        return "json" if progress == "json" else "plain"
    if progress == "tty" and not shown.isatty():
        raise UsageError(
            "--progress 'tty': the output is no terminal", hint="auto finds out by itself; plain is text"
        )
    if progress == "auto":
        return "tty" if shown.isatty() and os.environ.get("TERM") != "dumb" else "plain"
    return progress


def _query(flags: Flags, progress: str) -> list[tuple[str, str]]:
    from sampan.cli.values import parse_size

    query = [("rm", "1"), *(("t", tag) for tag in flags.items("tag"))]
    if progress == "quiet":
        query.append(("q", "1"))
    if progress in ("tty", "rawjson"):
        query.append(("graph", "1"))
    query += [(key, flags.text(name)) for name, key in _TEXTS if flags.text(name)]
    query += [(key, "1") for name, key in _TRUTHS if flags.truth(name)]
    query += [(key, str(parse_size(name, flags.text(name)))) for name, key in _SIZES if flags.text(name)]
    query += [("extrahosts", host) for host in flags.items("add-host")]
    query += [
        (key, fastjson.dumps(list(flags.items(name))))
        for name, key in (("cache-from", "cachefrom"), ("cache-to", "cacheto"))
        if flags.items(name)
    ]
    if stages := [name for text in flags.items("no-cache-filter") for name in text.split(",") if name]:
        query.append(("nocachefilter", fastjson.dumps([*stages])))
    if attests := _attestations(flags):
        query.append(("attest", fastjson.dumps(attests)))
    given = dict(_pair(text) for text in flags.items("build-arg"))
    if "SOURCE_DATE_EPOCH" in os.environ:
        given.setdefault("SOURCE_DATE_EPOCH", os.environ["SOURCE_DATE_EPOCH"])
    if given:
        query.append(("buildargs", fastjson.dumps(given)))
    labels = dict(text.partition("=")[::2] for text in flags.items("label"))
    if labels:
        query.append(("labels", fastjson.dumps(labels)))
    return query


def _attestations(flags: Flags) -> list[JsonValue]:
    """Return `--attest`, and the two short forms of it: `--sbom true`, `--provenance true|false|mode=max`."""
    found: list[JsonValue] = [*flags.items("attest")]
    for kind in ("provenance", "sbom"):
        value = flags.text(kind)
        if value.lower() in ("1", "t", "true"):
            found.append(f"type={kind}")
        elif value.lower() in ("0", "f", "false"):
            found.append(f"type={kind},disabled=true")
        elif value:
            found.append(f"type={kind},{value}")
    return found


def _pair(text: str) -> tuple[str, str | None]:
    """Return a build argument; a name alone takes the value from our own environment."""
    name, equals, value = text.partition("=")
    return name, value if equals else os.environ.get(name)


class _BuildFailed(Failed):
    """The stream's end. failed_step: the id of the step whose files are kept, "" for none."""

    def __init__(self, message: str, *, code: int, failed_step: str) -> None:
        super().__init__(message, code=code)
        self.failed_step = failed_step


class _Result:
    """What a build's stream comes to: the image's id, what `--check` has found, a failed step."""

    def __init__(self) -> None:
        self.image_id = ""
        self.findings = 0
        self._failed_step = ""
        self._error: _BuildFailed | None = None

    def take(self, document: dict[str, JsonValue]) -> None:
        """Take one object of the stream."""
        aux = document.get("aux")
        if isinstance(aux, dict):
            self.image_id = str(aux.get("ID") or self.image_id)
            findings = aux.get("Findings")
            self.findings = len(findings) if isinstance(findings, list) else 0
            self._failed_step = str(aux.get("Failed") or "")
        if "error" in document:
            detail = document.get("errorDetail")
            code = detail.get("code") if isinstance(detail, dict) else 1
            message = str(detail.get("message") if isinstance(detail, dict) else document["error"])
            code = code if isinstance(code, int) and 0 < code < 256 else 1
            self._error = _BuildFailed(message, code=code, failed_step=self._failed_step)

    def check(self) -> None:
        """Raise the error that was told, if there was one."""
        if self._error is not None:
            raise self._error


def _show(response: Response, shown: TextIO, progress: str, tags: Sequence[str]) -> _Result:
    """Show a build's stream and return what it comes to.

    Raises:
        Failed: the stream ends with an error; a command's code is ours.
    """
    if progress == "tty":
        return _show_live(response, shown, tags)
    result = _Result()
    with Bars(quiet=progress != "plain") as bars:
        for document in read_documents(response):
            result.take(document)
            graph = document.get("graph")
            if progress == "json":
                print(fastjson.dumps(document), file=shown, flush=True)
            elif isinstance(graph, dict):
                print(fastjson.dumps(graph), file=sys.stderr, flush=True)
            elif "status" in document:
                bars.show(document)
            elif "stream" in document and progress != "rawjson":
                text = str(document["stream"])
                result.image_id = text.strip() if progress == "quiet" else result.image_id
                shown.write(text)
                shown.flush()
            result.check()
    return result


def _show_live(response: Response, shown: TextIO, tags: Sequence[str]) -> _Result:
    from sampan.cli.build_live import LiveBuild

    result = _Result()
    with LiveBuild(shown) as live:
        for document in read_documents(response):
            result.take(document)
            graph = document.get("graph")
            if isinstance(graph, dict):
                live.take(graph)
            elif "stream" in document:
                live.say(str(document["stream"]))
            result.check()
    built = [f"Built {result.image_id}", live.summary()]
    print(*built, sep=": ", file=shown)
    for tag in tags:
        print(f"Tagged {tag}", file=shown)
    return result
