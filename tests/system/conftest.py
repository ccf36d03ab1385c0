from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.sampand import DOCKERS, Sampand, serve


@pytest.fixture(scope="module")
def sampand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    """A daemon with the image busybox, for one module."""
    daemon = serve(tmp_path_factory.mktemp("sampand"))
    try:
        yield daemon
    finally:
        daemon.close()


@pytest.fixture(params=sorted(DOCKERS))
def cli(request: pytest.FixtureRequest) -> str:
    """Each docker command line client on this machine."""
    path = DOCKERS[request.param]
    if not Path(path).exists():
        pytest.skip(f"{request.param} is not installed")
    return path
