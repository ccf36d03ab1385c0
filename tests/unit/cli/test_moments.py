from __future__ import annotations

import time

import pytest

from sampan.cli.moments import parse_moment
from sampan.cli.outcome import UsageError


def test_moments() -> None:
    assert parse_moment("--since", "1700000000.5") == "1700000000.5"
    assert parse_moment("--since", "2026-01-02T03:04:05.25Z") == "1767323045.250000000"
    assert parse_moment("--since", "2026-01-02T05:04:05+02:00") == "1767323045.000000000"
    assert float(parse_moment("--since", "10m")) == pytest.approx(time.time() - 600, abs=5)
    local = time.mktime((2026, 1, 2, 3, 4, 0, 0, 0, -1))
    assert float(parse_moment("--since", "2026-01-02T03:04")) == pytest.approx(local)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-45", "2026-01-02T99", "10 apples", "2026-xx-01"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        parse_moment("--since", text)
