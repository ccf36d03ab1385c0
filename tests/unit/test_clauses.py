"""docs/clauses name tests; each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEST = re.compile(r"`([\w/]*test_\w+\.py)(?:::(test_\w+))?`")


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs" / "clauses").glob("*.md")))
def test_every_test_named_exists(page: str) -> None:
    named = TEST.findall((ROOT / "docs" / "clauses" / page).read_text())
    assert named
    assert [f"{file}::{test}" for file, test in named if not _exists(file, test)] == []


def _exists(file: str, test: str) -> bool:
    folder = "tests" if file.startswith(("unit/", "kernel/", "system/", "tests/")) else "tests/system"
    path = ROOT / folder / file.removeprefix("tests/")
    return path.exists() and f"def {test}" in path.read_text()
