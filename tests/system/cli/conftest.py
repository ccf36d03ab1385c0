from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from tests.system.cli.harness import Daemon, make_image, running_dockerd
from tests.system.sampand import Sampand


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A dockerd on private roots, with a busybox image."""
    if shutil.which("dockerd") is None:
        pytest.skip("needs Debian's docker.io")
    with running_dockerd(tmp_path_factory.mktemp("dockerd")) as daemon:
        make_image(daemon.host)
        yield daemon


@pytest.fixture(params=["sampand", pytest.param("dockerd", marks=pytest.mark.peers)])
def daemon(request: pytest.FixtureRequest) -> Daemon:
    """Each of the two daemons, with a busybox image."""
    found: Daemon | Sampand = request.getfixturevalue(request.param)
    return found if isinstance(found, Daemon) else Daemon(found.host, is_sampand=True)
