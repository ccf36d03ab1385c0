"""Builds by docker-py, and what came of them: the tree and the configuration, ready to be compared."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import Any

import docker
from tests.system.build_cases import Case, context_of

_KEYS = (
    "Env", "Cmd", "Entrypoint", "WorkingDir", "User", "ExposedPorts", "Volumes", "Labels", "OnBuild",
    "StopSignal", "Shell", "Healthcheck",
)  # fmt: skip


def connect(host: str) -> docker.DockerClient:
    """Return a client of a daemon."""
    return docker.DockerClient(base_url=host, timeout=120, version="1.41")


def build(client: docker.DockerClient, case: Case, **options: Any) -> tuple[Any, str]:
    """Build a case; return the image and the stream's text."""
    image, log = client.images.build(
        fileobj=io.BytesIO(context_of(case)),
        custom_context=True,
        buildargs=dict(case.arguments),
        rm=True,
        **options,
    )
    return image, "".join(line.get("stream", "") for line in log)


def tree_of(client: docker.DockerClient, image: Any) -> dict[str, tuple[object, ...]]:
    """Return every file of an image: type, mode, owner, link, content."""
    container = client.api.create_container(image.id, ["x"])
    try:
        raw = b"".join(client.api.export(container["Id"]))
    finally:
        client.api.remove_container(container["Id"], v=True)
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for member in archive:
            content = ""
            if member.isreg():
                file = archive.extractfile(member)
                assert file is not None
                content = hashlib.sha256(file.read()).hexdigest()
            kind = tarfile.REGTYPE if member.islnk() else member.type
            if member.islnk():
                target = found[member.linkname.rstrip("/")]
                content = str(target[-1])
            facts = (
                kind,
                member.mode & 0o7777,
                member.uid,
                member.gid,
                "" if member.islnk() else member.linkname,
            )
            found[member.name.rstrip("/")] = (*facts, content)
    return {name: facts for name, facts in found.items() if not _is_mount_point(name)}


def _is_mount_point(name: str) -> bool:
    """Tell what containers have by themselves, whatever their image."""
    made = (".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab")
    return name.split("/")[0] in ("dev", "proc", "sys") or name in made


def config_of(image: Any) -> dict[str, object]:
    """Return what the image says about containers, without what is empty."""
    config = image.attrs["Config"]
    return {key: config[key] for key in _KEYS if config.get(key) and config[key] != "/"}
