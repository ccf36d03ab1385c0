"""What builds keep: listed by df, pruned by filters; cache mounts listed, saved, brought elsewhere."""

from __future__ import annotations

import io
import json
import tarfile
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]
MOUNT = "RUN --mount=type=cache,id={},target=/c"


def build(sampand: Sampand, folder: Path, text: str, *options: str) -> Result:
    (folder / "Dockerfile").write_text(f"FROM busybox\n{text}\n")
    done = sampand.sampan("build", *options, str(folder))
    assert done.code == 0, done.err
    return done


def records(sampand: Sampand) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sampand.call("GET", "/system/df")["BuildCache"]
    return found


def prune(sampand: Sampand, *, query: str = "", **filters: str) -> dict[str, Any]:
    encoded = urllib.parse.quote(
        json.dumps({name.replace("_", "-"): [text] for name, text in filters.items()})
    )
    found: dict[str, Any] = sampand.call("POST", f"/build/prune?filters={encoded}{query}")
    return found


def test_listed(sampand: Sampand, tmp_path: Path) -> None:
    build(
        sampand,
        tmp_path,
        "RUN dd if=/dev/zero of=/big bs=1M count=2\nENV a=b\n" + MOUNT.format("own") + " true",
        "-t",
        "x",
    )
    found = {one["Description"]: one for one in records(sampand)}
    step = found["RUN dd if=/dev/zero of=/big bs=1M count=2"]
    assert step["Type"] == "regular"
    assert step["Size"] == 2 << 20
    assert step["Shared"]
    assert found["cache mount own"]["Type"] == "exec.cachemount"
    build(sampand, tmp_path, "RUN dd if=/dev/zero of=/big bs=1M count=2")
    again = {one["Description"]: one for one in records(sampand)}[step["Description"]]
    assert again["UsageCount"] == step["UsageCount"] + 1
    shown = sampand.sampan("system", "df", "-v").text
    assert "exec.cachemount" in shown
    row = next(
        line for line in sampand.sampan("system", "df").text.splitlines() if line.startswith("Build Cache")
    )
    assert " 0B" not in row or len(found) > 1
    sampand.docker("system", "df", "-v")


def test_what_images_have_stays(sampand: Sampand, tmp_path: Path) -> None:
    build(sampand, tmp_path, "RUN echo kept > /kept", "-t", "kept")
    build(sampand, tmp_path, "RUN echo gone > /gone", "-t", "gone")
    sampand.docker("rmi", "gone")
    prune(sampand)
    assert build(sampand, tmp_path, "RUN echo kept > /kept").out.count(b"Using cache") == 1
    assert build(sampand, tmp_path, "RUN echo gone > /gone").out.count(b"Using cache") == 0
    prune(sampand, query="&all=1")
    assert [one for one in records(sampand) if one["Type"] == "regular"] == []
    assert sampand.docker("run", "--rm", "kept", "cat", "/kept").text == "kept"


@pytest.mark.parametrize(
    ("filters", "goes"),
    [
        ({"type": "exec.cachemount"}, ["cache mount a", "cache mount b"]),
        ({"description": "mount a"}, ["cache mount a"]),
        ({"until": "1h"}, []),
        ({"unused_for": "24h"}, []),
        ({"inuse": "true"}, []),
        ({"shared": "false", "type": "exec"}, ["cache mount a", "cache mount b"]),
    ],
    ids=str,
)
def test_filters(sampand: Sampand, tmp_path: Path, filters: dict[str, str], goes: list[str]) -> None:
    text = "\n".join(f"{MOUNT.format(name)} dd if=/dev/zero of=/c/f bs=1k count=9" for name in ("a", "b"))
    build(sampand, tmp_path, text, "--no-cache")
    before = {one["Description"] for one in records(sampand)}
    answer = prune(sampand, query="&all=1", **filters)
    assert sorted(before - {one["Description"] for one in records(sampand)}) == goes
    assert len(answer["CachesDeleted"]) == len(goes)
    assert answer["SpaceReclaimed"] >= 9 * 1024 * len(goes)


def test_what_is_kept_of_it(sampand: Sampand, tmp_path: Path) -> None:
    prune(sampand, query="&all=1")
    for number in range(3):
        build(sampand, tmp_path, f"RUN dd if=/dev/urandom of=/f bs=1M count=2 && echo {number}")
    sampand.docker("image", "prune", "-f")
    done = sampand.sampan("builder", "prune", "-f", "-a", "--keep-storage=5m", "--filter=type=regular")
    assert done.code == 0, done.err
    left = [one["Description"] for one in records(sampand) if one["Size"] > 1 << 20]
    assert [text[-1] for text in left] == ["2", "1"]


@pytest.mark.parametrize(
    ("filters", "match"),
    [
        ({"what": "1"}, "invalid filter 'what'"),
        ({"inuse": "perhaps"}, "invalid filter 'inuse"),
        ({"parent": "x"}, "no parents"),
    ],
    ids=str,
)
def test_filters_that_are_none(sampand: Sampand, filters: dict[str, str], match: str) -> None:
    encoded = urllib.parse.quote(json.dumps({name: [text] for name, text in filters.items()}))
    status, _, answer = sampand.request("POST", f"/build/prune?filters={encoded}")
    assert status == 400
    assert match in answer.decode()


def test_cache_mounts_out_and_in(sampand: Sampand, tmp_path: Path) -> None:
    name = "../odd name/ö"
    line = f'RUN --mount=type=cache,"id={name}",target=/c'
    build(sampand, tmp_path, f"{line} echo kept > /c/f && chown 7:8 /c/f && ln -s /etc/passwd /c/l")
    assert name in sampand.sampan("builder", "cache", "ls").text
    file = tmp_path / "saved.tar"
    done = sampand.sampan("builder", "cache", "export", name, "-o", str(file))
    assert done.code == 0, done.err
    with tarfile.open(file) as archive:
        assert sorted(archive.getnames()) == [".", "./f", "./l"]
    done = sampand.sampan("builder", "cache", "import", "copy", "-i", str(file))
    assert done.code == 0, done.err
    shown = build(
        sampand, tmp_path, f"{MOUNT.format('copy')} stat -c %u:%g /c/f && cat /c/f && readlink /c/l"
    )
    assert b"7:8\nkept\n/etc/passwd\n" in shown.out
    done = sampand.sampan("builder", "cache", "export", "none")
    assert "no cache mount 'none'" in done.err


def test_hostile_archive(sampand: Sampand, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        for name in ("out/through", "../../climbed"):
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    sampand.request("PUT", "/sampan/v1/build/mounts/content?id=hostile", raw=buffer.getvalue())
    assert not (tmp_path / "through").exists()
    assert not list(sampand.data.parent.rglob("climbed"))
