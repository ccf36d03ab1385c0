from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.daemon.door_fixture import Served, serve_door


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Served]:
    with serve_door(tmp_path) as served:
        yield served
