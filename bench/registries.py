"""Rows for pull and push against Debian's docker-registry: 500 MB in ten layers, one of 20,000 files.

The files are those of this machine's /usr. Removal is not in the time. The last row is inflate + hash + write
of the same layers by the store's own pipeline, without a registry.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from shutil import which

from tests.system.registry_kit import MadeImage, make_image, serve_registry

from bench import engines
from bench.compare import Row, time_command

LAYERS = 9
LAYER_BYTES = 52_000_000
MANY = 20_000
LARGE_FILE = 16 << 20


def rows(root: Path, found: dict[str, engines.Engine], rounds: int) -> list[Row]:
    """Return the rows; rounds are few, half a gigabyte takes seconds."""
    image = _usr_image()
    contestants = [found[name] for name in ("sampan", "docker", "podman") if name in found]
    with serve_registry(root / "registry") as registry:
        registry.put("large", "1", image)
        pull = Row("registry: pull of 500 MB, ten layers", "ms", "≤ 1/2 of the others")
        again = Row("registry: pull of an unchanged tag", "ms", "50 ms")
        push = Row("registry: push of 500 MB to an empty registry", "ms", "≤ 1/2 of the others")
        save = Row("registry: save of it to a file", "ms", "≤ 1/2 of the others")
        load = Row("registry: load of that file", "ms", "≤ 1/2 of the others")
        limit = Row("registry: inflate, hash and write alone", "ms", "what pull cannot beat")
        for number in range(rounds):
            limit.values.setdefault("sampan", []).append(_pipeline_alone(root / "limit", image))
            if which("skopeo") and which("umoci"):
                taken = _copy_and_unpack(root / "umoci", f"{registry.domain}/large:1")
                pull.values.setdefault("skopeo, umoci", []).append(taken)
            for engine in contestants:
                name = f"{registry.domain}/large:1"
                for row in (pull, again):
                    _time(row, engine, ["pull", "-q", *_lax(engine), name])
                with serve_registry(root / f"{engine.name}-{number}") as empty:
                    target = f"{empty.domain}/large:1"
                    subprocess.run([*engine.client, "tag", name, target], check=True, capture_output=True)
                    _time(push, engine, ["push", *_lax(engine), target])
                archive = str(root / "saved.tar")
                _time(save, engine, ["save", "-o", archive, name])
                subprocess.run([*engine.client, "rmi", "-f", name, target], capture_output=True)
                _time(load, engine, ["load", "-i", archive])
                subprocess.run([*engine.client, "rmi", "-f", name], capture_output=True)
                os.unlink(archive)
    return [pull, again, push, save, load, limit]


def _time(row: Row, engine: engines.Engine, command: list[str]) -> None:
    os.sync()
    row.values.setdefault(engine.name, []).append(time_command([*engine.client, *command]))


def _copy_and_unpack(root: Path, name: str) -> float:
    """Do what a pull does with two programs: fetch into a layout, then make the tree; milliseconds."""
    root.mkdir()
    os.sync()
    layout = root / "layout"
    fetch = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false"]
    taken = time_command([*fetch, f"docker://{name}", f"oci:{layout}:1"])
    taken += time_command(["umoci", "unpack", "--image", f"{layout}:1", str(root / "bundle")])
    subprocess.run(["rm", "-rf", root], check=True)
    return taken


def _lax(engine: engines.Engine) -> list[str]:
    return ["--tls-verify=false"] if engine.name == "podman" else []


def _pipeline_alone(root: Path, image: MadeImage) -> float:
    from sampan.store.archive.feed import Feed
    from sampan.store.archive.unpack import unpack
    from sampan.store.trees import remove_tree

    began = time.perf_counter()
    for number, blob in enumerate(data for digest, data in image.blobs.items() if digest != image.config):
        folder = root / str(number)
        folder.mkdir(parents=True)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with Feed(io.BytesIO(blob)) as feed:
            unpack(feed.read_chunk, fd, spool_directory=str(root))
            feed.drain()
        os.close(fd)
    taken = (time.perf_counter() - began) * 1000
    remove_tree(str(root))
    return taken


def _usr_image() -> MadeImage:
    """Ten layers: nine of large files by size, one of many small ones."""
    large = _files(Path("/usr/lib"))
    layers = [_tar(_up_to(large, LAYER_BYTES)) for _ in range(LAYERS)]
    layers.append(_tar(islice(_files(Path("/usr/share")), MANY)))
    return make_image(layers)


def _files(top: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(top):
        for name in names:
            path = Path(folder) / name
            with suppress(OSError):
                if not path.is_symlink() and path.is_file() and path.stat().st_size <= LARGE_FILE:
                    yield path


def _up_to(files: Iterator[Path], size: int) -> Iterator[Path]:
    for path in files:
        yield path
        size -= path.stat().st_size
        if size <= 0:
            return


def _tar(files: Iterator[Path]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for path in files:
            archive.add(path, str(path).lstrip("/"), recursive=False)
    return target.getvalue()
