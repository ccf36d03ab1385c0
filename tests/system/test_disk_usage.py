"""Disk usage is true: layers once, logs counted, every byte of the data root; prune frees what it says."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]

SAMPAN = Path(sys.executable).parent / "sampan"


@pytest.fixture(autouse=True)
def tidy(sampand: Sampand) -> Iterator[None]:
    yield
    sampand.remove_containers()
    sampand.request("POST", "/images/prune?filters=" + quote('{"dangling":["false"],"label":["test"]}'))


def make_image(sampand: Sampand, name: str, *, size: int, labels: str = "test=1") -> str:
    """Make an image of one layer with a file of that size, and return its id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("data")
        info.size = size
        archive.addfile(info, io.BytesIO(name.encode()[:1] * size))
    query = f"fromSrc=-&changes={quote(f'LABEL {labels}')}" + (
        f"&repo={name}&tag=1" if name != "none" else ""
    )
    status, _, answer = sampand.request("POST", f"/images/create?{query}", raw=buffer.getvalue())
    assert (status, b"error" in answer) == (200, False), answer
    return str(json.loads(answer.splitlines()[-1])["status"])


def run(sampand: Sampand, name: str, script: str) -> str:
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": {"NetworkMode": "none"}}
    container_id: str = sampand.call("POST", f"/containers/create?name={name}", body)["Id"]
    sampand.call("POST", f"/containers/{name}/start")
    sampand.call("POST", f"/containers/{name}/wait")
    return container_id


def prune(sampand: Sampand, kind: str, **filters: list[str]) -> Any:
    return sampand.call("POST", f"/{kind}/prune?filters={quote(json.dumps(filters))}")


def test_layers_count_once_and_logs_count(sampand: Sampand) -> None:
    before = sampand.call("GET", "/system/df")
    image_id = make_image(sampand, "one", size=5000)
    sampand.request("POST", "/images/one:1/tag?repo=two&tag=1")
    after = sampand.call("GET", "/system/df")
    assert after["LayersSize"] - before["LayersSize"] == 5000
    image = next(one for one in after["Images"] if one["Id"] == image_id)
    assert (image["Size"], image["SharedSize"], image["Containers"]) == (5000, 0, 0)
    container_id = run(sampand, "job", "head -c 3000 /dev/zero > /file; head -c 2000 /dev/zero | tr '\\0' x")
    log = sampand.data / "containers" / container_id / f"{container_id}-json.log"
    found = sampand.call("GET", "/system/df?type=container")
    assert found.keys() == {"Containers"}
    assert found["Containers"][0]["SizeRw"] == 3000 + log.stat().st_size
    listed = sampand.call("GET", "/containers/json?all=1&size=1")
    assert listed[0]["SizeRw"] == 3000  # the list shows the layer alone, as Docker


def test_layers_that_images_share(sampand: Sampand) -> None:
    archive = _two_images_with_one_base()
    status, _, answer = sampand.request("POST", "/images/load", raw=archive)
    assert (status, b"error" in answer) == (200, False), answer
    try:
        usage = sampand.call("GET", "/system/df?type=image")
        images = {one["RepoTags"][0]: one for one in usage["Images"] if one["RepoTags"]}
        assert [images[name]["SharedSize"] for name in ("left:1", "right:1")] == [7000, 7000]
        assert [images[name]["Size"] for name in ("left:1", "right:1")] == [7100, 7200]
        assert prune(sampand, "images", dangling=["false"], label=["side=left"])["SpaceReclaimed"] == 100
        assert prune(sampand, "images", dangling=["false"], label=["side=right"])["SpaceReclaimed"] == 7200
    finally:
        prune(sampand, "images", dangling=["false"], label=["side"])


