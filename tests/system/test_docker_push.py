"""The real docker CLI pushes through sampand to Debian's registry; skopeo and sampan pull it again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.registry_kit import (
    Registry,
    digest_of,
    make_image,
    needs_registry,
    serve_registry,
)
from tests.system.sampand import Sampand, busybox_tar, needs_busybox, needs_root
from tests.system.store_kit import entry, tar

pytestmark = [needs_root, needs_busybox, needs_registry, pytest.mark.peers]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def manifest_of(registry: Registry, path: str) -> tuple[str, dict[str, object]]:
    accept = (
        "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    )
    status, _, raw = registry.request("GET", f"/v2/{path}", Accept=accept)
    assert status == 200, raw
    return digest_of(raw), json.loads(raw)


def test_push_a_plain_layer_once(sampand: Sampand, registry: Registry, tmp_path: Path) -> None:
    """busybox:latest was imported, so its layer is a plain tar: it is compressed, and the result kept."""
    name = f"{registry.domain}/made/box"
    sampand.docker("tag", "busybox", name)
    done = sampand.docker("push", name)
    assert done.code == 0, done.err + done.text
    assert f"The push refers to repository [{name}]" in done.text
    assert "Pushed" in done.text
    digest, manifest = manifest_of(registry, "made/box/manifests/latest")
    assert f"latest: digest: {digest} size: " in done.text
    assert str(manifest["layers"][0]["mediaType"]).endswith("tar+gzip")  # type: ignore[index]  # JSON
    again = sampand.docker("push", name)
    assert "Layer already exists" in again.text
    assert digest in again.text
    inspected = json.loads(sampand.docker("inspect", name).out)[0]
    assert f"{name}@{digest}" in inspected["RepoDigests"]
    copied = subprocess.run(
        ["skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{tmp_path}/copy"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert copied.returncode == 0, copied.stderr
    sampand.docker("rmi", name)
    assert sampand.docker("run", "--rm", name, "echo", "back").text == "back"


def test_a_pulled_image_goes_out_as_it_came(sampand: Sampand, registry: Registry) -> None:
    image = make_image([busybox_tar(), tar(entry("more"))])
    registry.put("first", "1", image)
    first, second = f"{registry.domain}/first:1", f"{registry.domain}/second:2"
    assert sampand.docker("pull", first).code == 0
    sampand.docker("tag", first, second)
    before = len(registry.requests())
    done = sampand.docker("push", second)
    assert done.text.count("Mounted from first") == 2
    assert f"2: digest: {image.digest}" in done.text
    asked = registry.requests()[before:]
    assert not any(line.startswith("PATCH") for line in asked)


def test_a_large_layer_in_a_chunk(sampand: Sampand, registry: Registry, tmp_path: Path) -> None:
    blob = bytes(range(256)) * 4096 * 20
    image = make_image([tar((entry("large"), blob))], compress=lambda data: data, layer_type=OCI_TAR)
    registry.put("source", "1", image)
    source = f"{registry.domain}/source:1"
    assert sampand.docker("pull", source).code == 0
    with serve_registry(tmp_path / "second") as second:
        name = f"{second.domain}/large:1"
        sampand.docker("tag", source, name)
        assert image.digest in sampand.docker("push", name).text
        assert sum(line.startswith("PATCH") for line in second.requests()) == 1
        sampand.docker("rmi", "-f", name, source)
        assert sampand.docker("pull", name).code == 0
        assert json.loads(sampand.docker("inspect", name).out)[0]["Id"] == image.config


OCI_TAR = "application/vnd.oci.image.layer.v1.tar"


def test_all_tags_and_none(sampand: Sampand, registry: Registry) -> None:
    name = f"{registry.domain}/many"
    for tag in ("a", "b"):
        sampand.docker("tag", "busybox", f"{name}:{tag}")
    done = sampand.docker("push", "-a", name)
    assert done.code == 0, done.err
    assert set(json.loads(registry.request("GET", "/v2/many/tags/list")[2])["tags"]) == {"a", "b"}
    done = sampand.docker("push", f"{name}:c")
    assert done.code == 1
    assert f"tag does not exist: {name}:c" in done.err


def test_without_a_password(sampand: Sampand, tmp_path: Path) -> None:
    with serve_registry(tmp_path / "closed", htpasswd=("anna", "secret")) as closed:
        sampand.docker("tag", "busybox", f"{closed.domain}/box")
        done = sampand.docker("push", f"{closed.domain}/box")
        assert done.code == 1
        assert "no basic auth credentials" in done.err
        sampand.docker("login", "-u", "anna", "--password-stdin", closed.domain, stdin=b"secret")
        assert sampand.docker("push", f"{closed.domain}/box").code == 0
        sampand.docker("logout", closed.domain)
