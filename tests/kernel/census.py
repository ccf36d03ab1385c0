"""What a test may leave behind, counted: take a census before and after, and compare.

Others work on the same machine, so only what belongs to the test is counted: our own descriptors, our own
descendants, and the mounts that name the test's folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

from sampan.kernel.process import list_fds


@dataclass(frozen=True)
class Census:
    """Everything counted, in comparable form."""

    mounts: tuple[str, ...]  # lines of mountinfo that mention the marker
    fds: tuple[str, ...]  # "number → target"
    processes: tuple[int, ...]  # descendants, zombies included


def take_census(marker: str | Path) -> Census:
    """Count what is there now; marker is the test's own folder."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = tuple(line.strip() for line in file if str(marker) in line)
    return Census(mounts=mounts, fds=_descriptors(), processes=tuple(sorted(descendants(os.getpid()))))


def _descriptors() -> tuple[str, ...]:
    shown = []
    for fd in list_fds():
        try:
            shown.append(f"{fd} → {os.readlink(f'/proc/self/fd/{fd}')}")
        except FileNotFoundError:  # another thread (pytest-xdist) closed it
            continue
    return tuple(shown)


def descendants(pid: int) -> set[int]:
    """Return the pids of all processes below this one."""
    found: set[int] = set()
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return found
    for thread in threads:
        try:
            children = Path(f"/proc/{pid}/task/{thread}/children").read_text()
        except FileNotFoundError:
            continue
        for child in map(int, children.split()):
            found |= {child} | descendants(child)
    return found


def compare(before: Census, after: Census) -> list[str]:
    """Return one line for each thing that one census has and the other has not."""
    changes = []
    for field in fields(Census):
        old, new = set(getattr(before, field.name)), set(getattr(after, field.name))
        changes += [f"left behind ({field.name}): {item}" for item in sorted(new - old)]
        changes += [f"gone ({field.name}): {item}" for item in sorted(old - new)]
    return changes
