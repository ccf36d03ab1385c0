"""`sampan.run`, `sampan.container`, `sampan.volume`: one call for what is wanted most often."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from sampan.client.api import Client
from sampan.client.container import Container
from sampan.client.options import ContainerOptions
from sampan.client.volumes import Volume
from sampan.errors import ProcessFailed

_DEFAULT = ContainerOptions()


def run(
    image: str,
    command: Sequence[str] = (),
    options: ContainerOptions = _DEFAULT,
    *,
    stdin: bytes | None = None,
    client: Client | None = None,
) -> bytes:
    """Run a command in a new container, remove the container, and return the command's standard output.

    Raises:
        ProcessFailed: it ended with another code than 0; the error carries code and output.
        SampanError: the container could not be made or started.
    """
    options = dataclasses.replace(options, auto_remove=True)
    done = (client or Client()).containers.run(image, command, options, stdin=stdin)
    if done.exit_code:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        words = " ".join(command) or image
        raise ProcessFailed(
            f"{words!r} in {image} ended with code {done.exit_code}{': ' if last else ''}{last}",
            exit_code=done.exit_code,
            stdout=done.stdout,
            stderr=done.stderr,
        )
    return done.stdout


def container(
    image: str,
    command: Sequence[str] = (),
    options: ContainerOptions = _DEFAULT,
    *,
    client: Client | None = None,
) -> AbstractContextManager[Container]:
    """Give a running container for a `with` block; behind it the container is removed.

    Raises:
        SampanError: the container could not be made or started.
    """
    return (client or Client()).containers.running(image, command, options)


def volume(
    *, labels: Mapping[str, str] | None = None, client: Client | None = None
) -> AbstractContextManager[Volume]:
    """Give a new volume for a `with` block; behind it the volume is removed."""
    return (client or Client()).volumes.temporary(labels=labels)
