"""Tables, and times and sizes in words."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.cli.table import ago, human_size, local_time, parse_time, render, shorten


def test_columns_are_three_apart_and_at_least_ten_wide() -> None:
    rows = [["CONTAINER ID", "IMAGE", "NAMES"], ["0123456789ab", "busybox:latest", "a"]]
    assert render(rows) == "CONTAINER ID   IMAGE            NAMES\n0123456789ab   busybox:latest   a\n"
    assert render([["A", "B"]]) == "A         B\n"
    assert render([]) == ""


def test_ago() -> None:
    assert ago(1000 - 300, 1000) == "5 minutes ago"


@pytest.mark.parametrize(
    ("size", "want"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1536, "1.536kB"), (1_234_567, "1.235MB"), (5e9, "5GB")],
)
def test_sizes(size: float, want: str) -> None:
    assert human_size(size) == want
    assert human_size(1_234_567, digits=3) == "1.23MB"


@given(st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2200, 1, 1)))
def test_times_are_read_back(moment: datetime.datetime) -> None:
    utc = moment.replace(tzinfo=datetime.UTC)
    assert parse_time(utc.isoformat().replace("+00:00", "Z")) == pytest.approx(utc.timestamp(), abs=1e-3)


def test_times_with_an_offset_and_without_a_value() -> None:
    assert parse_time("2026-01-02T03:04:05+02:00") == parse_time("2026-01-02T01:04:05Z")
    assert parse_time("2026-01-02T03:04:05-02:30") == parse_time("2026-01-02T05:34:05Z")
    assert parse_time("0001-01-01T00:00:00Z") == 0
    assert parse_time("") == 0
    assert local_time(0).startswith(("1970-01-01", "1969-12-31"))


def test_cutting() -> None:
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde…"
