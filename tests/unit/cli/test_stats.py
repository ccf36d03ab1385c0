"""The columns of `sampan stats`."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.cli.stats import cpu_percent, row


def sample(**changes: Any) -> dict[str, Any]:
    return {
        "name": "/web",
        "id": "ab" * 32,
        "read": "2026-01-02T03:04:06Z",
        "cpu_stats": {"cpu_usage": {"total_usage": 1_500}, "system_cpu_usage": 4_000, "online_cpus": 2},
        "precpu_stats": {"cpu_usage": {"total_usage": 500}, "system_cpu_usage": 2_000},
        "memory_stats": {"usage": 3 << 20, "limit": 8 << 20, "stats": {"total_inactive_file": 1 << 20}},
        "networks": {"eth0": {"rx_bytes": 1_500, "tx_bytes": 2}, "eth1": {"rx_bytes": 500, "tx_bytes": 0}},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"op": "Read", "value": 1000},
                {"op": "read", "value": 234},
                {"op": "Write", "value": 7},
                {"op": "Total", "value": 99},
            ]
        },
        "pids_stats": {"current": 3},
    } | changes


def test_row() -> None:
    shown = row(sample())
    assert shown == {
        "Container": "web",
        "ID": "ab" * 6,
        "Name": "web",
        "CPUPerc": "100.00%",
        "MemUsage": "2MiB / 8MiB",
        "MemPerc": "25.00%",
        "NetIO": "2kB / 2B",
        "BlockIO": "1.23kB / 7B",
        "PIDs": "3",
    }


def test_a_stopped_container_shows_dashes() -> None:
    shown = row({"name": "/job", "id": "cd" * 32, "read": "0001-01-01T00:00:00Z"}, full=True)
    assert (shown["Name"], shown["ID"], shown["CPUPerc"], shown["MemUsage"]) == (
        "job",
        "cd" * 32,
        "--",
        "-- / --",
    )


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        pytest.param({}, 100.0, id="half of two"),
        pytest.param({"precpu_stats": {"cpu_usage": {"total_usage": 0}}}, 0.0, id="the first sample"),
        pytest.param(
            {"precpu_stats": {"cpu_usage": {"total_usage": 9_999}, "system_cpu_usage": 2_000}},
            0.0,
            id="restarted",
        ),
    ],
)
def test_cpu_percent(changes: dict[str, Any], want: float) -> None:
    assert cpu_percent(sample(**changes)) == want


def test_v2_memory() -> None:
    memory = {"usage": 100, "limit": 1000, "stats": {"inactive_file": 40, "active_file": 5}}
    assert row(sample(memory_stats=memory))["MemUsage"] == "60B / 1000B"
