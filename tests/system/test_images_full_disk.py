"""A disk that fills at every step of load, pull and push: an error that says so, nothing half left."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.system.registry_kit import Registry, make_image, needs_registry, serve_registry
from tests.system.sampand import needs_root
from tests.system.store_kit import entry, image_archive, tar

from sampan.errors import SampanError
from sampan.registry.client import Client
from sampan.registry.credentials import NOBODY
from sampan.registry.options import Limits, RegistryOptions
from sampan.store.platforms import host_platform
from sampan.store.references import parse_reference, parse_tagged
from sampan.store.store import Store

pytestmark = needs_root

KIB = 1024
LAYERS = [
    tar(
        (entry("noise"), os.urandom(400 * KIB)),
        *((entry(f"d/{number}"), b"x" * 3000) for number in range(40)),
    ),
    tar((entry("more"), os.urandom(200 * KIB))),
]
ARCHIVE = image_archive(LAYERS, tags=["full:1"])
IMAGE = make_image(LAYERS)
PLENTY = 64 * KIB  # KiB


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as running:
        running.put("full", "1", IMAGE)
        yield running


class Disk:
    """A data root on a file system of its own, with so much room beside what an empty store takes."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = Store(str(place / "data"))
        self.limit(PLENTY)

    def limit(self, size_kib: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size_kib}k", self.place], check=True)

    def used_kib(self) -> int:
        found = os.statvfs(self.place)
        return (found.f_blocks - found.f_bfree) * found.f_frsize // KIB

    def rests(self) -> list[str]:
        """Names of everything that a failed attempt must not leave; what a pull goes on with stays."""
        data = self.place / "data"
        return [
            str(path.relative_to(data))
            for folder in ("images/blobs/sha256", "layers", "tmp")
            for path in (data / folder).iterdir()
        ]


@contextmanager
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={PLENTY}k", "none", place], check=True)
    try:
        made = Disk(place)
        try:
            yield made
        finally:
            made.limit(PLENTY)
            made.store.close()
    finally:
        subprocess.run(["umount", place], check=True)


def load(store: Store) -> None:
    store.images.load(io.BytesIO(ARCHIVE))


def puller(registry: Registry) -> Callable[[Store], None]:
    def pull(store: Store) -> None:
        limits = Limits(attempts=2, backoff_s=0.01)
        client = Client(RegistryOptions(limits=limits, certs=(), registries_conf="", policy=""))
        try:
            reference = parse_reference(f"{registry.domain}/full:1")
            sources = client.sources_as(reference, NOBODY)
            one = client.puller(store.arrivals, reference, lambda line: None)
            one.pull(sources, platform=host_platform(), is_wanted=False)
        finally:
            client.close()

    return pull


def fault_of(work: Callable[[Store], None], store: Store) -> str | None:
    """Return what users would read, None where it works."""
    try:
        work(store)
    except OSError as exc:
        return os.strerror(exc.errno or 0)
    except SampanError as exc:
        return str(exc)
    return None


def fill_at_every_step(disk: Disk, work: Callable[[Store], None], *, step_kib: int) -> int:
    """Let work meet the end of the disk later each time, until it succeeds; return how often it failed."""
    failures = 0
    start = disk.used_kib()
    for room in range(0, PLENTY, step_kib):
        disk.limit(start + room + 4)
        fault = fault_of(work, disk.store)
        if fault is None:
            break
        assert "no space" in fault.lower()
        failures += 1
        disk.limit(PLENTY)
        assert disk.store.images.list() == []
        assert disk.rests() == []
    disk.limit(PLENTY)
    return failures


def test_load(tmp_path: Path) -> None:
    with disk(tmp_path) as full:
        assert fill_at_every_step(full, load, step_kib=60) > 10
        assert list(full.store.verifier.verify(full.store.images.list())) == []
        assert [image.tags[0].familiar for image in full.store.images.list()] == ["full:1"]


def layer_builder(upper: Path) -> Callable[[Store], None]:
    """Make a layer of new files, as a step of a build does; large ones are written by a thread."""

    def build(store: Store) -> None:
        upper.mkdir()
        try:
            for number in range(4):
                (upper / str(number)).write_bytes(os.urandom(100 * KIB))
            store.built.add((), str(upper), keep=lambda layer: None, files=b"a record")
        finally:
            shutil.rmtree(upper, ignore_errors=True)

    return build


def test_layer_of_a_build(tmp_path: Path) -> None:
    with disk(tmp_path) as full:
        assert fill_at_every_step(full, layer_builder(full.place / "data/tmp/upper"), step_kib=60) > 10
        (layer,) = (full.place / "data/layers").iterdir()
        assert (layer / "files").read_bytes() == b"a record"


@needs_registry
def test_pull(tmp_path: Path, registry: Registry) -> None:
    with disk(tmp_path) as full:
        assert fill_at_every_step(full, puller(registry), step_kib=60) > 5
        assert list(full.store.verifier.verify(full.store.images.list())) == []


@needs_registry
def test_push(tmp_path: Path, registry: Registry) -> None:
    """The compressed form of a plain layer is what needs room."""
    with disk(tmp_path) as full:
        load(full.store)
        image = full.store.images.list()[0]
        target = parse_tagged(f"{registry.domain}/pushed:1")
        full.limit(full.used_kib() + 40)
        client = Client(RegistryOptions(certs=(), registries_conf="", policy=""))
        try:
            with pytest.raises((OSError, SampanError), match=r"(?i)no space"):
                client.pusher(full.store.arrivals, target, "", lambda line: None).push(image, target)
            full.limit(PLENTY)
            assert list((full.place / "data/tmp").iterdir()) == []
            status, _, _ = registry.request("GET", "/v2/pushed/manifests/1")
            assert status == 404
            client.pusher(full.store.arrivals, target, "", lambda line: None).push(image, target)
        finally:
            client.close()
        assert list(full.store.verifier.verify(full.store.images.list())) == []
