"""Which way a build goes: in place to a sampand of this machine, else with its context sent. Lean.

In place, the daemon opens the directory that we have open: nothing is read here. docs/api.md, "Builds".
"""

from __future__ import annotations

import binascii
import os

from sampan import fastjson
from sampan.errors import NotFound, Unsupported
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.client.http import Response
    from sampan.client.session import Session
    from sampan.fastjson import JsonValue

    Pairs = list[tuple[str, str]]

_OURS = "/sampan/v1/build"
_HOSTS = ("git@", "github.com/", "gitlab.com/", "bitbucket.org/")
_PIECE = 256 * 1024


@record
class Named:
    """A named context. elsewhere: ("Image" or "Url", which), None for a directory."""

    name: str
    elsewhere: tuple[str, str] | None
    folder: str

    @property
    def place(self) -> dict[str, JsonValue]:
        """How the daemon is told; nothing for a directory."""
        return {self.elsewhere[0]: self.elsewhere[1]} if self.elsewhere is not None else {}


class Inputs:
    """What a build reads. source: a directory, a URL, or `-` (standard input); file: the Dockerfile.

    secrets: by id. agents: sockets of SSH agents, by id. caches: directories of caches.
    """

    def __init__(self, source: str, file: str) -> None:
        self.source = source
        self.file = file
        self.secrets: dict[str, bytes] = {}
        self.agents: dict[str, str] = {}
        self.contexts: list[Named] = []
        self.caches: list[str] = []

    def add_context(self, name: str, *, elsewhere: tuple[str, str] | None, folder: str) -> None:
        """Add a named context: ("Image" or "Url", which), or a directory."""
        self.contexts.append(Named(name=name, elsewhere=elsewhere, folder=folder))

    @property
    def is_url(self) -> bool:
        """Whether the daemon is to fetch the context."""
        return self.source.partition(":")[0] in ("http", "https", "git", "ssh") or (
            not os.path.isdir(self.source) and self.source.startswith(_HOSTS)
        )

    @property
    def needs_sampan(self) -> bool:
        """Whether only sampand's own door can take them."""
        return bool(self.secrets or self.agents or self.contexts or self.caches)


def begin_build(session: Session, query: Pairs, inputs: Inputs, *, headers: Pairs) -> Response:
    """Send a build; return the answer, whose body is its stream.

    Raises:
        SampanError: the Dockerfile is wrong, or the daemon cannot do what is asked for.
    """
    if inputs.is_url and not inputs.needs_sampan:
        query = [*query, ("remote", inputs.source), ("dockerfile", inputs.file or "Dockerfile")]
        return session.open("POST", "/build", query, headers=headers, patient=True)
    if session.address.kind == "unix" and inputs.source != "-":
        try:
            return _in_place(session, query, inputs, headers)
        except NotFound as exc:
            if "page not found" not in str(exc):
                raise
        except Unsupported as exc:
            if not str(exc).startswith("the client"):
                raise
    return _send_all(session, query, inputs, headers)


def _in_place(session: Session, query: Pairs, inputs: Inputs, headers: Pairs) -> Response:
    opened: list[int] = []
    try:
        if inputs.is_url:
            dockerfile, document = inputs.file or "Dockerfile", None
            place: dict[str, JsonValue] = {"Url": inputs.source}
        else:
            dockerfile, document = _dockerfile(inputs)
            place = {"Descriptor": _open(inputs.source, opened)}
        wanted = _describe(inputs, document)
        wanted["Context"] = place
        wanted["Contexts"] = {
            one.name: one.place or {"Descriptor": _open(one.folder, opened)} for one in inputs.contexts
        }
        wanted["Caches"] = {one: {"Descriptor": _open(one, opened)} for one in inputs.caches}
        query = [*query, ("dockerfile", dockerfile)]
        return session.open("POST", _OURS, query, body=wanted, headers=headers, patient=True)
    finally:  # sampand has opened them when it answers
        for fd in opened:
            os.close(fd)


def _open(folder: str, opened: list[int]) -> int:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    opened.append(fd)
    return fd


def _describe(inputs: Inputs, document: bytes | None) -> dict[str, JsonValue]:
    secrets: dict[str, JsonValue] = {name: _base64(value) for name, value in inputs.secrets.items()}
    wanted: dict[str, JsonValue] = {"Secrets": secrets, "Agents": {**inputs.agents}}
    if document is not None:
        wanted["Document"] = _base64(document)
    return wanted


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _dockerfile(inputs: Inputs) -> tuple[str, bytes | None]:
    if not inputs.file and os.path.exists(f"{inputs.source}/Dockerfile"):
        return "Dockerfile", None
    from sampan.client.build_context import find_dockerfile

    return find_dockerfile(inputs.source, inputs.file)


def _send_all(session: Session, query: Pairs, inputs: Inputs, headers: Pairs) -> Response:
    from sampan.client.build_context import send_directory

    if inputs.caches:
        raise Unsupported(
            "a cache of type=local needs a sampand on this machine, and the context as a directory",
            hint="use type=registry",
        )
    if inputs.is_url:
        raise Unsupported("a URL with secrets, agents or named contexts needs a sampand on this machine")
    if inputs.source == "-":
        dockerfile, chunks = inputs.file or "Dockerfile", _from_input(inputs.file)
    else:
        dockerfile, extra = _dockerfile(inputs)
        chunks = send_directory(inputs.source, dockerfile, extra)
    query = [*query, ("dockerfile", dockerfile)]
    if not inputs.needs_sampan:
        sent = [("Content-Type", "application/x-tar"), *headers]
        return session.open("POST", "/build", query, chunks=chunks, headers=sent, patient=True)
    from sampan.build.parts import MEDIA_TYPE, join_parts

    wanted = _describe(inputs, None)
    wanted["Contexts"] = {one.name: one.place for one in inputs.contexts}
    folders = [send_directory(one.folder, "", None) for one in inputs.contexts if not one.place]
    parts = join_parts([[fastjson.dumps(wanted).encode()], chunks, *folders])
    sent = [("Content-Type", MEDIA_TYPE), *headers]
    try:
        return session.open("POST", _OURS, query, chunks=parts, headers=sent, patient=True)
    except NotFound as exc:
        if "page not found" not in str(exc):
            raise
        raise Unsupported("secrets, SSH agents and named contexts need a sampand") from exc


def _from_input(file: str) -> Iterator[bytes]:
    """Return standard input as the context: an archive, or a Dockerfile alone."""
    first = os.read(0, 1 << 16)
    while first and len(first) < 512 and (more := os.read(0, 1 << 16)):
        first += more
    is_compressed = first[:2] == b"\x1f\x8b" or first[:4] in (b"\x28\xb5\x2f\xfd", b"\xfd7zX")
    if is_compressed or first[257:262] == b"ustar":
        return _pieces_after(first)
    from sampan.client.build_context import send_dockerfile

    return send_dockerfile(file or "Dockerfile", b"".join(_pieces_after(first)))


def _pieces_after(first: bytes) -> Iterator[bytes]:
    yield first
    while piece := os.read(0, _PIECE):
        yield piece
