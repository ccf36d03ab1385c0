"""Several platforms in one build, attestations and several outputs asked for by the real buildx."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.buildkit_kit import build, buildx, needs_buildx, write
from tests.system.registry_server_kit import RegistryServer
from tests.system.sampand import Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]
BOTH = "--platform=linux/arm64,linux/amd64"
DOCKERFILE = """\
FROM --platform=$BUILDPLATFORM busybox AS made
ARG TARGETARCH TARGETPLATFORM
RUN echo for $TARGETARCH > /made && echo $TARGETPLATFORM
FROM scratch
COPY --from=made /made /made
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry") / "data")
    yield server
    server.close()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = write(tmp_path / "context", DOCKERFILE)
    (folder / ".dockerignore").write_text("Dockerfile\n")
    return folder


def index_of(sampand: Sampand, name: str) -> list[dict[str, Any]]:
    done = buildx(sampand, "imagetools", "inspect", "--raw", name)
    assert done.code == 0, done.err
    return list(json.loads(done.out)["manifests"])


def platforms_of(manifests: list[dict[str, Any]]) -> list[str]:
    return [f"{one['platform']['os']}/{one['platform']['architecture']}" for one in manifests]


@needs_buildx
def test_buildx_builds_for_two_and_pushes_both(
    sampand: Sampand, registry: RegistryServer, context: Path, tmp_path: Path
) -> None:
    name = f"{registry.address}/two:1"
    metadata = tmp_path / "metadata.json"
    done = build(sampand, context, BOTH, "-t", name, "--push", f"--metadata-file={metadata}")
    assert done.code == 0, done.err
    assert "[linux/arm64 made 2/2] RUN" in done.err
    assert re.search(r"\d linux/arm64\n", done.err)  # not with its usual variant, v8
    assert platforms_of(index_of(sampand, name)) == ["linux/amd64", "linux/arm64"]
    here = json.loads(sampand.docker("image", "inspect", name).out)[0]
    assert here["Architecture"] == "amd64"
    assert json.loads(metadata.read_text())["containerimage.digest"] == here["Id"]
    sampand.docker("rmi", name)
    for platform in ("linux/arm64", "linux/amd64"):
        assert sampand.docker("pull", "-q", "--platform", platform, name).code == 0
        pulled = json.loads(sampand.docker("image", "inspect", name).out)[0]
        assert f"linux/{pulled['Architecture']}" == platform
        sampand.docker("rmi", name)
    path = tmp_path / "root.tar"
    assert build(sampand, context, "--platform=linux/arm64", f"--output=type=tar,dest={path}").code == 0
    assert b"for arm64\n" in path.read_bytes()


def test_ours_builds_for_two(sampand: Sampand, registry: RegistryServer, context: Path) -> None:
    name = f"{registry.address}/ours:1"
    done = sampand.sampan(
        "build", "--platform", "linux/arm64,linux/amd64", "-t", name, "--push", str(context)
    )
    assert done.code == 0, done.err
    assert platforms_of(index_of(sampand, name)) == ["linux/amd64", "linux/arm64"]
    again = sampand.sampan("build", "--platform", "linux/arm64,linux/amd64", "-t", name, str(context))
    assert again.text.count("Using cache") == 6


@needs_buildx
def test_an_archive_of_two(sampand: Sampand, context: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.tar"
    done = build(sampand, context, BOTH, "-t", "two:2", "-o", f"type=oci,dest={path}")
    assert done.code == 0, done.err
    with tarfile.open(path) as archive:
        file = archive.extractfile("index.json")
        assert file is not None
        manifests = json.load(file)["manifests"]
    assert len(manifests) == 2, manifests


@needs_buildx
def test_a_command_for_another_machine(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path, "FROM scratch\nCOPY Dockerfile /f\nRUN x\n")
    done = build(sampand, tmp_path, "--platform=linux/s390x,linux/riscv64")
    assert done.code == 1
    assert "s390x" in done.err


@needs_buildx
@pytest.mark.parametrize("option", ["local", "tar"])
def test_files_of_two(sampand: Sampand, context: Path, option: str) -> None:
    done = build(sampand, context, BOTH, f"--output=type={option},dest={context}/out")
    assert done.code == 1
    assert "not supported yet: files of several platforms" in done.err


@needs_buildx
def test_attestations(sampand: Sampand, registry: RegistryServer, context: Path) -> None:
    name = f"{registry.address}/attested:1"
    options = ("--provenance=mode=max", "--sbom=true", "--build-arg", "word=here", "-t", name, "--push")
    done = build(sampand, context, BOTH, *options)
    assert done.code == 0, done.err
    assert platforms_of(index_of(sampand, name)) == ["linux/amd64", "linux/arm64", *["unknown/unknown"] * 2]
    told = buildx(sampand, "imagetools", "inspect", name, "--format", "{{json .Provenance}}")
    by_platform = json.loads(told.out)
    assert sorted(by_platform) == ["linux/amd64", "linux/arm64"]
    parameters = by_platform["linux/arm64"]["SLSA"]["invocation"]["parameters"]
    assert parameters["args"] == {"build-arg:word": "here"}


@needs_buildx
def test_attestations_only_when_asked_for(sampand: Sampand, registry: RegistryServer, context: Path) -> None:
    """What buildx adds to every build by itself is for exporters that dockerd has not either."""
    name = f"{registry.address}/plain:1"
    assert build(sampand, context, "-t", name, "--push").code == 0
    raw = json.loads(buildx(sampand, "imagetools", "inspect", "--raw", name).out)
    assert "manifests" not in raw
    done = build(sampand, context, "--provenance=true")
    assert "attestations belong to an image's name here" in done.err


@needs_buildx
def test_several_outputs(sampand: Sampand, context: Path, tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    done = build(sampand, context, "-t", "outputs", "-o", "type=image", "-o", f"type=tar,dest={path}")
    assert done.code == 0, done.err
    assert sampand.docker("image", "inspect", "outputs").code == 0
    with tarfile.open(path) as archive:
        assert "made" in archive.getnames()


@needs_buildx
def test_annotations_are_told_not_to_be_kept(sampand: Sampand, context: Path) -> None:
    done = build(sampand, context, "--annotation=index:one=1", "--output=type=image")
    assert done.code == 0, done.err
    assert "annotations are not kept: annotation-index.one" in done.err