def _two_images_with_one_base() -> bytes:
    import hashlib

    def layer(name: str, size: int) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(b"x" * size))
        return buffer.getvalue()

    base = layer("base", 7000)
    members: dict[str, bytes] = {"base.tar": base}
    manifest = []
    for name, size in (("left", 100), ("right", 200)):
        top = layer(name, size)
        config = {
            "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
            "os": "linux",
            "config": {"Labels": {"side": name}},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in (base, top)],
            },
        }
        members[f"{name}.tar"] = top
        members[f"{name}.json"] = json.dumps(config).encode()
        manifest.append(
            {"Config": f"{name}.json", "RepoTags": [f"{name}:1"], "Layers": ["base.tar", f"{name}.tar"]}
        )
    members["manifest.json"] = json.dumps(manifest).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def bytes_of(folder: Path) -> int:
    """Sum the sizes of all files but directories, hard links once."""
    files = {}
    for top, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(f"{top}/{name}")
            files[status.st_ino] = status.st_size
    return sum(files.values())


def test_everything_is_everything(sampand: Sampand) -> None:
    run(sampand, "job", "head -c 3000 /dev/zero > /file; echo hi")
    found = sampand.call("GET", "/sampan/v1/system/df")
    # symlinks count as their text, devices as nothing; the database may grow between the two looks
    real = bytes_of(sampand.data) - found["Database"]
    assert abs(found["Everything"] - found["Database"] - real) <= 4096
    parts = ("Blobs", "InitLayers", "Temporary", "Database")
    known = sum(found[part] for part in parts) + sum(found[part]["Size"] for part in ("Images", "Containers"))
    assert 0 <= found["Everything"] - known < 200_000  # configurations, seccomp filters, links


def test_what_a_container_uses_is_not_reclaimable(sampand: Sampand) -> None:
    before = sampand.call("GET", "/sampan/v1/system/df")["Images"]
    run(sampand, "job", "true")
    assert sampand.call("GET", "/sampan/v1/system/df")["Images"]["Reclaimable"] < before["Reclaimable"]
    make_image(sampand, "spare", size=4321)
    after = sampand.call("GET", "/sampan/v1/system/df")["Images"]
    assert after["Size"] - before["Size"] == 4321


def test_unknown_type(sampand: Sampand) -> None:
    status, _, answer = sampand.request("GET", "/system/df?type=nosuch")
    assert (status, b"nosuch" in answer) == (400, True)


def test_docker_system_df(sampand: Sampand, cli: str) -> None:
    run(sampand, "job", "head -c 3000 /dev/zero > /file")
    shown = sampand.docker("system", "df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Size}}", cli=cli)
    assert shown.code == 0, shown.err
    rows = dict(line.split("|", 1) for line in shown.text.splitlines())
    assert rows["Containers"] == "1|3kB"
    assert rows["Build Cache"] == "0|0B"
    verbose = sampand.docker("system", "df", "-v", cli=cli)
    assert (verbose.code, "busybox" in verbose.text, "job" in verbose.text) == (0, True, True), verbose.err
    assert "-" not in sampand.docker("system", "df", "--format", "{{.Reclaimable}}", cli=cli).text


