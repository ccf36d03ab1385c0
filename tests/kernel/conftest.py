"""Kernel tests: real calls, as root, in fresh namespaces; each leaves the census as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.census import compare, take_census


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture(autouse=True)
def census(tmp_path: Path) -> Iterator[None]:
    """Fail the test if it left mounts, descriptors or processes behind."""
    before = take_census(tmp_path)
    yield
    changes = compare(before, take_census(tmp_path))
    assert not changes, "\n".join(changes)
