"""`--provenance`, `--sbom`, `--attest`: what a registry and the real buildx see of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.buildkit_kit import buildx, needs_buildx
from tests.system.registry_server_kit import RegistryServer
from tests.system.sampand import Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]
EPOCH = 1_600_000_000
STATUS = "Package: tree\nStatus: install ok installed\nArchitecture: all\nVersion: 2.1-1\n"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry") / "data")
    yield server
    server.close()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "status").write_text(STATUS)
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox AS made\nARG word\nRUN echo $word > /made\n"
        "FROM busybox\nCOPY status /var/lib/dpkg/status\nCOPY --from=made /made /\n"
    )
    return tmp_path


def attested(sampand: Sampand, context: Path, name: str, *options: str) -> None:
    done = sampand.sampan(
        "build", "-t", name, "--push", "--build-arg", "word=here",
        "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}", *options, str(context),
    )  # fmt: skip
    assert done.code == 0, done.err


def inspect(sampand: Sampand, name: str, form: str) -> Any:
    done = buildx(sampand, "imagetools", "inspect", name, "--format", f"{{{{json .{form}}}}}")
    assert done.code == 0, done.err
    return json.loads(done.out)


@needs_buildx
def test_buildx_reads_them(sampand: Sampand, registry: RegistryServer, context: Path) -> None:
    name = f"{registry.address}/both:1"
    attested(sampand, context, name, "--provenance", "mode=max", "--sbom", "true")
    manifest = inspect(sampand, name, "Manifest")
    assert manifest["mediaType"] == "application/vnd.oci.image.index.v1+json"
    platforms = [one["platform"]["os"] for one in manifest["manifests"]]
    assert platforms == ["linux", "unknown"]
    told = manifest["manifests"][1]["annotations"]
    assert told["vnd.docker.reference.digest"] == manifest["manifests"][0]["digest"]

    slsa = inspect(sampand, name, "Provenance")["SLSA"]
    assert slsa["invocation"]["configSource"]["entryPoint"] == "Dockerfile"
    assert slsa["invocation"]["parameters"]["args"]["build-arg:word"] == "here"
    (busybox,) = slsa["materials"]
    assert busybox["uri"].startswith("pkg:docker/busybox@latest?platform=linux%2F")
    assert len(busybox["digest"]["sha256"]) == 64
    assert slsa["metadata"]["buildStartedOn"] == "2020-09-13T12:26:40Z"

    spdx = inspect(sampand, name, "SBOM")["SPDX"]
    (package,) = spdx["packages"]
    assert (package["name"], package["versionInfo"]) == ("tree", "2.1-1")
    assert package["externalRefs"][0]["referenceLocator"] == "pkg:deb/debian/tree@2.1-1?arch=all"


@needs_buildx
def test_min_has_no_values_and_the_image_is_the_same(
    sampand: Sampand, registry: RegistryServer, context: Path
) -> None:
    plain, with_it, again = (f"{registry.address}/min:{number}" for number in range(3))
    attested(sampand, context, plain)
    attested(sampand, context, with_it, "--attest", "type=provenance")
    assert "here" not in json.dumps(inspect(sampand, with_it, "Provenance")["SLSA"]["invocation"])
    ids = [sampand.docker("inspect", "-f", "{{.Id}}", name).text for name in (plain, with_it)]
    assert ids[0] == ids[1]
    attested(sampand, context, again, "--provenance", "true", "--provenance", "false")
    assert "manifests" not in inspect(sampand, again, "Manifest")


def test_a_pull_keeps_them_and_a_prune_does_not_take_them(
    sampand: Sampand, registry: RegistryServer, context: Path
) -> None:
    name, copy = f"{registry.address}/kept:1", f"{registry.address}/kept:2"
    attested(sampand, context, name, "--sbom", "true")
    sampand.call("POST", "/images/prune")
    before = json.loads(sampand.sampan("manifest", "inspect", name).out)
    sampand.docker("rmi", name)
    assert sampand.docker("pull", name).code == 0
    sampand.docker("tag", name, copy)
    assert sampand.docker("push", copy).code == 0
    assert json.loads(sampand.sampan("manifest", "inspect", copy).out) == before
    kinds = [one.get("annotations", {}).get("vnd.docker.reference.type") for one in before["manifests"]]
    assert kinds == [None, "attestation-manifest"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(["--sbom", "true"], "attestations belong to an image's name", id="no name"),
        pytest.param(["-t", "x", "--sbom", "perhaps=1"], "'perhaps' is not known", id="unknown field"),
        pytest.param(["-t", "x", "--attest", "type=slsa"], "type is one of provenance, sbom", id="type"),
    ],
)
def test_what_cannot_be(sampand: Sampand, context: Path, options: list[str], says: str) -> None:
    done = sampand.sampan("build", *options, str(context))
    assert done.code == 1
    assert says in done.err
