"""Which unit of systemd a container's cgroup is: `slice:prefix:name`. Decides only. Lean (decision 0002).

Source: runc, docs/systemd.md; systemd.unit(5), systemd.slice(5).
"""

from __future__ import annotations

from sampan.errors import InvalidArgument
from sampan.kernel.cgroups.directory import clean_path
from sampan.lean import record

_SLICE = ".slice"
_MAX_NAME = 255  # systemd, src/basic/unit-def.h: UNIT_NAME_MAX - 1
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\\@")
DEFAULT_PREFIX = "sampan"


@record
class UnitPath:
    """A scope in a slice. below: a cgroup inside the scope, "" for the scope itself."""

    slice: str
    unit: str
    below: str

    @property
    def cgroup(self) -> str:
        """Return the path of the cgroup from where the manager's own tree begins."""
        parts = [expand_slice(self.slice), self.unit, self.below]
        return "/".join(part for part in parts if part)


def default_unit_path(id: str) -> str:
    """Return the path of a container whose bundle gives none."""
    return f":{DEFAULT_PREFIX}:{id}"


def parse_unit_path(text: str, *, default_slice: str) -> UnitPath:
    """Read `slice:prefix:name`, as runc does; an empty slice is default_slice, `/…` after it a path inside.

    Raises:
        InvalidArgument: it has another form, or systemd has no such slice or unit name.
    """
    unit_text, slash, below = text.partition("/")
    parts = unit_text.split(":")
    if len(parts) != 3 or not parts[2]:
        raise InvalidArgument(
            f"linux.cgroupsPath: {text!r} is not slice:prefix:name, which systemd's cgroups need",
            hint="write it as system.slice:sampan:NAME, or use --cgroup-manager cgroupfs",
        )
    slice, prefix, name = parts
    if name.endswith(_SLICE):
        raise InvalidArgument(
            f"linux.cgroupsPath: {name!r} would be a slice, and a slice holds no processes (systemd.slice(5))"
        )
    unit = f"{prefix}-{name}.scope"
    if len(unit) > _MAX_NAME or not _LETTERS.issuperset(unit):
        raise InvalidArgument(
            f"linux.cgroupsPath: {unit!r} cannot name a unit of systemd (letters, digits and :-_.\\@, "
            f"{_MAX_NAME} at most)"
        )
    expand_slice(slice or default_slice)
    return UnitPath(slice=slice or default_slice, unit=unit, below=clean_path(below) if slash else "")


def expand_slice(name: str) -> str:
    """Return where a slice's cgroup is: `a-b.slice` is `a.slice/a-b.slice`, `-.slice` is "".

    Raises:
        InvalidArgument: it is no name of a slice.
    """
    stem = name.removesuffix(_SLICE)
    if name == f"-{_SLICE}":
        return ""
    parts = stem.split("-")
    if not name.endswith(_SLICE) or "" in parts or not _LETTERS.issuperset(name) or len(name) > _MAX_NAME:
        raise InvalidArgument(f"linux.cgroupsPath: {name!r} is not a slice of systemd such as machine.slice")
    return "/".join(f"{'-'.join(parts[: count + 1])}{_SLICE}" for count in range(len(parts)))
