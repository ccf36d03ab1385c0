"""Which program of the host has a port: read from /proc when a port was refused.

Source: proc_pid_net(5), `tcp` and `udp`; proc_pid_fd(5).
"""

from __future__ import annotations

import os
from typing import Final

_LISTENS: Final = {"tcp": "0A", "udp": "07"}  # the state of a socket that waits


def find_user(protocol: str, port: int) -> str:
    """Return `nginx (pid 123)`; "" when it cannot be told (another PID namespace, the kernel)."""
    inodes = {
        inode for name in (protocol, f"{protocol}6") for inode in _inodes(name, port, _LISTENS[protocol])
    }
    if not inodes:
        return ""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and _has_any(f"/proc/{entry.name}/fd", inodes):
            return f"{_name(entry.name)} (pid {entry.name})"
    return ""


def _inodes(name: str, port: int, state: str) -> list[str]:
    """Return the sockets of one table of the kernel that wait at a port."""
    try:
        with open(f"/proc/net/{name}") as file:
            rows = [line.split() for line in file.readlines()[1:]]
    except FileNotFoundError:
        return []
    wanted = f":{port:04X}"
    return [row[9] for row in rows if len(row) > 9 and row[1].endswith(wanted) and row[3] == state]


def _has_any(folder: str, inodes: set[str]) -> bool:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    try:
        return any(_target(f"{folder}/{fd}") in wanted for fd in os.listdir(folder))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # it has ended


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _name(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "a program"
