"""Several platforms of one tag side by side: pulled, listed, chosen, saved, pushed as one index, removed."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.registry_kit import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    MadeImage,
    Registry,
    digest_of,
    make_image,
    needs_registry,
    serve_registry,
)
from tests.system.registry_server_kit import run
from tests.system.sampand import Sampand, busybox_tar, needs_busybox, needs_docker_28, needs_root
from tests.system.store_kit import entry, tar

pytestmark = [needs_root, needs_busybox, needs_registry, pytest.mark.peers]

AMD = make_image([busybox_tar()])
ARM = make_image([busybox_tar(), tar((entry("arm"), b"64"))], architecture="arm64")
V7 = make_image([tar((entry("arm"), b"7"))], architecture="arm", variant="v7")
STATEMENT = b'{"_type":"https://in-toto.io/Statement/v0.1"}'


def attestation() -> MadeImage:
    """What BuildKit adds to an index about an image."""
    config = json.dumps(
        {"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": []}}
    ).encode()
    layer = {
        "mediaType": "application/vnd.in-toto+json",
        "digest": digest_of(STATEMENT),
        "size": len(STATEMENT),
    }
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [layer],
        }
    ).encode()
    blobs = {digest_of(config): config, digest_of(STATEMENT): STATEMENT}
    return MadeImage(manifest, OCI_MANIFEST, blobs, digest_of(config))


ABOUT = attestation()


def index_of(*entries: tuple[MadeImage, dict[str, str]], about: bool = True) -> bytes:
    manifests: list[dict[str, Any]] = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": one.digest,
            "size": len(one.manifest),
            "platform": {"os": "linux", **more},
        }
        for one, more in entries
    ]
    if about:
        manifests.append(
            {
                "mediaType": OCI_MANIFEST,
                "digest": ABOUT.digest,
                "size": len(ABOUT.manifest),
                "platform": {"os": "unknown", "architecture": "unknown"},
                "annotations": {
                    "vnd.docker.reference.type": "attestation-manifest",
                    "vnd.docker.reference.digest": AMD.digest,
                },
            }
        )
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()


BOTH = index_of((ARM, {"architecture": "arm64"}), (AMD, {"architecture": "amd64"}))
THREE = index_of(
    (AMD, {"architecture": "amd64"}),
    (ARM, {"architecture": "arm64"}),
    (V7, {"architecture": "arm", "variant": "v7"}),
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as running:
        for image in (AMD, ARM, V7, ABOUT):
            running.put("many", image.digest, image)
        running.put_document("many", "both", BOTH, OCI_INDEX)
        running.put_document("many", "three", THREE, OCI_INDEX)
        yield running


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Sampand]:
    running = Sampand(tmp_path / "sampand")
    running.folder.mkdir()
    running.start()
    yield running
    running.close()


def pull(daemon: Sampand, name: str, *platforms: str) -> None:
    for platform in platforms:
        done = daemon.docker("pull", "-q", "--platform", f"linux/{platform}", name)
        assert done.code == 0, done.err


def architecture(daemon: Sampand, name: str, *options: str) -> str:
    done = daemon.docker("image", "inspect", "-f", "{{.Architecture}}", *options, name)
    assert done.code == 0, done.err
    return done.text


def ids(daemon: Sampand, *arguments: str) -> list[str]:
    return sorted(daemon.docker("images", "-q", "--no-trunc", *arguments).text.split())


@needs_docker_28
def test_side_by_side(daemon: Sampand, registry: Registry, tmp_path: Path) -> None:
    name = f"{registry.domain}/many:three"
    pull(daemon, name, "arm64")
    assert architecture(daemon, name) == "arm64"  # the only one
    pull(daemon, name, "arm/v7")
    assert architecture(daemon, name) == "arm"  # the last one, as none is this machine's
    pull(daemon, name, "amd64")
    assert architecture(daemon, name) == "amd64"
    pull(daemon, name, "arm64")
    assert architecture(daemon, name) == "amd64"
    for platform, want in (("linux/arm64", "arm64"), ("linux/arm/v7", "arm"), ("linux/amd64", "amd64")):
        assert architecture(daemon, name, "--platform", platform) == want
    other = daemon.docker("image", "inspect", "--platform", "linux/s390x", name)
    assert "does not provide the specified platform (linux/s390x)" in other.err
    assert ids(daemon, name) == sorted([AMD.config, ARM.config, V7.config])
    before = len(registry.requests())
    for platform in ("arm64", "amd64", "arm/v7"):
        done = daemon.docker("pull", "--platform", f"linux/{platform}", name)
        assert "Image is up to date" in done.text
    assert all(line.startswith("HEAD") for line in registry.requests()[before:])
    assert daemon.docker("run", "--rm", name, "echo", "native").text == "native"
    foreign = daemon.docker("create", "--platform", "linux/arm64", name)
    assert "cannot run image" in foreign.err
    assert len(daemon.docker("history", "-q", "--platform", "linux/arm64", name).text.split()) == 2
    daemon.kill()
    daemon.start()
    assert architecture(daemon, name, "--platform", "linux/arm64") == "arm64"
    saved = tmp_path / "arm.tar"
    assert daemon.docker("save", "--platform", "linux/arm64", "-o", str(saved), name).code == 0
    with tarfile.open(saved) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]  # it is a file
    assert manifest[0]["Config"].endswith(ARM.config.removeprefix("sha256:"))
    layout = daemon.data / "images/index.json"
    assert [one["digest"] for one in json.loads(layout.read_text())["manifests"] if "annotations" in one] == [
        AMD.digest
    ]
    assert daemon.sampan("system", "check", "--images").text == "nothing is left over"


@needs_docker_28
def test_an_index_that_is_here_goes_out_as_it_came(
    daemon: Sampand, registry: Registry, tmp_path: Path
) -> None:
    """With its attestations, also under a new name; a part of it is pushed as the one image it is."""
    name = f"{registry.domain}/many:both"
    pull(daemon, name, "amd64")
    with serve_registry(tmp_path / "second") as second:
        target = f"{second.domain}/copy/many"
        daemon.docker("tag", name, f"{target}:1")
        alone = daemon.docker("push", f"{target}:1")
        assert f"1: digest: {AMD.digest}" in alone.text, alone.err
        pull(daemon, name, "arm64")
        daemon.docker("tag", name, f"{target}:2")
        whole = daemon.docker("push", f"{target}:2")
        assert f"2: digest: {digest_of(BOTH)}" in whole.text, whole.err
        assert second.request("GET", "/v2/copy/many/manifests/2", Accept=OCI_INDEX)[2] == BOTH
        for image in (AMD, ARM, ABOUT):
            got = second.request("GET", f"/v2/copy/many/manifests/{image.digest}", Accept=OCI_MANIFEST)[2]
            assert got == image.manifest
            assert all(second.request("HEAD", f"/v2/copy/many/blobs/{one}")[0] == 200 for one in image.blobs)
        one = daemon.docker("push", "--platform", "linux/arm64", f"{target}:2")
        assert f"2: digest: {ARM.digest}" in one.text, one.err
        missing = daemon.docker("push", "--platform", "linux/s390x", f"{target}:2")
        assert "does not provide the specified platform" in missing.err


def forget(daemon: Sampand, name: str) -> None:
    assert daemon.docker("rmi", "-f", name).code == 0
    assert ids(daemon, name) == []


@needs_docker_28
def test_all_platforms_travel_in_one_archive(daemon: Sampand, registry: Registry, tmp_path: Path) -> None:
    """With the index and its attestations; readers that know one platform take theirs."""
    name, saved = f"{registry.domain}/many:both", str(tmp_path / "both.tar")
    pull(daemon, name, "amd64", "arm64")
    assert daemon.docker("save", "-o", saved, name).code == 0
    with tarfile.open(saved) as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]  # it is a file
    assert [one["digest"] for one in index["manifests"]] == [digest_of(BOTH)]
    for arch, image in (("amd64", AMD), ("arm64", ARM)):
        raw = run("skopeo", "--override-arch", arch, "inspect", "--config", "--raw", f"oci-archive:{saved}")
        assert digest_of(raw.encode()) == image.config
    forget(daemon, name)
    loaded = daemon.docker("load", "-i", saved)
    assert loaded.text == f"Loaded image: {name}", loaded.err
    assert ids(daemon, name) == sorted([AMD.config, ARM.config])
    assert architecture(daemon, name) == "amd64"
    with serve_registry(tmp_path / "second") as second:
        daemon.docker("tag", name, f"{second.domain}/copy:1")
        pushed = daemon.docker("push", f"{second.domain}/copy:1")
        assert f"1: digest: {digest_of(BOTH)}" in pushed.text, pushed.err
        forget(daemon, f"{second.domain}/copy:1")
    forget(daemon, name)
    assert list((daemon.data / "images/blobs/sha256").iterdir()) == []
    one = daemon.docker("load", "--platform", "linux/arm64", "-i", saved)
    assert one.code == 0, one.err
    assert ids(daemon, name) == [ARM.config]
    missing = daemon.docker("load", "--platform", "linux/s390x", "-i", saved)
    assert "does not match the specified platform: wanted linux/s390x" in missing.text + missing.err


def test_some_platforms_of_an_archive(daemon: Sampand, registry: Registry, tmp_path: Path) -> None:
    name, saved = f"{registry.domain}/many:three", str(tmp_path / "two.tar")
    pull(daemon, name, "amd64", "arm64", "arm/v7")
    two = ("--platform", "linux/arm64", "--platform", "linux/arm/v7")
    assert daemon.sampan("save", *two, "-o", saved, name).code == 0
    forget(daemon, name)
    loaded = daemon.docker("load", "-i", saved)
    assert loaded.code == 0, loaded.err
    assert ids(daemon, name) == sorted([ARM.config, V7.config])
    absent = daemon.sampan("save", "--platform", "linux/amd64", "-o", saved, name)
    assert "does not provide the specified platform (linux/amd64)" in absent.err


@pytest.mark.peers
def test_an_archive_that_skopeo_made_of_an_index(daemon: Sampand, registry: Registry, tmp_path: Path) -> None:
    name, saved = f"{registry.domain}/many:three", f"{tmp_path}/all.tar:example.com/many:three"
    source = ("--src-tls-verify=false", f"docker://{name}")
    run("skopeo", "--insecure-policy", "copy", "-q", "--all", *source, f"oci-archive:{saved}")
    loaded = daemon.docker("load", "-i", str(tmp_path / "all.tar"))
    assert loaded.text == "Loaded image: example.com/many:three", loaded.err
    assert ids(daemon, "example.com/many:three") == sorted([AMD.config, ARM.config, V7.config])


def test_attestations_are_kept(daemon: Sampand, registry: Registry) -> None:
    name = f"{registry.domain}/many:both"
    pull(daemon, name, "amd64")
    blob = daemon.data / "images/blobs/sha256" / digest_of(STATEMENT).removeprefix("sha256:")
    assert blob.read_bytes() == STATEMENT
    assert daemon.docker("rmi", name).code == 0
    assert not blob.exists()
    assert list((daemon.data / "images/blobs/sha256").iterdir()) == []


@needs_docker_28
def test_a_tag_that_moves_loses_the_others(daemon: Sampand, registry: Registry) -> None:
    registry.put_document("many", "moving", BOTH, OCI_INDEX)
    name = f"{registry.domain}/many:moving"
    pull(daemon, name, "arm64", "amd64")
    registry.put_document("many", "moving", THREE, OCI_INDEX)
    pull(daemon, name, "arm/v7")
    assert architecture(daemon, name) == "arm"
    gone = daemon.docker("image", "inspect", "--platform", "linux/amd64", name)
    assert "does not provide" in gone.err
    by_digest = f"{registry.domain}/many@{digest_of(BOTH)}"
    assert architecture(daemon, by_digest, "--platform", "linux/arm64") == "arm64"
    registry.put_document("many", "moving", BOTH, OCI_INDEX)
    before = len(registry.requests())
    pull(daemon, name, "arm64", "amd64")  # known by digest: nothing is fetched
    assert all(line.startswith("HEAD") for line in registry.requests()[before:])
    assert architecture(daemon, name) == "amd64"
    assert architecture(daemon, name, "--platform", "linux/arm64") == "arm64"


@needs_docker_28
def test_removing(daemon: Sampand, registry: Registry) -> None:
    name = f"{registry.domain}/many:three"
    pull(daemon, name, "amd64", "arm64", "arm/v7")
    done = daemon.docker("rmi", "--platform", "linux/amd64", name)
    assert done.code == 0, done.err
    assert ids(daemon) == sorted([ARM.config, V7.config])
    assert architecture(daemon, name) in ("arm64", "arm")
    wrong = daemon.docker("rmi", "--platform", "linux/amd64", name)
    assert "does not provide the specified platform" in wrong.err
    assert daemon.docker("rmi", ARM.config).code == 0
    assert architecture(daemon, name) == "arm"
    pull(daemon, name, "amd64", "arm64")
    removed = daemon.docker("rmi", name)
    assert removed.code == 0, removed.err
    assert ids(daemon, "-a") == []
    assert removed.text.count("Deleted: ") >= 3
    assert [path.name for path in (daemon.data / "layers").iterdir() if path.name != "scratch"] == []


def test_a_container_keeps_only_its_own(daemon: Sampand, registry: Registry) -> None:
    name = f"{registry.domain}/many:both"
    pull(daemon, name, "amd64", "arm64")
    container = daemon.docker("create", name, "true").text
    refused = daemon.docker("rmi", name)
    assert (refused.code, "is using its referenced image" in refused.err) == (1, True)
    assert daemon.docker("rmi", "-f", name).code == 0
    assert ids(daemon, "-a") == []
    assert daemon.docker("rm", container).code == 0
