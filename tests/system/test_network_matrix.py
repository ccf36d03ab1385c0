"""Every cell of the matrix is as documented (network_matrix.py); beside dockerd: `tools/compare networks`."""

from __future__ import annotations

from tests.system.network_host import NetworkHost
from tests.system.network_matrix import FAMILIES, KINDS, expected, measure, reaches_loopback6
from tests.system.sampand import needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]


def test_matrix(net: NetworkHost) -> None:
    found = measure(net, KINDS, FAMILIES)
    assert len(found) == 6 * 5 * 6 * 2
    loopback6 = reaches_loopback6(net)
    wanted = {cell: expected(cell, loopback6=loopback6) for cell in found}
    wrong = {cell: reached for cell, reached in found.items() if reached != wanted[cell]}
    assert wrong == {}
