"""What both stories of docker-py are told with: a daemon with its two clients, and a list of steps.

A step is a function of `Story` and returns what is compared: a plain value exactly, a `Document` by its keys
and the kinds of its values.
"""

from __future__ import annotations

import io
import socket
import tarfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

Step = Callable[["Story"], Any]
STEPS: list[tuple[str, Step]] = []
NONE = {"network_mode": "none"}


@dataclass(frozen=True)
class Document:
    """A value whose keys and kinds matter, not what it says."""

    value: Any


class Story:
    """One daemon, both clients, and what earlier steps have made."""

    def __init__(self, host: str, folder: Path) -> None:
        # The API of Debian's dockerd: both answer in the same version.
        self.high = docker.DockerClient(base_url=host, version="1.41", timeout=60)
        self.low = self.high.api
        self.folder = folder
        self.kept: dict[str, Any] = {}

    def box(self) -> Any:
        """Return the container that most steps are about."""
        return self.high.containers.get("box")


def step(function: Step) -> Step:
    """Put a function into the script."""
    STEPS.append((function.__name__, function))
    return function


def steps(prefix: str, **functions: Step) -> None:
    """Put several short ones into the script."""
    for name, function in functions.items():
        STEPS.append((f"{prefix}_{name}", function))


def tar(name: str, data: bytes) -> bytes:
    """Return an archive of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def names(pieces: Iterable[bytes]) -> list[str]:
    """Return the names in an archive."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        return sorted(archive.getnames())


def until(condition: Callable[[], Any]) -> Any:
    """Poll until it is so."""
    deadline = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def read_all(channel: Any) -> bytes:
    """Return what comes over an attach or exec socket, to its end."""
    raw: socket.socket = channel._sock
    raw.settimeout(20)
    data = b""
    while piece := raw.recv(65536):
        data += piece
    channel.close()
    return data
