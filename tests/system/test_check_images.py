"""`system check --images` finds a changed blob and every kind of change in a layer, and nothing else."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root
from tests.system.store_kit import entry, image_archive, tar

pytestmark = [needs_root, needs_busybox]

LAYERS = [
    tar(
        (entry("file"), b"content"), (entry("inner/deep"), b"x"), entry("link", tarfile.SYMTYPE, linkname="a")
    ),
    tar((entry("upper"), b"y"), (entry(".wh.file"), b"")),
]


@pytest.fixture
def folder(sampand: Sampand) -> Path:
    """An image's lower layer, unpacked."""
    assert sampand.docker("load", stdin=image_archive(LAYERS, tags=["checked:1"])).code == 0
    found = [path for path in (sampand.data / "layers").glob("*/diff") if (path / "inner/deep").exists()]
    assert len(found) == 1
    return found[0]


def verdict(sampand: Sampand) -> tuple[int, str]:
    form = "{{.Kind}}|{{.State}}"
    done = sampand.sampan("system", "check", "--images", "--format", form)
    return done.code, done.text


def test_all_is_well(sampand: Sampand, folder: Path) -> None:
    done = sampand.sampan("system", "check", "--images")
    assert (done.code, done.text) == (0, "nothing is left over")
    assert not list((sampand.data / "tmp").iterdir())


def _chmod(folder: Path) -> None:
    os.chmod(folder / "file", 0o600)


def _content(folder: Path) -> None:
    times = os.stat(folder / "file")
    (folder / "file").write_bytes(b"CONTENT")
    os.utime(folder / "file", ns=(times.st_atime_ns, times.st_mtime_ns))


def _link(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").symlink_to("b")


def _attribute(folder: Path) -> None:
    os.setxattr(folder / "file", "user.new", b"1")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(_chmod, "/file is another one", id="mode"),
        pytest.param(_content, "/file is another one", id="content of the same size and time"),
        pytest.param(lambda folder: (folder / "file").unlink(), "/file is missing", id="missing"),
        pytest.param(lambda folder: (folder / "new").touch(), "/new should not be there", id="added"),
        pytest.param(_link, "/link is another one", id="link"),
        pytest.param(_attribute, "/file is another one", id="attribute"),
        pytest.param(
            lambda folder: os.chown(folder / "inner/deep", 5, 5), "/inner/deep is another", id="owner"
        ),
    ],
)
def test_a_changed_layer(sampand: Sampand, folder: Path, change: Callable[[Path], None], why: str) -> None:
    change(folder)
    code, text = verdict(sampand)
    assert (code, len(text.splitlines())) == (1, 1)
    assert text.startswith(f"damaged layer|damaged: {why}")
    told = sampand.sampan("system", "check", "--images")
    assert "1 damaged: remove their images and pull or load them again" in told.text
    assert sampand.docker("rmi", "checked:1").code == 0
    assert sampand.docker("load", stdin=image_archive(LAYERS, tags=["checked:1"])).code == 0
    assert verdict(sampand) == (0, "")


def test_a_changed_blob(sampand: Sampand, folder: Path) -> None:
    """It is told once; its layer cannot be compared any more."""
    blobs = sampand.data / "images/blobs/sha256"
    blob = max(blobs.iterdir(), key=lambda path: (path.read_bytes() == LAYERS[0], path.name))
    blob.write_bytes(LAYERS[0][:-1] + b"x")
    code, text = verdict(sampand)
    assert (code, text.startswith("damaged blob|damaged: its content has digest sha256:")) == (1, True)
    assert len(text.splitlines()) == 1
    blob.unlink()
    assert "missing" in verdict(sampand)[1]
    assert sampand.docker("rmi", "checked:1").code == 0
    assert verdict(sampand) == (0, "")


def test_an_image_with_a_damaged_configuration(sampand: Sampand) -> None:
    """As a disk may leave it that lost power and lied about what it had written: all else goes on."""
    archive = image_archive([tar((entry("broken"), b"x"))], tags=["broken:1"])
    assert sampand.docker("load", stdin=archive).code == 0
    image = sampand.docker("images", "-q", "--no-trunc", "broken:1").text
    (sampand.data / "images/blobs/sha256" / image.removeprefix("sha256:")).write_bytes(b"")
    sampand.kill()
    sampand.start()
    assert sampand.docker("run", "--rm", "busybox", "echo", "well").text == "well"
    shown = sampand.docker("images", "--no-trunc", "--format={{.Repository}} {{.ID}}").text.splitlines()
    assert f"broken {image}" in shown
    refused = sampand.docker("run", "--rm", "broken:1", "true")
    assert f"blob {image} is damaged" in refused.err
    code, text = verdict(sampand)
    assert (code, "damaged blob|damaged" in text) == (1, True)
    assert sampand.docker("rmi", "broken:1").code == 0
    assert sampand.docker("load", stdin=archive).code == 0
    assert verdict(sampand)[0] == 0
    sampand.docker("rmi", "broken:1")
