"""`--cache-from` and `--cache-to`: what one machine built, another finds. Prunes make the other one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.buildkit_kit import build as buildx_build
from tests.system.buildkit_kit import needs_buildx
from tests.system.registry_server_kit import RegistryServer
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]

DOCKERFILE = (
    "FROM busybox AS made\nRUN echo made > /made\nENV a=b\n"
    "FROM busybox\nWORKDIR /w\nCOPY f /w/\nRUN date +%N > /w/now\nCOPY --from=made /made /w/\nLABEL x=y\n"
)
OWN = 5  # steps of the image itself: WORKDIR, two COPYs, RUN, LABEL
ALL = 7


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry") / "data")
    yield server
    server.close()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "f").write_text("content\n")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    return folder


def build(sampand: Sampand, context: Path, *options: str) -> tuple[str, Result]:
    """Build; return the image's id, and what was said."""
    file = context.parent / "iid"
    done = sampand.sampan("build", "--iidfile", str(file), *options, str(context))
    assert done.code == 0, done.err
    return file.read_text(), done


def hits(done: Result) -> int:
    return done.out.count(b"Using cache")


def forget(sampand: Sampand, *images: str) -> None:
    """Be a machine that has never built this."""
    for image in images:
        sampand.sampan("rmi", "-f", image)
    sampand.call("POST", "/build/prune?all=1")
    kept = [one for one in sampand.call("GET", "/system/df")["BuildCache"] if one["Type"] == "regular"]
    assert kept == []


@pytest.mark.parametrize("shape", ["", ",image-manifest=false", ",image-manifest=false,oci-mediatypes=false"])
def test_registry(sampand: Sampand, registry: RegistryServer, context: Path, shape: str) -> None:
    ref = f"{registry.address}/cache{len(shape)}"
    made, _ = build(sampand, context, "--cache-to", f"type=registry,ref={ref},mode=max{shape}")
    forget(sampand, made)
    again, done = build(sampand, context, "--cache-from", f"type=registry,ref={ref}")
    assert again == made
    assert hits(done) == ALL
    _, done = build(sampand, context, "--cache-from", f"type=registry,ref={registry.address}/not-asked")
    assert hits(done) == ALL  # all is here by now
    assert b"not-asked" not in done.out


def test_documents(sampand: Sampand, registry: RegistryServer, context: Path) -> None:
    ref = f"{registry.address}/documents"
    build(sampand, context, "--cache-to", f"type=registry,ref={ref},mode=max")
    manifest = registry.ask("GET", "/v2/documents/manifests/latest").document
    assert manifest["config"]["mediaType"] == "application/vnd.buildkit.cacheconfig.v0"
    config = registry.ask("GET", f"/v2/documents/blobs/{manifest['config']['digest']}").document
    assert len(config["records"]) == ALL
    listed = {one["digest"]: one for one in manifest["layers"]}
    for layer in config["layers"]:
        assert listed[layer["blob"]]["annotations"]["containerd.io/uncompressed"].startswith("sha256:")
    assert [one.get("parent", 0) for one in config["layers"]] == [-1, -1, 1, 2, 3]
    assert b"PATH" not in json.dumps(config).encode()


def test_the_images_own_steps_only(sampand: Sampand, registry: RegistryServer, context: Path) -> None:
    ref = f"{registry.address}/min"
    made, _ = build(sampand, context, "--cache-to", f"type=registry,ref={ref}")
    forget(sampand, made)
    again, done = build(sampand, context, "--cache-from", ref)
    assert again == made  # the first stage ran again, and came to the same
    assert hits(done) == OWN


