"""The two daemons, each in a network namespace of its own two registries beside it, at the same addresses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system.cli.harness import make_image, running_dockerd
from tests.system.network_host import network_host
from tests.system.registry_server_kit import RegistryServer

REGISTRY = "127.0.0.1:5000"
CLOSED = "127.0.0.1:5001"  # wants a login: user, secret


@dataclass(frozen=True)
class Peer:
    """A daemon that has the image busybox; enter: what a command in its namespace is started by."""

    host: str
    enter: tuple[str, ...]


@contextmanager
def docker_peer(folder: Path) -> Iterator[Peer]:
    """Run Debian's dockerd."""
    space = f"sampan-dockerd-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", space], check=True)
    try:
        subprocess.run(["ip", "-n", space, "link", "set", "lo", "up"], check=True)
        with running_dockerd(folder, network=space) as dockerd:
            make_image(dockerd.host)
            with _registries(folder, enter := _enter(space)):
                yield Peer(dockerd.host, enter)
    finally:
        subprocess.run(["ip", "netns", "delete", space], check=False)


@contextmanager
def sampan_peer(folder: Path) -> Iterator[Peer]:
    """Run sampand."""
    with network_host(folder) as sampand, _registries(folder, enter := _enter(sampand.spaces[0])):
        yield Peer(sampand.host, enter)


def _enter(space: str) -> tuple[str, ...]:
    return ("nsenter", f"--net=/run/netns/{space}", "--")


@contextmanager
def _registries(folder: Path, enter: Sequence[str]) -> Iterator[None]:
    users = folder / "users"
    subprocess.run(["htpasswd", "-Bbc", users, "user", "secret"], check=True, capture_output=True)
    opened = RegistryServer(folder / "registry", address=REGISTRY, prefix=enter)
    try:
        closed = RegistryServer(folder / "closed", "--htpasswd", str(users), address=CLOSED, prefix=enter)
        try:
            yield
        finally:
            closed.close()
    finally:
        opened.close()
