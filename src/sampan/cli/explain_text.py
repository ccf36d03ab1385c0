"""The tree of `sampan explain run`: what was done to start a container, plank by plank. Lean."""

from __future__ import annotations

from sampan.cli.tree import Branch, shorten_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sampan.fastjson import JsonValue

_PLANKS = (
    ("process", "process", "one clone(2) makes the process together with its namespaces"),
    ("sees", "what it sees", "namespaces and mounts: its own view of the machine"),
    (
        "may",
        "what it may use",
        "cgroups, capabilities, seccomp: how much, and which powers",
    ),
    ("is", "what it is", "the image's layers, joined to one root file system"),
)
# What a step means, by a part of its text; the first that matches counts.
_NOTES = (
    ("new namespaces", "each kind is a view that it shares with nobody"),
    ("session keyring", "keys of the host stay out of reach"),
    ("loopback", "a new network has only lo, and that is down"),
    ("mount proc at", "shows only the processes of its pid namespace"),
    ("tmpfs at /dev ", "an empty /dev; harmless devices are made in it"),
    ("devpts", "terminals of its own"),
    ("sysfs", "facts about devices, read-only"),
    ("tmpfs at /sys/fs/cgroup", "a place for what follows"),
    ("/sys/fs/cgroup", "its own limits, to look at"),
    ("mqueue", "POSIX message queues of its ipc namespace"),
    ("shm", "shared memory between its processes"),
    ("at /etc/resolv.conf", "name servers, chosen by sampan"),
    ("at /etc/hostname", "its name"),
    ("at /etc/hosts", "its name and address"),
    ("pivot_root", "the image becomes /; the host's files are gone"),
    ("chroot", "the image becomes /"),
    ("hostname", "in its uts namespace only"),
    ("masked paths", "parts of /proc and /sys that tell about the host"),
    ("read-only paths", "parts of /proc that would set the host's kernel"),
    ("device nodes", "null, zero, full, random, urandom, tty"),
    ("sysctls", "kernel settings of its own namespaces"),
    ("resource limits", "for each process: open files and the like"),
    ("seccomp", "system calls that no container needs are refused"),
    ("capabilities", "what is left of root's powers"),
    ("user ", "whom it runs as"),
    ("bind ", "a path of the host, shown inside"),
    ("mount tmpfs", "a file system in memory"),
    ("overlay", "layers below are read-only; changes go to one on top"),
)


def explain_tree(steps: JsonValue, name: str) -> Branch:
    """Return the tree for the steps of a start, in the order of `_PLANKS` and within one in that of time."""
    rows = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    planks = []
    for key, title, note in _PLANKS:
        own = [row for row in rows if row.get("plank") == key]
        if own:
            heading = f"{title} ({_time(_total(own))})"
            planks.append(Branch(heading, note, [_step(row) for row in own], heading=True))
    return Branch(f"{name}: {len(rows)} steps, {_time(_total(rows))}", children=planks, heading=True)


def _step(row: dict[str, JsonValue]) -> Branch:
    text = str(row.get("text"))
    if text.startswith("cgroup "):
        return _cgroup(text, _total([row]))
    note = next((note for part, note in _NOTES if part in text), "")
    return Branch(f"{_time(_total([row])):>7}  {shorten_ids(text)}", note)


def _cgroup(text: str, microseconds: int) -> Branch:
    """Return the cgroup's step with one branch for each tree and one for each limit."""
    places, _, limits = text.removeprefix("cgroup ").partition(": ")
    paths = [shorten_ids(path) for path in places.split(", ")]
    branches = [Branch(limit) for limit in limits.split(", ") if limit]
    branches += [Branch(path) for path in paths]
    note = "counts and limits all its processes together"
    return Branch(f"{_time(microseconds):>7}  cgroup in {len(paths)} trees", note, branches)


def _total(rows: Iterable[dict[str, JsonValue]]) -> int:
    times = (row.get("microseconds") for row in rows)
    return sum(value for value in times if isinstance(value, int))


def _time(microseconds: int) -> str:
    return f"{microseconds} µs" if microseconds < 10_000 else f"{microseconds / 1000:.1f} ms"