def test_local(sampand: Sampand, context: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "cache"
    made, _ = build(sampand, context, "--cache-to", f"type=local,dest={folder},mode=max")
    assert json.loads((folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    forget(sampand, made)
    again, done = build(sampand, context, "--cache-from", f"type=local,src={folder}")
    assert (again, hits(done)) == (made, ALL)
    (context / "f").write_text("other\n")
    build(sampand, context, "--cache-to", f"type=local,dest={folder},mode=max,tag=second")
    tags = [one["annotations"] for one in json.loads((folder / "index.json").read_text())["manifests"]]
    assert len(tags) == 2


@pytest.mark.parametrize("how", ["--cache-to=type=inline", "--build-arg=BUILDKIT_INLINE_CACHE=1"])
def test_inline(sampand: Sampand, registry: RegistryServer, context: Path, how: str) -> None:
    name = f"{registry.address}/inline{len(how)}"
    made, _ = build(sampand, context, "-t", name, how)
    config = json.loads((sampand.data / "images/blobs/sha256" / made.removeprefix("sha256:")).read_text())
    assert config["moby.buildkit.cache.v0"]
    sampand.sampan("push", name)
    forget(sampand, name, made)
    again, done = build(sampand, context, "--cache-from", name, how)
    assert (again, hits(done)) == (made, OWN)


def test_classic_by_history(sampand: Sampand, registry: RegistryServer, context: Path) -> None:
    """What CI does: pull the last image, build from it; no records are in it."""
    name = f"{registry.address}/classic"
    text = "FROM busybox\nRUN date +%N > /now\nCOPY f /f\nENV a=b\nRUN cat /f /now > /both\n"
    (context / "Dockerfile").write_text(text)
    made, _ = build(sampand, context, "-t", name)
    sampand.sampan("push", name)
    forget(sampand, name, made)
    done = sampand.docker("build", "--cache-from", name, "-q", str(context))
    assert done.text != made  # nobody has it here, and classic asks nobody
    forget(sampand, done.text)
    sampand.docker("pull", "-q", name)
    done = sampand.docker("build", "--cache-from", name, "-t", "again", str(context))
    assert done.code == 0, done.err
    assert hits(done) == 4
    inspected: Any = sampand.call("GET", "/images/again/json")
    assert inspected["Id"] == made
    forget(sampand, "again")
    (context / "f").write_text("other\n")
    done = sampand.docker("build", "--cache-from", name, "-t", "again", str(context))
    assert hits(done) == 1
    forget(sampand, "again", name)


@needs_buildx
@pytest.mark.parametrize("kind", ["registry", "local"])
def test_buildx(sampand: Sampand, registry: RegistryServer, context: Path, tmp_path: Path, kind: str) -> None:
    folder, ref = tmp_path / "cache", f"{registry.address}/buildx"
    to, source = {
        "registry": (f"type=registry,ref={ref}", f"type=registry,ref={ref}"),
        "local": (f"type=local,dest={folder}", f"type=local,src={folder}"),
    }[kind]
    made = buildx_build(sampand, context, "-t", "made", "--cache-to", f"{to},mode=max")
    assert made.code == 0, made.err
    before: Any = sampand.call("GET", "/images/made/json")
    forget(sampand, "made")
    again = buildx_build(sampand, context, "-t", "again", "--cache-from", source)
    assert again.code == 0, again.err
    assert again.err.count("CACHED") == ALL - 2  # ENV and LABEL are not shown
    after: Any = sampand.call("GET", "/images/again/json")
    assert after["Id"] == before["Id"]
    forget(sampand, "again")


@needs_buildx
def test_buildx_inline_by_both_doors(sampand: Sampand, registry: RegistryServer, context: Path) -> None:
    name = f"{registry.address}/both"
    done = buildx_build(sampand, context, "-t", name, "--build-arg=BUILDKIT_INLINE_CACHE=1")
    assert done.code == 0, done.err
    sampand.sampan("push", name)
    forget(sampand, name)
    done = buildx_build(sampand, context, "--cache-from", name, "--cache-from", f"{registry.address}/none")
    assert done.code == 0, done.err
    assert done.err.count("CACHED") == OWN - 1
    assert f"importing cache manifest from {name}" in done.err
    forget(sampand)
    _, own = build(sampand, context, "--cache-from", name)
    assert hits(own) == OWN


def test_damaged_and_missing(
    sampand: Sampand, registry: RegistryServer, context: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    made, _ = build(sampand, context, "--cache-to", f"type=local,dest={folder},mode=max")
    forget(sampand, made)
    config = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"]
    manifest = json.loads((folder / "blobs/sha256" / config.removeprefix("sha256:")).read_text())
    blobs = [folder / "blobs/sha256" / one["digest"].removeprefix("sha256:") for one in manifest["layers"]]
    blobs[0].unlink()
    blobs[1].write_bytes(b"hostile")
    blobs[2].unlink()
    blobs[2].symlink_to("/etc/passwd")
    options = ("--cache-from", f"type=local,src={folder}", "--cache-from", f"{registry.address}/none")
    _, done = build(sampand, context, *options)
    assert b"[Warning] the cache of" in done.out
    assert b"is damaged" in done.out
    assert b"none cannot be used" in done.out
    assert (
        sampand.docker("run", "--rm", (context.parent / "iid").read_text(), "cat", "/w/f").text == "content"
    )


def test_a_registry_that_takes_nothing(sampand: Sampand, context: Path) -> None:
    to = "type=registry,ref=127.0.0.1:1/x"
    done = sampand.sampan("build", "-q", "--cache-to", to, str(context))
    assert done.code == 1
    assert "exporting cache to 127.0.0.1:1/x" in done.err
    done = sampand.sampan("build", "-q", "--cache-to", f"{to},ignore-error=true", str(context))
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ("--cache-to=type=gha", "there is no such cache here"),
        ("--cache-to=type=local", "dest is missing"),
        ("--cache-to=type=registry,ref=x,mode=most", "neither min nor max"),
        ("--cache-to=type=registry,ref=x,colour=red", "'colour' is none of"),
        ("--cache-from=type=inline", "name the image"),
        ("--cache-from=type=local,src=/nowhere", "no directory"),
        ("--cache-from=type=registry,ref", "not key=value"),
        ("--cache-from=type=registry,ref=Not A Name", "invalid reference format"),
    ],
)
def test_bad_options(sampand: Sampand, context: Path, option: str, match: str) -> None:
    done = sampand.sampan("build", option, str(context))
    assert match in done.err or match in done.text
