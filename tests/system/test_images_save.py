"""`docker save`: what comes out goes in again everywhere, with the same ids; shared layers once."""

from __future__ import annotations

import json
import os
import stat
import tarfile
import tempfile
from pathlib import Path

import pytest
from bench import engines
from tests.system.registry_server_kit import run
from tests.system.sampand import Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]


@pytest.fixture(scope="module")
def tagged(sampand: Sampand) -> str:
    """The id of busybox, which has two more names."""
    for name in ("busybox:second", "example.com:5000/team/app:v1"):
        assert sampand.docker("tag", "busybox:latest", name).code == 0
    return sampand.docker("images", "-q", "--no-trunc", "busybox:latest").text.strip()


def save(sampand: Sampand, path: Path, *names: str, cli: str | None = None) -> dict[str, bytes]:
    """Save images; return the archive's files by name."""
    done = sampand.docker("save", "-o", str(path), *names, **({"cli": cli} if cli else {}))
    assert done.code == 0, done.err
    with tarfile.open(path) as archive:
        names_inside = [member.name for member in archive if member.isfile()]
        assert len(names_inside) == len(set(names_inside))
        return {name: archive.extractfile(name).read() for name in names_inside}  # type: ignore[union-attr]


def repo_tags(files: dict[str, bytes]) -> list[list[str]]:
    return [sorted(entry["RepoTags"] or []) for entry in json.loads(files["manifest.json"])]


def test_names_decide_about_tags(sampand: Sampand, cli: str, tagged: str, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    every = ["busybox:latest", "busybox:second"]
    assert repo_tags(save(sampand, archive, "busybox", cli=cli)) == [every]
    assert repo_tags(save(sampand, archive, "busybox:second", cli=cli)) == [["busybox:second"]]
    assert repo_tags(save(sampand, archive, tagged, cli=cli)) == [[]]
    both = save(sampand, archive, "busybox:second", "example.com:5000/team/app:v1", cli=cli)
    assert repo_tags(both) == [["busybox:second", "example.com:5000/team/app:v1"]]
    named = [
        one["annotations"]["io.containerd.image.name"] for one in json.loads(both["index.json"])["manifests"]
    ]
    assert named == ["docker.io/library/busybox:second", "example.com:5000/team/app:v1"]


def test_an_image_that_is_not_there(sampand: Sampand, cli: str, tmp_path: Path) -> None:
    done = sampand.docker("save", "-o", str(tmp_path / "a.tar"), "nosuch", cli=cli)
    assert (done.code, done.err.strip()) == (1, "Error response from daemon: No such image: nosuch")
    assert not (tmp_path / "a.tar").exists()


def test_a_device_is_written_to_and_a_link_kept(sampand: Sampand, tmp_path: Path) -> None:
    device, target, link = tmp_path / "null", tmp_path / "a.tar", tmp_path / "link"
    os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    assert sampand.sampan("save", "-o", str(device), "busybox").code == 0
    assert device.is_char_device()
    target.write_bytes(b"old")
    link.symlink_to(target)
    assert sampand.sampan("save", "-o", str(link), "busybox").code == 0
    assert link.is_symlink()
    assert tarfile.is_tarfile(target)
    done = sampand.sampan("save", "-o", str(tmp_path), "busybox")
    assert (done.code, done.err.strip()) == (
        1,
        f"error: -o, --output: cannot write {str(tmp_path)!r}: Is a directory",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "link", "null"]


def test_images_with_the_same_layers_share_them(sampand: Sampand, tagged: str, tmp_path: Path) -> None:
    made = sampand.docker("create", "--network", "none", "busybox", "true").text.strip()
    assert sampand.docker("commit", made, "child:1").code == 0
    sampand.docker("rm", made)
    files = save(sampand, tmp_path / "a.tar", "busybox:latest", "child:1")
    parent, child = json.loads(files["manifest.json"])
    assert child["Layers"][0] == parent["Layers"][0]
    sampand.docker("rmi", "child:1")


def test_what_was_saved_is_loaded_again_with_its_id(
    sampand: Sampand, cli: str, tmp_path: Path, tagged: str
) -> None:
    archive = tmp_path / "a.tar"
    save(sampand, archive, "busybox:second", cli=cli)
    sampand.docker("rmi", "busybox:second")
    loaded = sampand.docker("load", "-i", str(archive), cli=cli)
    assert loaded.text.strip().endswith("Loaded image: busybox:second")
    assert sampand.docker("images", "-q", "--no-trunc", "busybox:second").text.strip() == tagged


@pytest.mark.peers
def test_podman_and_skopeo_take_it_with_the_same_id(sampand: Sampand, tmp_path: Path, tagged: str) -> None:
    archive = tmp_path / "a.tar"
    save(sampand, archive, "busybox:latest")
    with tempfile.TemporaryDirectory(prefix="sampan-") as root:
        podman = ["podman", "--root", f"{root}/g", "--runroot", f"{root}/r", "--storage-driver", "vfs"]
        run(*podman, "load", "-i", str(archive))
        assert run(*podman, "images", "-q", "--no-trunc").strip() == tagged
        run(*podman, "save", "-o", f"{root}/p.tar", "busybox")
        loaded = sampand.docker("load", "-i", f"{root}/p.tar")
        assert loaded.code == 0, loaded.err
    for kind in ("docker-archive", "oci-archive"):
        config = run("skopeo", "inspect", "--raw", "--config", f"{kind}:{archive}")
        assert json.loads(config)["rootfs"]["type"] == "layers"
    run("skopeo", "--insecure-policy", "copy", f"oci-archive:{archive}", f"oci:{tmp_path}/out:1")
    run("umoci", "unpack", "--image", f"{tmp_path}/out:1", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle/rootfs/bin/busybox").is_file()


@pytest.mark.peers
def test_dockerd_takes_it_and_gives_it_back(sampand: Sampand, tmp_path: Path, tagged: str) -> None:
    if not Path("/usr/sbin/dockerd").exists():
        pytest.skip("dockerd is not installed (Debian: docker.io)")
    archive, back = tmp_path / "a.tar", tmp_path / "b.tar"
    save(sampand, archive, "busybox:second")
    with engines.scratch(Path("/var/tmp")) as root, engines.dockerd(root / "d") as docker:
        assert "Loaded image: busybox:second" in run(*docker.client, "load", "-i", str(archive))
        assert tagged in run(*docker.client, "images", "-q", "--no-trunc")
        run(*docker.client, "save", "-o", str(back), "busybox:second")
    sampand.docker("rmi", "busybox:second")
    assert sampand.docker("load", "-i", str(back)).code == 0
    assert sampand.docker("images", "-q", "--no-trunc", "busybox:second").text.strip() == tagged


def test_a_platform_that_the_image_is_not_for(sampand: Sampand, tagged: str) -> None:
    status, _, raw = sampand.request("GET", "/images/busybox/get?platform=linux/s390x")
    assert status == 404
    assert b"does not provide the specified platform" in raw
    several = "/images/get?names=busybox&platform=linux/amd64&platform=linux/arm64"
    assert sampand.request("GET", several)[0] == 404
    status, _, raw = sampand.request(
        "POST", "/images/load?platform=linux/amd64&platform=linux/arm64", raw=b""
    )
    assert (status, b"for one platform" in raw) == (400, True)
    assert sampand.request("GET", "/images/get")[0] == 400
