"""What a daemon tells about its objects, as values."""

from __future__ import annotations

import base64
import binascii
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sampan import fastjson
from sampan.errors import InvalidArgument, SampanError

if TYPE_CHECKING:
    from sampan.fastjson import JsonValue

    Document = dict[str, JsonValue]
else:  # the alias of JSON values exists for type checkers only
    Document = dict

# Go's io/fs.FileMode: its own bits for the type, the nine permission bits as in Unix.
_GO_TYPES: Final = (
    (1 << 31, stat.S_IFDIR),
    (1 << 27, stat.S_IFLNK),
    (1 << 26 | 1 << 21, stat.S_IFCHR),
    (1 << 26, stat.S_IFBLK),
    (1 << 25, stat.S_IFIFO),
    (1 << 24, stat.S_IFSOCK),
)
_GO_BITS: Final = ((1 << 23, stat.S_ISUID), (1 << 22, stat.S_ISGID), (1 << 20, stat.S_ISVTX))
_CHANGES: Final = ("modified", "added", "deleted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a process ended: its code (128 + n after signal n), and what it wrote."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a prune removed. deleted: ids, for volumes names, for images names and digests."""

    deleted: tuple[str, ...]
    reclaimed_bytes: int

    @classmethod
    def read(cls, answer: Document, field: str) -> Pruned:
        """Take the answer of a prune apart; field: where it lists what was removed."""
        items = answer.get(field)
        names: list[str] = []
        for item in items if isinstance(items, list) else ():
            names += [str(text) for text in item.values()] if isinstance(item, dict) else [str(item)]
        return cls(deleted=tuple(names), reclaimed_bytes=whole(answer.get("SpaceReclaimed")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A path of a container that differs from its image. kind: "modified", "added" or "deleted"."""

    kind: str
    path: str

    @classmethod
    def read(cls, item: Document) -> Change:
        """Take one item of `/changes`."""
        return cls(kind=_CHANGES[whole(item.get("Kind"))], path=str(item.get("Path")))


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStat:
    """A path inside a container. mode: as in stat(2); link_target: where a link leads, all links followed."""

    name: str
    size_bytes: int
    mode: int
    modified: str
    link_target: str

    @classmethod
    def read(cls, header: str) -> PathStat:
        """Take the header `X-Docker-Container-Path-Stat`.

        Raises:
            SampanError: it is missing or no such thing.
        """
        try:
            found = fastjson.loads(base64.b64decode(header, validate=True))
        except (binascii.Error, InvalidArgument) as exc:
            raise SampanError(f"the daemon described a path as {header[:80]!r}") from exc
        document = as_document(found)
        return cls(
            name=str(document.get("name")),
            size_bytes=whole(document.get("size")),
            mode=_unix_mode(whole(document.get("mode"))),
            modified=str(document.get("mtime")),
            link_target=str(document.get("linkTarget") or ""),
        )


def _unix_mode(go_mode: int) -> int:
    kind = next((unix for go, unix in _GO_TYPES if go_mode & go == go), stat.S_IFREG)
    return (go_mode & 0o777) | kind | sum(unix for go, unix in _GO_BITS if go_mode & go)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to an object. attributes: its labels and what the daemon adds."""

    type: str  # container image volume network daemon …
    action: str  # create start die … ; `exec_create: sh` carries the command
    id: str
    attributes: Mapping[str, str]
    time_ns: int

    @classmethod
    def read(cls, item: Document) -> Event:
        """Take one object of `/events`."""
        actor = as_document(item.get("Actor"))
        return cls(
            type=str(item.get("Type")),
            action=str(item.get("Action")),
            id=str(actor.get("ID")),
            attributes=texts(actor.get("Attributes")),
            time_ns=whole(item.get("timeNano")),
        )


def as_document(value: JsonValue) -> Document:
    """Return value, which the API promises to be an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_documents(value: JsonValue) -> list[Document]:
    """Return the objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: JsonValue) -> dict[str, str]:
    """Return an object of texts, such as labels."""
    return {key: str(text) for key, text in as_document(value).items()}


def whole(value: JsonValue) -> int:
    """Return a number that the API promises to be whole; 0 for anything else."""
    return value if isinstance(value, int) else 0
