from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.bundles import Runtime
from tests.system.engine_kit import Box
from tests.system.sampand import DOCKERS, Sampand, serve

# A shell that starts tests in the background has SIGINT ignored, and programs started from here would inherit
# that: ctrl-C could not be tried.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def sampand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    """A daemon with the image busybox, for one module."""
    daemon = serve(tmp_path_factory.mktemp("sampand"))
    try:
        yield daemon
    finally:
        daemon.close()


@pytest.fixture(params=sorted(DOCKERS))
def cli(request: pytest.FixtureRequest, sampand: Sampand) -> Iterator[str]:
    """Each docker command line client on this machine; no container is left for the next test."""
    path = DOCKERS[request.param]
    if not Path(path).exists():
        pytest.skip(f"{request.param} is not installed")
    yield path
    sampand.remove_containers()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """`sampan-runtime` with a busybox root and a state directory of its own, for one module."""
    made = Runtime(tmp_path_factory.mktemp("runtime"))
    yield made
    made.close()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """An engine with the image busybox, for one test, which must leave nothing behind."""
    box = Box(tmp_path / "engine").load_busybox()
    try:
        yield box
        box.remove_all()
        assert box.leftovers() == []
    finally:
        box.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """An engine with the image busybox, for one module."""
    box = Box(tmp_path_factory.mktemp("engine")).load_busybox()
    try:
        yield box
    finally:
        box.close()
