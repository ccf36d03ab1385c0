"""The table of Dockerfiles, built by sampand and compared with what dockerd's classic builder makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from bench import engines
from tests.system.build_cases import CASES, Case
from tests.system.build_kit import build, config_of, connect, tree_of
from tests.system.sampand import Sampand, busybox_tar, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]


@pytest.fixture(scope="module")
def ours(sampand: Sampand) -> Iterator[docker.DockerClient]:
    client = connect(sampand.host)
    yield client
    client.close()


@pytest.fixture(scope="module")
def theirs() -> Iterator[docker.DockerClient]:
    if not Path("/usr/sbin/dockerd").exists():
        pytest.skip("no dockerd (Debian: docker.io)")
    with engines.scratch(Path("/var/tmp")) as root, engines.dockerd(root / "d") as engine:
        client = connect(f"unix://{engine.socket}")
        client.api.import_image_from_data(busybox_tar(), repository="busybox", changes=['CMD ["sh"]'])
        yield client
        client.close()


@pytest.mark.peers
@pytest.mark.parametrize("case", [one for one in CASES if not one.ours], ids=lambda one: one.name)
def test_as_dockerd(ours: docker.DockerClient, theirs: docker.DockerClient, case: Case) -> None:
    image, _ = build(ours, case)
    wanted, _ = build(theirs, case)
    assert _differences(tree_of(ours, image), tree_of(theirs, wanted)) == {}
    assert config_of(image) == config_of(wanted)


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = sorted({*found, *wanted})
    return {
        name: (found.get(name), wanted.get(name)) for name in names if found.get(name) != wanted.get(name)
    }
