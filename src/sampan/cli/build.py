"""`sampan build`: send a directory, show what is done. Lean; what reads the directory is loaded when used."""

from __future__ import annotations

import os
import sys

from sampan import fastjson
from sampan.cli.bars import Bars
from sampan.cli.images import read_pieces
from sampan.cli.outcome import Failed, UsageError
from sampan.cli.progress import read_documents
from sampan.cli.registry_auth import all_headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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
_TRUTHS = (("no-cache", "nocache"), ("pull", "pull"), ("quiet", "q"), ("explain-cache", "explain"))
_SIZES = (("memory", "memory"), ("memory-swap", "memswap"), ("shm-size", "shmsize"))


def build(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Build an image of a Dockerfile and a directory."""
    source, file = arguments[0], flags.text("file")
    progress = flags.text("progress", "auto")
    if progress not in ("auto", "plain", "json"):
        raise UsageError(f"--progress {progress!r}: auto, plain or json")
    query = _query(flags)
    if source == "-":
        chunks = _from_input(file)
        dockerfile = file or "Dockerfile"
    else:
        if not os.path.isdir(source):
            raise UsageError(f"unable to prepare context: path {source!r} is no directory", code=1)
        from sampan.client.build_context import find_dockerfile, send_directory

        dockerfile, extra = find_dockerfile(source, file)
        chunks = send_directory(source, dockerfile, extra)
    query.append(("dockerfile", dockerfile))
    headers = [("Content-Type", "application/x-tar"), *all_headers()]
    response = context.session().open("POST", "/build", query, chunks=chunks, headers=headers, patient=True)
    image_id = _show(response, quiet=flags.truth("quiet"), as_json=progress == "json")
    if flags.text("iidfile"):
        with open(flags.text("iidfile"), "w", encoding="utf-8") as out:
            out.write(image_id)
    return 0


def _query(flags: Flags) -> list[tuple[str, str]]:
    from sampan.cli.values import parse_size

    query = [("rm", "1"), *(("t", tag) for tag in flags.items("tag"))]
    query += [(key, flags.text(name)) for name, key in _TEXTS if flags.text(name)]
    query += [(key, "1") for name, key in _TRUTHS if flags.truth(name)]
    query += [(key, str(parse_size(name, flags.text(name)))) for name, key in _SIZES if flags.text(name)]
    query += [("extrahosts", host) for host in flags.items("add-host")]
    given = dict(_pair(text) for text in flags.items("build-arg"))
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


def _from_input(file: str) -> Iterator[bytes]:
    """Return standard input as the context: an archive, or a Dockerfile alone."""
    first = os.read(0, 1 << 16)
    while first and len(first) < 512 and (more := os.read(0, 1 << 16)):
        first += more
    is_compressed = first[:2] == b"\x1f\x8b" or first[:4] in (b"\x28\xb5\x2f\xfd", b"\xfd7zX")
    if is_compressed or first[257:262] == b"ustar":
        return _joined(first, read_pieces(0))
    from sampan.client.build_context import send_dockerfile

    rest = b"".join(read_pieces(0))
    return send_dockerfile(file or "Dockerfile", first + rest)


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _show(response: Response, *, quiet: bool, as_json: bool) -> str:
    """Print a build's stream and return the image's id.

    Raises:
        Failed: the stream ends with an error; a command's code is ours.
    """
    with Bars(quiet=quiet or as_json) as bars:
        return _read(response, bars, quiet=quiet, as_json=as_json)


def _read(response: Response, bars: Bars, *, quiet: bool, as_json: bool) -> str:
    image_id = ""
    for document in read_documents(response):
        aux = document.get("aux")
        if isinstance(aux, dict):
            image_id = str(aux.get("ID") or image_id)
        if as_json:
            print(fastjson.dumps(document), flush=True)
        elif "status" in document:
            if not quiet:
                bars.show(document)
        elif "stream" in document:
            text = str(document["stream"])
            image_id = text.strip() if quiet else image_id
            sys.stdout.write(text)
            sys.stdout.flush()
        if "error" in document:
            detail = document.get("errorDetail")
            code = detail.get("code") if isinstance(detail, dict) else 1
            message = str(detail.get("message") if isinstance(detail, dict) else document["error"])
            raise Failed(message, code=code if isinstance(code, int) and 0 < code < 256 else 1)
    return image_id
