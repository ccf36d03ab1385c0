"""The few forms in which cgroup files show numbers. Lean (decision 0002)."""

from __future__ import annotations

import os

from sampan.kernel.cgroups.limits import MAX_UINT64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.fastjson import JsonValue
    from sampan.kernel.cgroups.directory import Directory

    JsonObject = dict[str, JsonValue]


def number(text: str | None) -> int:
    """Return one number; "max" is the largest unsigned one, as runc shows it; nothing is 0."""
    text = (text or "").strip()
    if text == "max":
        return MAX_UINT64
    return int(text or 0)


def keyed(text: str | None) -> dict[str, int]:
    """Return the numbers of a file of `key value` lines."""
    found: dict[str, int] = {}
    for line in (text or "").splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            found[key] = int(value)
    return found


def numbers(text: str | None) -> list[int]:
    """Return the numbers of one line; empty when there is none or it is not numbers."""
    parts = (text or "").split()
    return [int(part) for part in parts] if all(part.isdigit() for part in parts) else []


def listed(text: str | None) -> list[int]:
    """Return the members of a list as `0-3,7`."""
    found: list[int] = []
    for part in (text or "").strip().split(","):
        if part:
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    return found


def huge_page_sizes(directory: Directory, suffix: str) -> list[str]:
    """Return the sizes, as 2MB, for which a cgroup has a `hugetlb.<size>.<suffix>` file."""
    names = os.listdir(directory.fd)
    return sorted(
        name[8 : -len(suffix) - 1]
        for name in names
        if name.startswith("hugetlb.")
        and name.endswith(f".{suffix}")
        and name.count(".") == 2 + suffix.count(".")
    )
