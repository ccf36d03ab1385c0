"""kill -9 of sampand in the middle of a push: nothing is left over, and the next push ends as any other."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest
from tests.system.registry_kit import OCI_MANIFEST, Registry, digest_of, needs_registry, serve_registry
from tests.system.sampand import DOCKER, Sampand, needs_busybox, needs_root, wait_for
from tests.system.store_kit import entry, tar

pytestmark = [needs_root, needs_busybox, needs_registry, pytest.mark.peers]
UPLOADS = "blobs/docker/registry/v2/repositories/cut/_uploads"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    running = Sampand(tmp_path_factory.mktemp("sampand"))
    running.start()
    yield running
    running.close()


def compressing(daemon: Sampand, _registry: Registry) -> bool:
    return any(daemon.data.joinpath("tmp").iterdir())


def sending(_daemon: Sampand, registry: Registry) -> bool:
    return any((registry.log.parent / UPLOADS).glob("*/data"))


@pytest.mark.parametrize("moment", [compressing, sending])
def test_kill_9_and_push_again(
    daemon: Sampand, registry: Registry, moment: Callable[[Sampand, Registry], bool]
) -> None:
    name = f"{registry.domain}/cut:{moment.__name__}"
    layer = tar((entry("noise"), os.urandom(24 << 20)))  # plain, so it is compressed first
    assert daemon.docker("import", "-", name, stdin=layer).code == 0
    blobs = daemon.data / "images/blobs/sha256"
    before = set(os.listdir(blobs))
    client = subprocess.Popen([DOCKER, "push", "-q", name], env=daemon.environment, stderr=subprocess.PIPE)
    wait_for(lambda: moment(daemon, registry) or client.poll() is not None, "the push has come so far")
    daemon.kill()
    client.communicate(timeout=30)
    daemon.start()
    wait_for(lambda: not any(daemon.data.joinpath("tmp").iterdir()), "what was half made is swept")
    whole = set(os.listdir(blobs)) - before
    assert all(digest_of((blobs / one).read_bytes()) == f"sha256:{one}" for one in whole)
    done = daemon.docker("push", "-q", name)
    assert done.code == 0, done.err
    assert daemon.sampan("system", "check", "--images").text == "nothing is left over"
    _, _, raw = registry.request("GET", f"/v2/cut/manifests/{moment.__name__}", Accept=OCI_MANIFEST)
    again = daemon.docker("push", name)
    assert f"{moment.__name__}: digest: {digest_of(raw)}" in again.text, again.err


def test_nothing_of_it_stays_with_the_image(daemon: Sampand) -> None:
    for name in daemon.docker("images", "-q").text.split():
        assert daemon.docker("rmi", "-f", name).code == 0
    assert os.listdir(daemon.data / "images/blobs/sha256") == []
