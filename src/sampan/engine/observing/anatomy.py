"""Anatomy: a running container read back from the kernel, sorted by the three planks.

Nothing here comes from what we asked for: it is what /proc and the cgroup files say now.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Final

from sampan.engine.bundle.plan import Document
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.errors import Conflict
from sampan.kernel import capabilities
from sampan.kernel.mountinfo import read_mountinfo
from sampan.kernel.namespaces import namespace_id
from sampan.kernel.process import read_status

_NAMESPACES: Final = ("mnt", "pid", "net", "uts", "ipc", "cgroup", "user", "time")
_SECCOMP: Final = {"0": "off", "1": "strict", "2": "filter"}
# Shown of a cgroup, where the file is there: limits and what is used (v1 names, then v2).
_CGROUP_FILES: Final = (
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.usage_in_bytes",
    "cpu.shares",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpuset.cpus",
    "cpuset.mems",
    "pids.max",
    "pids.current",
    "devices.list",
    "freezer.state",
    "memory.max",
    "memory.swap.max",
    "memory.current",
    "cpu.weight",
    "cpu.max",
    "io.weight",
)

# EINVAL is what the mount table of a zombie answers (proc(5), fs/proc_namespace.c); ENODEV: a removed cgroup.
_GONE: Final = (errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.ENODEV)


def read_anatomy(core: Core, container: Container) -> Document:
    """See `Containers.anatomy`: keys `sees`, `may_use`, `is`, `processes`.

    Raises:
        Conflict: it does not run.
    """
    state = container.state
    if not container.running:
        raise Conflict(f"container {container.id} is not running")
    try:
        return {
            "id": container.id,
            "name": container.record.name,
            "pid": state.pid,
            "sees": _sees(state.pid),
            "may_use": _may_use(core, container, state.pid),
            "is": _is(state.pid, init=container.record.host.Init is True),
            "processes": _processes(core, container),
        }
    except OSError as exc:
        if exc.errno not in _GONE:
            raise
        raise Conflict(f"container {container.id} has just ended") from exc


def _sees(pid: int) -> Document:
    """What is its own and what the host's: namespaces, and the mounts it can reach."""
    spaces: Document = {}
    for kind in _NAMESPACES:
        try:
            own, host = namespace_id(pid, kind), namespace_id("self", kind)
        except FileNotFoundError:
            continue  # a kernel without this kind
        spaces[kind] = {"inode": own, "of": "host" if own == host else "container"}
    mounts: list[Document] = [
        {
            "on": mount.mount_point,
            "type": mount.fstype,
            "source": mount.source,
            "options": ",".join(sorted({*mount.options, *mount.super_options})),
        }
        for mount in read_mountinfo(pid)
    ]
    return {"namespaces": spaces, "mounts": mounts, "hostname": _environment(pid).get("HOSTNAME", "")}


def _may_use(core: Core, container: Container, pid: int) -> Document:
    """Limits and rights: cgroups, capabilities, seccomp, rlimits."""
    status = read_status(pid)
    sets = {
        name: _capability_names(status[key])
        for name, key in (
            ("bounding", "CapBnd"),
            ("permitted", "CapPrm"),
            ("effective", "CapEff"),
            ("inheritable", "CapInh"),
            ("ambient", "CapAmb"),
        )
    }
    return {
        "cgroups": _cgroups(core, container),
        "capabilities": sets,
        "seccomp": {
            "mode": _SECCOMP.get(status.get("Seccomp", "0"), "?"),
            "filters": int(status.get("Seccomp_filters", "0")),
        },
        "no_new_privileges": status.get("NoNewPrivs") == "1",
        "limits": _limits(pid),
        "oom_score_adj": int(_read(f"/proc/{pid}/oom_score_adj")),
    }


def _is(pid: int, *, init: bool) -> Document:
    """The program: what runs, as whom, on which root. With `--init` its process 1 is a part of us."""
    status = read_status(pid)
    root = next((mount for mount in read_mountinfo(pid) if mount.mount_point == "/"), None)
    return {
        "command": _read(f"/proc/{pid}/cmdline").rstrip("\0").split("\0"),
        "executable": "sampan-init" if init else _link(f"/proc/{pid}/exe"),
        "working_directory": _link(f"/proc/{pid}/cwd"),
        "uid": int(status["Uid"].split()[1]),
        "gid": int(status["Gid"].split()[1]),
        "groups": [int(group) for group in status["Groups"].split()],
        "umask": status.get("Umask", ""),
        "root": {"type": root.fstype, "options": list(root.super_options)} if root is not None else {},
    }


def _cgroups(core: Core, container: Container) -> Document:
    manager = core.cgroup(container)
    try:
        paths = manager.paths()
    finally:
        manager.close()
    return {
        controllers or "unified": {"path": path, **_cgroup_values(path)}
        for controllers, path in sorted(paths.items())
    }


def _cgroup_values(path: str) -> dict[str, str]:
    values = {}
    for name in _CGROUP_FILES:
        try:
            values[name] = _read(f"{path}/{name}").strip()
        except OSError:
            continue  # another controller's file
    return values


def _processes(core: Core, container: Container) -> list[Document]:
    """Return every process inside: pid on the host and inside, parent, threads, memory, command."""
    manager = core.cgroup(container)
    try:
        pids = manager.pids()
    finally:
        manager.close()
    found: list[Document] = []
    for pid in sorted(set(pids) - {container.checker_pid}):
        try:
            status = read_status(pid)
            command = _read(f"/proc/{pid}/cmdline").rstrip("\0").replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        found.append(
            {
                "pid": pid,
                "inside": int(status.get("NSpid", str(pid)).split()[-1]),
                "parent": int(status["PPid"]),
                "threads": int(status.get("Threads", "1")),
                "resident_kib": int(status.get("VmRSS", "0 kB").split()[0]),
                "command": command or f"[{status['Name']}]",
            }
        )
    return found


def _limits(pid: int) -> Document:
    """Return /proc/<pid>/limits: name → soft and hard, as the kernel writes them in columns of 26 and 21."""
    rows = _read(f"/proc/{pid}/limits").splitlines()[1:]
    return {row[:26].strip(): {"soft": row[26:47].strip(), "hard": row[47:68].strip()} for row in rows}


def _capability_names(mask: str) -> list[str]:
    bits = int(mask, 16)
    return [name for number, name in enumerate(capabilities.NAMES) if bits >> number & 1]


def _environment(pid: int) -> Mapping[str, str]:
    pairs = (entry.partition("=") for entry in _read(f"/proc/{pid}/environ").split("\0"))
    return {key: value for key, _, value in pairs if key == "HOSTNAME"}


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().decode(errors="replace")
