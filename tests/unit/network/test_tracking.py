"""When the table of tracked connections counts as full."""

from __future__ import annotations

import pytest

from sampan.network.tracking import Table


@pytest.mark.parametrize(
    ("entries", "limit", "full"),
    [
        pytest.param(1000, 1000, True, id="full"),
        pytest.param(950, 1000, True, id="hardly any room"),
        pytest.param(949, 1000, False, id="room"),
        pytest.param(0, 1000, False, id="empty"),
        pytest.param(1000, 0, False, id="no limit"),
    ],
)
def test_is_full(entries: int, limit: int, full: bool) -> None:
    assert Table(entries=entries, limit=limit, dropped=0).is_full is full
