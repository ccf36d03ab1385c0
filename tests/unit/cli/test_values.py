"""Sizes, durations, limits and files of variables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.cli import values
from sampan.cli.outcome import UsageError


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("512b", 512),
        ("64m", 64 << 20),
        ("64M", 64 << 20),
        ("64mb", 64 << 20),
        ("64MiB", 64 << 20),
        ("1.5g", 3 << 29),
        ("32 k", 32 << 10),
        ("1t", 1 << 40),
        (".5k", 512),
    ],
)
def test_sizes(text: str, want: int) -> None:
    assert values.parse_size("--memory", text) == want


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "64x", "1.2.3m", "0x10", "64mm", "sixty", "1e3", "64 m b", "²"]
)
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"--memory: .* is not a size"):
        values.parse_size("--memory", text)


@given(st.integers(0, 1 << 50))
def test_any_number_of_bytes_is_itself(number: int) -> None:
    assert values.parse_size("--memory", str(number)) == number


@pytest.mark.parametrize(
    ("text", "want"), [("2", 2_000_000_000), ("0.5", 500_000_000), (".25", 250_000_000), ("1.", 10**9)]
)
def test_cpus(text: str, want: int) -> None:
    assert values.parse_cpus("--cpus", text) == want


@pytest.mark.parametrize("text", ["", ".", "-1", "two", "1.0000000001", "1/2"])
def test_what_is_no_number_of_cpus(text: str) -> None:
    with pytest.raises(UsageError, match="--cpus"):
        values.parse_cpus("--cpus", text)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("0", 0),
        ("300ms", 300_000_000),
        ("1.5s", 1_500_000_000),
        ("1h30m", 5_400_000_000_000),
        ("2us", 2000),
        ("2µs", 2000),
        ("10ns", 10),
    ],
)
def test_durations(text: str, want: int) -> None:
    assert values.parse_duration("--health-interval", text) == want


@pytest.mark.parametrize("text", ["", "5", "-1s", "s", "1x", "1s0", "1m 2s", "1..5s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="--health-interval"):
        values.parse_duration("--health-interval", text)


def test_limits() -> None:
    assert values.parse_ulimit("--ulimit", "nofile=10:20") == {"Name": "nofile", "Soft": 10, "Hard": 20}
    assert values.parse_ulimit("--ulimit", "core=-1") == {"Name": "core", "Soft": -1, "Hard": -1}


@pytest.mark.parametrize(
    "text", ["nofile", "nofile=", "nofile=a", "nosuch=1", "nofile=20:10", "nofile=-1:10", "nofile=1:2:3"]
)
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(UsageError, match="--ulimit"):
        values.parse_ulimit("--ulimit", text)


def test_a_file_of_variables(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("\ufeff# comment\n\nA=1\n  B = x\nHOME\nMISSING\nC=a=b #no comment\n", encoding="utf-8")
    with pytest.raises(UsageError, match="env:4: 'B ' is not a name"):
        values.read_variables("--env-file", str(path), {"HOME": "/root"}.get)
    path.write_text("A=1\nHOME\nMISSING\nC=a=b #no comment\n")
    found = values.read_variables("--env-file", str(path), {"HOME": "/root"}.get)
    assert found == ["A=1", "HOME=/root", "C=a=b #no comment"]
    assert values.read_variables("--label-file", str(path), None) == [
        "A=1",
        "HOME",
        "MISSING",
        "C=a=b #no comment",
    ]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda path: None, "No such file", id="missing"),
        pytest.param(lambda path: path.mkdir(), "Is a directory", id="directory"),
        pytest.param(lambda path: path.write_bytes(b"A=\xff"), "is not text in UTF-8", id="bytes"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    make(tmp_path / "env")
    with pytest.raises(UsageError, match=reason):
        values.read_variables("--env-file", str(tmp_path / "env"), {}.get)


def test_variables_take_over_ours_or_unset_the_images() -> None:
    assert values.environment([], ["A=1", "HOME", "GONE", "E="], {"HOME": "/root"}.get) == [
        "A=1",
        "HOME=/root",
        "GONE",
        "E=",
    ]
    with pytest.raises(UsageError, match="has no name"):
        values.environment([], ["=x"], {}.get)
