"""The real docker CLI pulls through sampand from Debian's registry."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.registry_kit import (
    MadeImage,
    Registry,
    busybox_image,
    make_image,
    make_index,
    needs_registry,
    serve_registry,
)
from tests.system.sampand import Sampand, busybox_tar, needs_busybox, needs_docker_28, needs_root, serve
from tests.system.store_kit import entry, tar

pytestmark = [needs_root, needs_busybox, needs_registry, pytest.mark.peers]


def boxed_image() -> MadeImage:
    """Busybox below a layer of its own, so that the daemon has one layer already."""
    return make_image([busybox_tar(), tar(entry("own"))], Labels={"made": "here"})


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as running:
        running.put("box", "latest", boxed_image())
        yield running


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    running = serve(tmp_path_factory.mktemp("pull"))
    yield running
    running.close()


def test_pull_and_run(daemon: Sampand, registry: Registry) -> None:
    name = f"{registry.domain}/box"
    done = daemon.docker("pull", name)
    assert done.code == 0, done.err
    assert f"Status: Downloaded newer image for {name}:latest" in done.text
    assert done.text.count("Already exists") == done.text.count("Pull complete") == 1
    assert daemon.docker("run", "--rm", name, "echo", "pulled").text == "pulled"
    document = json.loads(daemon.docker("inspect", name).out)[0]
    image = boxed_image()
    assert document["Id"] == image.config
    assert document["RepoDigests"] == [f"{name}@{image.digest}"]


def test_pull_again_is_one_question(daemon: Sampand, registry: Registry) -> None:
    name = f"{registry.domain}/box"
    daemon.docker("pull", name)
    before = len(registry.requests())
    done = daemon.docker("pull", name)
    assert f"Status: Image is up to date for {name}:latest" in done.text
    assert registry.requests()[before:] == ["HEAD /v2/box/manifests/latest"]


def test_pull_by_digest_of_nothing_and_of_an_unknown_tag(daemon: Sampand, registry: Registry) -> None:
    image = boxed_image()
    name = f"{registry.domain}/box"
    assert daemon.docker("pull", "-q", f"{name}@{image.digest}").text == f"{name}@{image.digest}"
    done = daemon.docker("pull", f"{name}:nope")
    assert (done.code, "Pulling from" in done.text) == (1, False)
    assert f"manifest for {name}:nope not found: manifest unknown: manifest unknown" in done.err
    done = daemon.docker("pull", f"{name}@sha256:{'0' * 64}")
    assert "manifest unknown" in done.err


@needs_docker_28
def test_platforms_of_an_index(daemon: Sampand, registry: Registry) -> None:
    native, other = busybox_image(), make_image([tar(entry("arm"))], architecture="arm64")
    for image in (native, other):
        registry.put("many", image.digest, image)
    index = make_index((other, "arm64"), (native, "amd64"))
    registry.put_document("many", "1", index, "application/vnd.oci.image.index.v1+json")
    name = f"{registry.domain}/many:1"
    assert daemon.docker("pull", name).code == 0
    assert json.loads(daemon.docker("inspect", name).out)[0]["Architecture"] == "amd64"
    assert daemon.docker("pull", "--platform", "linux/arm64", name).code == 0
    assert (
        json.loads(daemon.docker("inspect", name).out)[0]["Architecture"] == "amd64"
    )  # this machine's first
    shown = daemon.docker("image", "inspect", "--platform", "linux/arm64", name)
    assert json.loads(shown.out)[0]["Architecture"] == "arm64", shown.err
    done = daemon.docker("pull", "--platform", "linux/s390x", name)
    assert "no matching manifest for linux/s390x in the manifest list entries" in done.err


def test_all_tags(daemon: Sampand, registry: Registry) -> None:
    for number in range(3):
        registry.put("tags", str(number), make_image([tar(entry(f"file{number}"))]))
    name = f"{registry.domain}/tags"
    assert daemon.docker("pull", "-a", name).code == 0
    found = daemon.docker("images", name, "--format", "{{.Tag}}").text.split()
    assert sorted(found) == ["0", "1", "2"]


def test_a_missing_image_is_pulled_by_run(daemon: Sampand, registry: Registry) -> None:
    registry.put("fresh", "7", busybox_image(Env=["WHO=me"]))
    name = f"{registry.domain}/fresh:7"
    done = daemon.docker("run", "--rm", name, "sh", "-c", "echo $WHO")
    assert done.text == "me", done.err
    assert "Unable to find image" in done.err
    path = f"/events?since=0&until={time.time() + 0.1:.9f}&filters=%7B%22event%22%3A%5B%22pull%22%5D%7D"
    status, _, told = daemon.request("GET", path)
    assert status == 200
    assert name in told.decode()


def test_passwords(daemon: Sampand, tmp_path: Path) -> None:
    with serve_registry(tmp_path / "closed", htpasswd=("anna", "secret")) as closed:
        closed.put("box", "1", busybox_image())
        name = f"{closed.domain}/box:1"
        done = daemon.docker("pull", name)
        assert "no basic auth credentials" in done.err
        config = Path(daemon.environment["DOCKER_CONFIG"])
        config.mkdir(exist_ok=True)
        for password, code in (("no", 1), ("secret", 0)):
            auth = base64.b64encode(f"anna:{password}".encode()).decode()
            (config / "config.json").write_text(json.dumps({"auths": {closed.domain: {"auth": auth}}}))
            done = daemon.docker("pull", name)
            assert done.code == code, done.err
            assert ("unauthorized" in done.err) == bool(code)
        assert "secret" not in daemon.log.read_text()
        (config / "config.json").unlink()
