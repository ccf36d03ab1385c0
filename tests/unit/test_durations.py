"""Lengths of time read as in Docker."""

from __future__ import annotations

import pytest

from sampan.durations import describe_duration


@pytest.mark.parametrize(
    ("seconds", "want"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5400, "2 hours"),
        (86400, "24 hours"),
        (172800, "2 days"),
        (86400 * 14, "2 weeks"),
        (86400 * 60, "2 months"),
        (86400 * 365 * 2, "2 years"),
    ],
)
def test_lengths_of_time(seconds: float, want: str) -> None:
    assert describe_duration(seconds) == want
