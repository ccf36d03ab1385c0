from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.bundles import Runtime
from tests.system.engine_kit import Box
from tests.system.machine import read_network
from tests.system.network_host import NetworkHost, network_host
from tests.system.sampand import DOCKERS, Sampand, serve

# A shell that starts tests in the background has SIGINT ignored, and programs started from here would inherit
# that: ctrl-C could not be tried.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _the_machines_network_stays() -> Iterator[None]:
    """Its forward policy, ip_forward, tables and routes are the same before and after all tests."""
    before = read_network()
    yield
    assert read_network() == before


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


@pytest.fixture(scope="module")
def net_options() -> tuple[str, ...]:
    """Options of a module's `net_host`: a module that wants some has a fixture of this name."""
    return ()


@pytest.fixture(scope="module")
def net_host(tmp_path_factory: pytest.TempPathFactory, net_options: tuple[str, ...]) -> Iterator[NetworkHost]:
    """A daemon with the image busybox and networks, in a namespace that stands for the host's."""
    with network_host(tmp_path_factory.mktemp("network"), *net_options) as daemon:
        yield daemon


@pytest.fixture
def net(net_host: NetworkHost) -> Iterator[NetworkHost]:
    """The module's `net_host`; no container and no network is left for the next test."""
    yield net_host
    net_host.remove_containers()
    net_host.remove_networks()
