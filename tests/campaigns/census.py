"""Everything a sampand and its containers may leave behind, in its folders and in its own processes.

Only what is this sampand's is counted, since others use the same kernel meanwhile. A session keyring has no
owner's name on it; it lives as long as a process that is counted here.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from tests.system.sampand import Sampand, wait_for

SPARES = 2  # shims that the launcher keeps ready, once its rehearsal is over
READY_NETSPACES = 6  # the most that sampand keeps (engine/networks/netspaces.py)


@dataclass(frozen=True)
class EngineCensus:
    """Names where they identify, numbers where only the count can be equal."""

    mounts: tuple[str, ...]  # of the daemon's mount namespace, those that name its folder
    cgroups: tuple[str, ...]
    run_folders: tuple[str, ...]
    container_folders: tuple[str, ...]
    layers: tuple[str, ...]
    temporary: tuple[str, ...]
    shims: int
    zombies: int
    daemon_fds: int
    launcher_fds: int
    namespaces: int  # distinct network, pid, mount, ipc, uts namespaces that its processes are in


def take(daemon: Sampand) -> EngineCensus:
    """Count now; the daemon must be running and idle. A launcher that still rehearses is waited for."""
    assert daemon.process is not None
    pid = daemon.process.pid
    launcher = next(child for child in _children(pid) if _comm(child) == "sampan-launcher")
    wait_for(lambda: _spares(launcher) == SPARES, "the end of the launcher's rehearsal")
    return EngineCensus(
        mounts=tuple(sorted(daemon.mounts())),
        cgroups=_cgroups(daemon),
        run_folders=_names(daemon.run / "containers"),
        container_folders=_names(daemon.data / "containers"),
        layers=_names(daemon.data / "layers"),
        temporary=_names(daemon.data / "tmp"),
        shims=sum(1 for child in _children(launcher) if _comm(child) == "sampan-shim"),
        zombies=len(zombies(daemon)),
        daemon_fds=_count_fds(pid),
        launcher_fds=len(os.listdir(f"/proc/{launcher}/fd")),
        namespaces=_namespaces(_ours(daemon)),
    )


def _count_fds(pid: int) -> int:
    """Count descriptors, but for the pool of network namespaces, which each have a socket, too."""
    links = [_link(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    pool = min(sum(link.startswith("net:") for link in links), READY_NETSPACES)
    return len(links) - 2 * pool


def descriptors(daemon: Sampand) -> dict[str, str]:
    """Return what the daemon's descriptors are, for a report: sockets with their state and their peers.

    Keyed by the link in /proc, which names a socket or a pipe by its inode.
    """
    assert daemon.process is not None
    pid = daemon.process.pid
    sockets = _sockets(pid)
    links = [_link(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    found = {link: sockets.get(link.removeprefix("socket:[").rstrip("]"), link) for link in links}
    for pair in zip(_starting("net:", found), _starting("socket:", found), strict=False):
        for link in pair:  # a namespace that stands ready, and the socket in it, which ss does not show
            del found[link]
    return found


def _starting(start: str, found: Mapping[str, str]) -> list[str]:
    return [link for link, text in found.items() if text.startswith(start)]


def more(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return what is there only afterwards, if there are more of its kind than before."""
    grown = Counter(map(_kind, after.values())) - Counter(map(_kind, before.values()))
    return [text for link, text in after.items() if link not in before and _kind(text) in grown]


def _kind(text: str) -> str:
    return re.sub(r"[0-9a-f]{12,64}|[0-9]+", "…", text.partition(" users:")[0])


def _sockets(pid: int) -> dict[str, str]:
    """Return what ss(8) says of the sockets in a process's network namespace, keyed by inode."""
    command = [
        "nsenter",
        f"--net=/proc/{pid}/ns/net",
        "--",
        "ss",
        "--all",
        "--processes",
        "--extended",
        "--no-header",
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found, peers = {}, {}
    for line in text.splitlines():
        fields = line.split()
        inode = re.search(r"\bino:([0-9]+)", line)
        if inode is not None:
            found[inode.group(1)] = " ".join(fields)
        elif fields[0].startswith("u_"):  # Netid State Recv-Q Send-Q path inode peer inode users
            found[fields[5]] = " ".join(fields)
            peers[fields[5]] = fields[7]
    lines = dict(found)
    for inode, peer in peers.items():
        found[inode] += f" peer: {lines.get(peer, 'none here')}"
    return found


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


def differences(before: EngineCensus, after: EngineCensus) -> list[str]:
    """Return one line for each field that changed."""
    changes = []
    for field in fields(EngineCensus):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old == new:
            continue
        if isinstance(old, tuple):
            changes += [f"{field.name}: new {item}" for item in sorted(set(new) - set(old))[:5]]
            changes += [f"{field.name}: gone {item}" for item in sorted(set(old) - set(new))[:5]]
        else:
            changes.append(f"{field.name}: {old} before, {new} after")
    return changes


def settle(daemon: Sampand, before: EngineCensus) -> None:
    """Return when the census is as before, or after some seconds."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and differences(before, take(daemon)):
        time.sleep(0.1)


def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(os.listdir(folder))) if folder.is_dir() else ()


def _cgroups(daemon: Sampand) -> tuple[str, ...]:
    parent = daemon.cgroup_parent.strip("/")
    found = [
        str(path)
        for tree in Path("/sys/fs/cgroup").iterdir()
        for path in (tree / parent).rglob("*")
        if path.is_dir()
    ]
    return tuple(sorted(found))


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _children(pid: int) -> list[int]:
    return [child for child in _processes() if _stat(child)[1:2] == [str(pid)]]


def zombies(daemon: Sampand) -> list[int]:
    """Return the processes of the daemon, its launcher and its shims that nobody has waited for."""
    return [pid for pid in _ours(daemon) if state(pid) == "Z"]


def _ours(daemon: Sampand) -> list[int]:
    """Return the daemon, its shims (those of a killed launcher are init's children), and all below them."""
    assert daemon.process is not None
    roots = {daemon.process.pid, *_shims(daemon)}
    return sorted({*roots, *(below for root in roots for below in descendants(root))})


def _shims(daemon: Sampand) -> list[int]:
    found = []
    for file in (daemon.run / "containers").glob("*/shim.pid"):
        try:
            found.append(int(file.read_text().split()[0]))
        except (OSError, IndexError):
            continue  # it has just gone
    return found


def descendants(pid: int) -> list[int]:
    """Return every process below pid."""
    found, queue = [], [pid]
    while queue:
        children = _children(queue.pop())
        found += children
        queue += children
    return found


def _spares(launcher: int) -> int:
    """Return how many spares wait, each with its worker."""
    return sum(1 for child in _children(launcher) if _comm(child) == "sampan-spare" and _children(child))


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def state(pid: int) -> str:
    return (_stat(pid) or ["?"])[0]


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _namespaces(pids: list[int]) -> int:
    found = set()
    for pid in pids:
        for kind in ("net", "pid", "mnt", "ipc", "uts"):
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                continue
    return len(found)
