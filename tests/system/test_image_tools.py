"""`sampan image tree|diff|mount|unmount|flatten`, against images that are built for it."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.system.registry_kit import make_image
from tests.system.sampand import Sampand, needs_busybox, needs_root
from tests.system.store_kit import entry, tar

pytestmark = [needs_root, needs_busybox]

BASE = tar(
    (entry("same"), b"same"),
    (entry("content"), b"abc"),
    (entry("size"), b"abc"),
    (entry("mode", mode=0o600), b""),
    (entry("gone"), b"12345"),
    entry("old", type=tarfile.DIRTYPE, mode=0o755),
    (entry("old/a"), b"a"),
    (entry("old/b"), b"b"),
    entry("link", type=tarfile.SYMTYPE, linkname="one"),
    (entry("kind"), b""),
)
MORE = tar(
    (entry("content"), b"abd"),
    (entry("size"), b"abcdef"),
    (entry("mode", mode=0o644), b""),
    (entry(".wh.gone"), b""),
    entry("old", type=tarfile.DIRTYPE, mode=0o755),
    (entry("old/.wh..wh..opq"), b""),
    (entry("old/b"), b"b"),
    (entry("old/c"), b"ccc"),
    entry("link", type=tarfile.SYMTYPE, linkname="two"),
    entry("kind", type=tarfile.DIRTYPE, mode=0o755),
    (entry("new"), b"1234567"),
)


def load(sampand: Sampand, name: str, layers: Sequence[bytes]) -> str:
    """Load an image made of layers, and return its id."""
    image = make_image(layers, compress=lambda data: data)
    config = image.blobs[image.config]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:

        def add(path: str, data: bytes) -> None:
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        add("config.json", config)
        for number, layer in enumerate(layers):
            add(f"{number}.tar", layer)
        manifest = [
            {"Config": "config.json", "RepoTags": [name], "Layers": [f"{n}.tar" for n in range(len(layers))]}
        ]
        add("manifest.json", json.dumps(manifest).encode())
    assert sampand.docker("load", stdin=buffer.getvalue()).code == 0
    return image.config


@pytest.fixture(scope="module")
def images(sampand: Sampand) -> dict[str, str]:
    return {
        "base:1": load(sampand, "base:1", [BASE]),
        "more:1": load(sampand, "more:1", [BASE, MORE]),
        "other:1": load(sampand, "other:1", [BASE, tar((entry("x"), b"x")), tar((entry("y"), b"y"))]),
    }


def test_diff(sampand: Sampand, images: dict[str, str]) -> None:
    done = sampand.sampan("image", "diff", "base:1", "more:1")
    assert done.text.splitlines() == [
        "C /content  # content",
        "D /gone  # -5B",
        "C /kind  # type",
        "C /link  # target",
        "C /mode  # mode",
        "A /new  # +7B",
        "D /old/a  # -1B",
        "A /old/c  # +3B",
        "C /size  # size, +3B",
    ]
    back = sampand.sampan(
        "image", "diff", "--exit-code", "more:1", "base:1", "--format", "{{.Kind}} {{.Path}}"
    )
    assert back.code == 1
    assert back.text.splitlines()[1] == "A /gone"
    same = sampand.sampan("image", "diff", "--exit-code", "more:1", images["more:1"])
    assert (same.code, same.text) == (0, "")
    missing = sampand.sampan("image", "diff", "more:1", "nothing")
    assert (missing.code, "No such image: nothing:latest" in missing.err) == (1, True)


def test_tree(sampand: Sampand, images: dict[str, str]) -> None:
    done = sampand.sampan("image", "tree", "base:1", "more:1", "other:1")
    assert done.text.splitlines() == [
        "layers",
        "└─ 1 layer 20B",
        "   ├─ base:1",
        "   ├─ 1 layer 23B",
        "   │  └─ more:1",
        "   └─ 2 layers 2B",
        "      └─ other:1",
    ]
    each = sampand.sampan("image", "tree", "--layers", "other:1").text
    assert len(each.splitlines()) == 5
    assert "No such image" in sampand.sampan("image", "tree", "nothing").err


def test_flatten(sampand: Sampand, images: dict[str, str]) -> None:
    done = sampand.sampan("image", "flatten", "more:1", "flat:1")
    assert done.code == 0, done.err
    made = json.loads(sampand.docker("inspect", "flat:1").out)[0]
    assert made["Id"] == done.text
    assert len(made["RootFS"]["Layers"]) == 1
    assert sampand.sampan("image", "diff", "more:1", "flat:1").text == ""
    sampand.docker("tag", "busybox", "box:flat")
    sampand.sampan("image", "flatten", "box:flat", "box:flat")
    assert sampand.docker("run", "--rm", "box:flat", "echo", "flat").text == "flat"
    nameless = sampand.sampan("image", "flatten", "base:1")
    assert nameless.text.startswith("sha256:")
    sampand.docker("rmi", nameless.text, "flat:1", "box:flat")
    bad = sampand.sampan("image", "flatten", "base:1", "No Name")
    assert (bad.code, "invalid reference format" in bad.err) == (1, True)
    assert not list((sampand.data / "tmp").iterdir())


def test_mount(sampand: Sampand, images: dict[str, str]) -> None:
    done = sampand.sampan("image", "mount", "more:1")
    assert done.code == 0, done.err
    place = Path(done.text)
    assert (place / "size").read_bytes() == b"abcdef"
    assert not (place / "gone").exists()
    assert stat.S_ISDIR((place / "kind").stat().st_mode)
    with pytest.raises(OSError, match="Read-only"):
        (place / "new").write_bytes(b"")
    assert sampand.sampan("image", "mount", "more:1").text == str(place)
    listed = sampand.sampan("image", "mount").text.splitlines()
    assert listed[1].split() == ["more:1", str(place)]
    refused = sampand.sampan("rmi", "more:1")
    assert f"cannot remove more:1: it is mounted at {place}" in refused.err
    fd = os.open(place / "size", os.O_RDONLY)
    busy = sampand.sampan("image", "unmount", "more:1")
    os.close(fd)
    assert (busy.code, "is in use at" in busy.err) == (1, True)
    sampand.kill()
    sampand.start()
    assert (place / "size").exists()
    assert sampand.sampan("image", "unmount", "more:1").code == 0
    assert not place.exists()
    assert "is not mounted" in sampand.sampan("image", "unmount", "more:1").err


def test_a_mount_that_is_gone_holds_nothing(sampand: Sampand, images: dict[str, str]) -> None:
    """As after the machine was started anew."""
    image = load(sampand, "short:1", [tar((entry("z"), b"z"))])
    place = Path(sampand.sampan("image", "mount", "short:1").text)
    sampand.kill()
    os.system(f"umount {place}")
    sampand.start()
    assert not place.exists()
    assert sampand.docker("rmi", "short:1").code == 0
    assert image not in sampand.docker("images", "-aq", "--no-trunc").text
    sampand.sampan("image", "mount", "base:1", "other:1")
    assert sampand.sampan("image", "unmount", "--all").code == 0
    assert sampand.sampan("image", "mount").text.splitlines()[1:] == []
