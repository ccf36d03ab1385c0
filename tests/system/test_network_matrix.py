"""Every cell of the matrix is as documented (network_matrix.py); beside dockerd: `tools/compare networks`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.system.network_host import NetworkHost, network_host
from tests.system.network_matrix import FAMILIES, KINDS, expected, measure, reaches_loopback6
from tests.system.sampand import needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkHost]:
    with network_host(tmp_path_factory.mktemp("network")) as daemon:
        yield daemon


def test_matrix(net: NetworkHost) -> None:
    found = measure(net, KINDS, FAMILIES)
    assert len(found) == 6 * 5 * 6 * 2
    loopback6 = reaches_loopback6(net)
    wanted = {cell: expected(cell, loopback6=loopback6) for cell in found}
    wrong = {cell: reached for cell, reached in found.items() if reached != wanted[cell]}
    assert wrong == {}
