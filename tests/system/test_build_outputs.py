"""`sampan build --output`: directories, archives, registries."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
from tests.system.registry_kit import OCI_MANIFEST, Registry, needs_registry, serve_registry
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]


def build(sampand: Sampand, folder: Path, text: str, *options: str) -> Result:
    (folder / "Dockerfile").write_text(text)
    return sampand.sampan("build", *options, str(folder))


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "f").write_text("content\n")
    return folder


TREE = (
    "FROM busybox AS made\nRUN mkdir /out && cd /out && ln -s /etc/passwd link && touch gone && mkfifo p\n"
    "RUN rm /out/gone\nFROM scratch\nCOPY --chown=3:4 f /d/\nCOPY --from=made /out /out\n"
)


@pytest.mark.parametrize("option", ["-o {}", "--output=type=local,dest={}"])
def test_directory(sampand: Sampand, tmp_path: Path, context: Path, option: str) -> None:
    target = tmp_path / "made" / "here"
    done = build(sampand, context, TREE, *option.format(target).split())
    assert done.code == 0, done.err
    assert (target / "d" / "f").read_text() == "content\n"
    assert (target / "d" / "f").stat().st_uid == 3
    assert os.readlink(target / "out" / "link") == "/etc/passwd"
    assert sorted(os.listdir(target / "out")) == ["link", "p"]


def test_directory_whose_links_lead_out(sampand: Sampand, tmp_path: Path, context: Path) -> None:
    victim, target = tmp_path / "victim", tmp_path / "target"
    victim.mkdir()
    target.mkdir()
    (target / "d").symlink_to(victim)
    done = build(sampand, context, "FROM scratch\nCOPY f /d/\n", "-o", str(target))
    assert list(victim.iterdir()) == []
    assert done.code == 0 or "target" not in done.err


def test_archives(sampand: Sampand, tmp_path: Path, context: Path) -> None:
    done = build(sampand, context, TREE, "-o", "-")
    assert done.code == 0, done.err
    with tarfile.open(fileobj=io.BytesIO(done.out)) as archive:
        assert sorted(archive.getnames()) == ["d", "d/f", "out", "out/link", "out/p"]
    assert "Step 1/" in done.err  # what is said goes elsewhere
    files = [tmp_path / "files.tar", tmp_path / "oci.tar", tmp_path / "docker.tar"]
    options = [f"--output=type={file.stem.replace('files', 'tar')},dest={file}" for file in files]
    done = build(sampand, context, TREE, "-t", "archived:1", *options)
    assert done.code == 0, done.err
    for file, name in zip(files, ("d/f", "oci-layout", "manifest.json"), strict=True):
        with tarfile.open(file) as archive:
            assert name in archive.getnames()
    if which("skopeo"):
        subprocess.run(["skopeo", "inspect", f"oci-archive:{files[1]}"], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ("type=what,dest=x", "type is one of local, tar"),
        ("type=local", "dest=DIRECTORY is missing"),
        ("type=tar,where=x", "'where=x' is none of type, dest"),
        ("type=registry", "needs the image's name"),
        ("type=tar,dest=/none/x.tar", "cannot write '/none/x.tar': No such file"),
    ],
)
def test_what_cannot_be_written(sampand: Sampand, context: Path, option: str, match: str) -> None:
    done = build(sampand, context, "FROM scratch\nCOPY f /\n", f"--output={option}")
    assert done.code != 0
    assert match in done.err


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with serve_registry(tmp_path / "registry") as running:
        yield running


@needs_registry
def test_registry(sampand: Sampand, context: Path, registry: Registry) -> None:
    name = f"{registry.domain}/pushed:1"
    done = build(sampand, context, "FROM scratch\nCOPY f /\n", "-t", name, "--push")
    assert done.code == 0, done.err
    _, _, manifest = registry.request("GET", "/v2/pushed/manifests/1", Accept=OCI_MANIFEST)
    image_id = json.loads(sampand.docker("inspect", name).out)[0]["Id"]
    assert json.loads(manifest)["config"]["digest"] == image_id