def sampan(sampand: Sampand, *arguments: str, stdin: str = "", code: int = 0) -> str:
    done = subprocess.run(
        [SAMPAN, *arguments],
        input=stdin,
        capture_output=True,
        env=sampand.environment,
        timeout=60,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_sampan_system_df(sampand: Sampand) -> None:
    run(sampand, "job", "head -c 3000 /dev/zero > /file")
    lines = sampan(sampand, "system", "df").splitlines()
    assert lines[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert lines[2].split() == ["Containers", "1", "0", "3kB", "3kB", "(100%)"]
    assert "everything below the data root:" in lines[-1]
    verbose = sampan(sampand, "system", "df", "-v")
    assert "job" in verbose
    assert "UNIQUE SIZE" in verbose


# --- prune -----------------------------------------------------------------------------------------------


def test_container_prune_frees_layer_and_log(sampand: Sampand) -> None:
    container_id = run(sampand, "job", "head -c 3000 /dev/zero > /file; echo hi")
    log = sampand.data / "containers" / container_id / f"{container_id}-json.log"
    size = 3000 + log.stat().st_size
    assert prune(sampand, "containers", until=["10m"])["ContainersDeleted"] == []
    assert prune(sampand, "containers") == {"ContainersDeleted": [container_id], "SpaceReclaimed": size}


@pytest.mark.parametrize(
    ("filters", "gone"),
    [
        ({"label": ["tier"]}, ["one", "two"]),
        ({"label": ["tier=back"]}, ["one"]),
        ({"label!": ["tier=back"]}, ["two"]),
        ({"label": ["tier"], "label!": ["tier=front"]}, ["one"]),
        ({"dangling": ["true"]}, []),
        ({"until": ["2000-01-01T00:00:00Z"]}, []),
    ],
)
def test_image_prune_filters(sampand: Sampand, filters: dict[str, list[str]], gone: list[str]) -> None:
    make_image(sampand, "one", size=10, labels="test=1 tier=back")
    make_image(sampand, "two", size=20, labels="test=1 tier=front")
    mine = {"label": [*filters.get("label", []), "test"]}
    answer = prune(sampand, "images", **({"dangling": ["false"]} | filters | mine))
    untagged = [one["Untagged"] for one in answer["ImagesDeleted"] if "Untagged" in one]
    assert sorted(untagged) == [f"{name}:1" for name in gone]
    assert answer["SpaceReclaimed"] == sum({"one": 10, "two": 20}[name] for name in gone)


def test_dangling_images(sampand: Sampand) -> None:
    image_id = make_image(sampand, "none", size=77)
    answer = prune(sampand, "images")
    assert (answer["ImagesDeleted"][0], answer["SpaceReclaimed"]) == ({"Deleted": image_id}, 77)


def test_an_image_in_use_stays(sampand: Sampand) -> None:
    make_image(sampand, "used", size=50)
    body = {"Image": "used:1", "Cmd": ["/data"], "HostConfig": {"NetworkMode": "none"}}
    sampand.call("POST", "/containers/create?name=user", body)
    assert prune(sampand, "images", dangling=["false"], label=["test"])["ImagesDeleted"] == []
    assert sampand.request("GET", "/images/used:1/json")[0] == 200


@pytest.mark.parametrize(
    ("kind", "filters", "text"),
    [
        ("containers", {"nosuch": ["x"]}, "invalid filter 'nosuch'"),
        ("containers", {"until": ["x"]}, 'failed to parse value as time or duration: "x"'),
        ("containers", {"until": ["1h", "2h"]}, "more than one until filter specified"),
        ("images", {"dangling": ["x"]}, "invalid filter 'dangling=[x]'"),
        ("images", {"reference": ["x"]}, "invalid filter 'reference'"),
        ("networks", {"nosuch": ["x"]}, "invalid filter 'nosuch'"),
        ("build", {"nosuch": ["x"]}, "invalid filter 'nosuch'"),
    ],
)
def test_filters_that_are_none(sampand: Sampand, kind: str, filters: dict[str, list[str]], text: str) -> None:
    status, _, answer = sampand.request("POST", f"/{kind}/prune?filters={quote(json.dumps(filters))}")
    assert (status, json.loads(answer)["message"]) == (400, text)


def test_docker_system_prune(sampand: Sampand, cli: str) -> None:
    container_id = run(sampand, "job", "head -c 3000 /dev/zero > /file")
    make_image(sampand, "none", size=77)
    done = sampand.docker("system", "prune", "-f", cli=cli)
    assert done.code == 0, done.err
    assert container_id in done.text
    assert done.text.endswith("Total reclaimed space: 3.077kB")
    assert sampand.docker("image", "prune", "-f", cli=cli).text.endswith("Total reclaimed space: 0B")
    make_image(sampand, "spare", size=10)
    done = sampand.docker("image", "prune", "-f", "-a", "--filter", "label=test", cli=cli)
    assert "untagged: spare:1" in done.text
    assert sampand.docker("container", "prune", "-f", cli=cli).text == "Total reclaimed space: 0B"


def test_sampan_prune(sampand: Sampand) -> None:
    container_id = run(sampand, "job", "head -c 3000 /dev/zero > /file")
    refused = sampan(sampand, "system", "prune", stdin="n\n", code=1)
    assert "all stopped containers" in refused
    shown = sampan(sampand, "system", "prune", stdin="y\n").partition("[y/N] ")[2].splitlines()
    assert shown == ["Deleted Containers:", container_id, "", "Total reclaimed space: 3kB"]
    make_image(sampand, "spare", size=10)
    shown = sampan(sampand, "image", "prune", "-f", "-a", "--filter", "label=test").splitlines()
    assert (shown[0], shown[1], shown[-1]) == (
        "Deleted Images:",
        "untagged: spare:1",
        "Total reclaimed space: 10B",
    )
    assert sampan(sampand, "container", "prune", "--force") == "Total reclaimed space: 0B\n"


# --- top -------------------------------------------------------------------------------------------------


def test_top_shows_zombies(sampand: Sampand, cli: str) -> None:
    # the shell's child outlives `exec` into a program that never waits
    body = {"Image": "busybox", "Cmd": ["sh", "-c", "sleep 0.1 & exec sleep 100"]}
    sampand.call("POST", "/containers/create?name=undead", body | {"HostConfig": {"NetworkMode": "none"}})
    sampand.call("POST", "/containers/undead/start")
    wait_for(lambda: "<defunct>" in sampand.docker("top", "undead", cli=cli).text, "the zombie", timeout_s=10)
    shown = sampand.docker("top", "undead", "-eo", "stat,pid,comm", cli=cli).text.splitlines()
    assert shown[0].split() == ["STAT", "PID", "COMMAND"]
    assert sorted(line.split()[0][0] for line in shown[1:]) == ["S", "Z"]
    assert sampand.docker("top", "undead", "-o", "comm", cli=cli).code == 1


# --- builds ----------------------------------------------------------------------------------------------


def test_a_build_is_counted_once(sampand: Sampand, tmp_path: Path) -> None:
    sampand.call("POST", "/build/prune?all=1")
    before = sampand.call("GET", "/system/df")["LayersSize"]
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nRUN --mount=type=cache,target=/c head -c 3000 /dev/zero | tee /c/f >/file\n"
    )
    sampand.environment["DOCKER_BUILDKIT"] = "0"
    done = sampand.docker("build", "-q", "-t", "counted", str(tmp_path), cli="/usr/bin/docker")
    assert done.code == 0, done.err

    def counted() -> tuple[int, list[tuple[str, bool, int]], dict[str, int]]:
        found = sampand.call("GET", "/system/df")
        full = sampand.call("GET", "/sampan/v1/system/df")
        assert full["Images"]["Size"] == found["LayersSize"]
        entries = [(one["Type"], one["Shared"], one["Size"]) for one in found["BuildCache"] if one["Size"]]
        return found["LayersSize"] - before, sorted(entries), full["BuildCache"]

    layers, entries, share = counted()
    assert (layers, entries) == (3000, [("exec.cachemount", False, 3000), ("regular", True, 3000)])
    assert (share["Size"], share["Reclaimable"]) == (3000, 3000)
    assert "Build cache usage: 3kB" in sampan(sampand, "system", "df", "-v")
    sampand.docker("rmi", "counted")
    layers, entries, share = counted()
    assert (layers, entries) == (0, [("exec.cachemount", False, 3000), ("regular", False, 3000)])
    assert share["Size"] == 6000
    assert sampand.call("POST", "/build/prune?all=1")["SpaceReclaimed"] == 6000
    assert counted()[:2] == (0, [])
