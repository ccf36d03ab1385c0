"""`registries.conf`: other places for images, mirrors, and names that are not to be pulled.

The file of podman and skopeo, version 2: `[[registry]]` with `prefix`, `location`, `insecure`, `blocked`,
`mirror-by-digest-only` and `[[registry.mirror]]`. Short names stay Docker's: `unqualified-search-registries`,
`[aliases]` and credential helpers are read over. Pushing is not redirected.
Source: containers-registries.conf(5).
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, replace
from typing import Final, Literal

import msgspec

from sampan.errors import Forbidden, InvalidArgument
from sampan.store.references import Reference, parse_reference

_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Located:
    """Where an image is to be looked for: the name it has there."""

    reference: Reference
    insecure: bool = False
    is_mirror: bool = False


class _Mirror(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="kebab"):
    location: str
    insecure: bool = False
    pull_from_mirror: Literal["", "all", "digest-only", "tag-only"] = ""


class _Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="kebab"):
    prefix: str = ""
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirror_by_digest_only: bool = False
    mirror: list[_Mirror] = []

    @property
    def start(self) -> str:
        return self.prefix or self.location


class _File(msgspec.Struct, frozen=True):
    registry: list[_Registry] = []
    registries: msgspec.UnsetType | object = msgspec.UNSET


class RegistriesConf:
    """The tables of one file. `RegistriesConf("")` has none."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._tables = _read(path) if path and os.path.exists(path) else []

    def locate(self, reference: Reference) -> list[Located]:
        """Return the places of an image for pulling, the primary one last.

        Raises:
            Forbidden: it is blocked.
        """
        table = self._table_of(reference)
        if table is None:
            return [Located(reference)]
        if table.blocked:
            raise Forbidden(
                f"registry {table.start} is blocked in {self._path}: cannot pull {reference.familiar}"
            )
        mirrors = [
            Located(self._moved(reference, table, mirror.location), mirror.insecure, is_mirror=True)
            for mirror in table.mirror
            if _is_asked(mirror, table, has_digest=reference.digest is not None)
        ]
        moved = self._moved(reference, table, table.location) if table.location else reference
        return [*mirrors, Located(moved, table.insecure)]

    def is_insecure(self, reference: Reference) -> bool:
        """Tell whether the registry that a name is pushed to may be spoken to without checked TLS."""
        table = self._table_of(reference)
        return table is not None and table.insecure

    def _table_of(self, reference: Reference) -> _Registry | None:
        """Return the table with the longest matching prefix."""
        found = [table for table in self._tables if _matches(table.start, reference)]
        return max(found, key=lambda table: len(table.start), default=None)

    def _moved(self, reference: Reference, table: _Registry, location: str) -> Reference:
        start = reference.domain if table.start.startswith("*.") else table.start
        rest = str(replace(reference, digest=None)).removeprefix(start)
        try:
            return replace(parse_reference(location.rstrip("/") + rest), digest=reference.digest)
        except InvalidArgument as exc:
            raise InvalidArgument(
                f"{self._path}: location {location!r} makes no name of {reference}"
            ) from exc


def _read(path: str) -> list[_Registry]:
    try:
        with open(path, "rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise InvalidArgument(f"cannot read {path}: {exc.strerror}") from exc
    try:
        if len(raw) > _MAX_BYTES:
            raise ValueError("it is larger than a mebibyte")
        document = msgspec.convert(tomllib.loads(raw.decode()), type=_File)
        if document.registries is not msgspec.UNSET:
            raise ValueError("version 1 ([registries.search] and the like) is not supported, [[registry]] is")
        for table in document.registry:
            _check(table)
        starts = [table.start for table in document.registry]
        for start in starts:
            if starts.count(start) > 1:
                raise ValueError(f"two [[registry]] tables are for {start!r}")
        return document.registry
    except (ValueError, msgspec.ValidationError) as exc:
        raise InvalidArgument(f"{path}: {exc}", hint="its keys are described in docs/registry.md") from exc


def _check(table: _Registry) -> None:
    if not table.start:
        raise ValueError("a [[registry]] has neither prefix nor location")
    if "*" in table.start.removeprefix("*.") or (table.start.startswith("*.") and "/" in table.start):
        raise ValueError(f"prefix {table.start!r}: a wildcard stands before a whole host only: *.example.com")
    if "://" in table.start or any("://" in mirror.location for mirror in table.mirror):
        raise ValueError(f"[[registry]] {table.start!r}: names have no https:// before them")
    if table.mirror_by_digest_only and any(mirror.pull_from_mirror for mirror in table.mirror):
        raise ValueError(f"{table.start!r}: mirror-by-digest-only and pull-from-mirror exclude each other")


def _matches(start: str, reference: Reference) -> bool:
    if start.startswith("*."):
        return reference.domain.endswith(start[1:])
    name = str(reference)
    return name.startswith(start) and (len(name) == len(start) or name[len(start)] in "/:@")


def _is_asked(mirror: _Mirror, table: _Registry, *, has_digest: bool) -> bool:
    kind = "digest-only" if table.mirror_by_digest_only else mirror.pull_from_mirror
    return kind in ("", "all") or kind == ("digest-only" if has_digest else "tag-only")
