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
    from typing import TextIO

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.client.http import Response

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
    ("quiet", "q"),
    ("explain-cache", "explain"),
)
_INPUTS = ("secret", "build-context", "ssh", "cache-from", "cache-to")
_SIZES = (("memory", "memory"), ("memory-swap", "memswap"), ("shm-size", "shmsize"))


def build(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Build an image of a Dockerfile and a directory."""
    source = arguments[0]
    progress = flags.text("progress", "auto")
    if progress not in ("auto", "plain", "json"):
        raise UsageError(f"--progress {progress!r}: auto, plain or json")
    outputs = [parse_output(text) for text in flags.items("output")]
    if flags.truth("push"):
        outputs.append(Output(kind="registry"))
    check_outputs(outputs, flags.items("tag"))
    # Standard output may be taken by an archive.
    shown = sys.stderr if any(one.dest == "-" for one in outputs) else sys.stdout
    with Undo() as held:  # what the build needs of us while it runs
        inputs = Inputs(source, flags.text("file"))
        if source != "-" and not os.path.isdir(source) and not inputs.is_url:
            raise UsageError(f"unable to prepare context: path {source!r} is no directory", code=1)
        if any(flags.items(name) for name in _INPUTS):
            _add_inputs(flags, inputs, held)
        response = begin_build(context.session(), _query(flags), inputs, headers=all_headers())
        result = _show(response, shown, quiet=flags.truth("quiet"), as_json=progress == "json")
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


def _query(flags: Flags) -> list[tuple[str, str]]:
    from sampan.cli.values import parse_size

    query = [("rm", "1"), *(("t", tag) for tag in flags.items("tag"))]
    query += [(key, flags.text(name)) for name, key in _TEXTS if flags.text(name)]
    query += [(key, "1") for name, key in _TRUTHS if flags.truth(name)]
    query += [(key, str(parse_size(name, flags.text(name)))) for name, key in _SIZES if flags.text(name)]
    query += [("extrahosts", host) for host in flags.items("add-host")]
    query += [
        (key, fastjson.dumps(list(flags.items(name))))
        for name, key in (("cache-from", "cachefrom"), ("cache-to", "cacheto"))
        if flags.items(name)
    ]
    given = dict(_pair(text) for text in flags.items("build-arg"))
    if "SOURCE_DATE_EPOCH" in os.environ:
        given.setdefault("SOURCE_DATE_EPOCH", os.environ["SOURCE_DATE_EPOCH"])
    if given:
        query.append(("buildargs", fastjson.dumps(given)))
    labels = dict(text.partition("=")[::2] for text in flags.items("label"))
    if labels:
        query.append(("labels", fastjson.dumps(labels)))
    return query


def _pair(text: str) -> tuple[str, str | None]:
    """Return a build argument; a name alone takes the value from our own environment."""
    name, equals, value = text.partition("=")
    return name, value if equals else os.environ.get(name)


class _Result:
    """What a build's stream comes to: the image's id, and how much `--check` has found."""

    def __init__(self) -> None:
        self.image_id = ""
        self.findings = 0


def _show(response: Response, shown: TextIO, *, quiet: bool, as_json: bool) -> _Result:
    """Print a build's stream and return what it comes to.

    Raises:
        Failed: the stream ends with an error; a command's code is ours.
    """
    with Bars(quiet=quiet or as_json) as bars:
        return _read(response, bars, shown, quiet=quiet, as_json=as_json)


def _read(response: Response, bars: Bars, shown: TextIO, *, quiet: bool, as_json: bool) -> _Result:
    result = _Result()
    for document in read_documents(response):
        aux = document.get("aux")
        if isinstance(aux, dict):
            result.image_id = str(aux.get("ID") or result.image_id)
            findings = aux.get("Findings")
            result.findings = len(findings) if isinstance(findings, list) else 0
        if as_json:
            print(fastjson.dumps(document), file=shown, flush=True)
        elif "status" in document:
            if not quiet:
                bars.show(document)
        elif "stream" in document:
            text = str(document["stream"])
            result.image_id = text.strip() if quiet else result.image_id
            shown.write(text)
            shown.flush()
        if "error" in document:
            detail = document.get("errorDetail")
            code = detail.get("code") if isinstance(detail, dict) else 1
            message = str(detail.get("message") if isinstance(detail, dict) else document["error"])
            raise Failed(message, code=code if isinstance(code, int) and 0 < code < 256 else 1)
    return result
