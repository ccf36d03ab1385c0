"""Run the story with docker-py against both daemons, and show what differs: results, shapes, exceptions."""

from __future__ import annotations

import inspect
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import requests
from docker.models import containers, images, networks, volumes
from tests.compare import contexts, py_outside, py_script
from tests.compare.known import DOCKER_PY
from tests.compare.normal import message, missing, shape, text
from tests.compare.py_outside import ELSEWHERE
from tests.compare.py_steps import STEPS, Document, Story
from tests.system.sampand import busybox_tar


def compare(theirs: str, ours: str, folder: Path) -> list[str]:
    """Play against dockerd at theirs and sampand at ours; return one text for each unknown difference."""
    warnings.simplefilter("ignore")  # docker-py leaves sockets to the garbage collector
    stories = []
    for name, host in (("theirs", theirs), ("ours", ours)):
        own = folder / name
        own.mkdir()
        (own / "file").write_text("content\n")
        contexts.write(own / "context")
        (own / "rootfs.tar").write_bytes(busybox_tar())
        stories.append((host, own))
    with ThreadPoolExecutor(2) as pool:
        docker_did, sampan_did = pool.map(lambda story: _play(Story(*story)), stories)
    found, known, same = [], 0, 0
    for (name, _), their, our in zip(STEPS, docker_did, sampan_did, strict=True):
        lines = _differences(their, our)
        if not lines:
            same += 1
            if name in DOCKER_PY:
                print(f"no difference any more: {name}")
        elif name in DOCKER_PY:
            known += 1
            print(f"known: {name}: {DOCKER_PY[name]}")
        else:
            found.append("\n    ".join([name, *lines]))
    print(f"{len(STEPS)} calls: {same} the same, {known} known differences, {len(found)} unknown")
    return found + [f"nobody calls {name}" for name in uncalled()]


def _play(story: Story) -> list[Any]:
    results = []
    for _, function in STEPS:
        try:
            results.append(_plain(function(story), story))
        except Exception as exc:
            results.append(_failure(exc, story))
    return results


def _failure(error: Exception, story: Story) -> dict[str, Any]:
    """Return the class, the status and the words of an exception."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    words = getattr(error, "explanation", None) or str(error)
    if isinstance(error, requests.exceptions.RequestException) and not status:
        words = ""  # of the transport's own
    if isinstance(words, bytes):
        words = words.decode(errors="replace")
    return {
        "raises": type(error).__name__,
        "status": status,
        "words": message(str(words).replace(str(story.folder), "<files>")),
    }


def _plain(value: Any, story: Story) -> Any:
    """Return a result with everything put away that cannot be the same twice."""
    if isinstance(value, Document):
        return Document(shape(value.value))
    if isinstance(value, str):
        return text(value.replace(str(story.folder), "<files>"))
    if isinstance(value, bytes):
        return text(value.decode(errors="replace"))
    if isinstance(value, dict):
        return {key: _plain(item, story) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, story) for item in value]
    return value


def _differences(theirs: Any, ours: Any) -> list[str]:
    if isinstance(theirs, Document) and isinstance(ours, Document):
        return missing(theirs.value, ours.value)
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [line for pair in zip(theirs, ours, strict=True) for line in _differences(*pair)]
    return [] if theirs == ours else [f"docker: {theirs!r:.500}", f"sampan: {ours!r:.500}"]


def uncalled() -> list[str]:
    """Return the methods of docker-py's clients that the story does not mention, nor excuses."""
    source = "".join(inspect.getsource(module) for module in (py_script, py_outside))
    excused = set(" ".join(ELSEWHERE.values()).replace(":", " ").split())
    excused |= {"model", "prepare_model", "from_context"}
    kinds = (
        docker.APIClient,
        docker.DockerClient,
        containers.Container,
        containers.ContainerCollection,
        images.Image,
        images.ImageCollection,
        images.RegistryData,
        networks.Network,
        networks.NetworkCollection,
        volumes.Volume,
        volumes.VolumeCollection,
    )
    return [
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, value in inspect.getmembers(kind)
        if callable(value)
        and not name.startswith("_")
        and name not in dir(requests.Session)
        and name not in excused
        and f".{name}(" not in source
    ]
