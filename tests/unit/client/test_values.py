"""What a daemon says, as values."""

from __future__ import annotations

import base64
import io
import json
import stat
from typing import Any

import pytest

from sampan.client.archives import pieces_of
from sampan.client.stats import Stats
from sampan.client.values import Change, Event, PathStat, Pruned
from sampan.errors import SampanError


def header(**fields: Any) -> str:
    return base64.b64encode(json.dumps(fields).encode()).decode()


@pytest.mark.parametrize(
    ("go_mode", "mode"),
    [
        pytest.param(0o644, stat.S_IFREG | 0o644, id="file"),
        pytest.param(1 << 31 | 1 << 20 | 0o777, stat.S_IFDIR | stat.S_ISVTX | 0o777, id="sticky directory"),
        pytest.param(1 << 27 | 0o777, stat.S_IFLNK | 0o777, id="link"),
        pytest.param(1 << 26 | 1 << 21 | 0o666, stat.S_IFCHR | 0o666, id="character device"),
        pytest.param(1 << 26 | 0o660, stat.S_IFBLK | 0o660, id="block device"),
        pytest.param(1 << 23 | 0o755, stat.S_IFREG | stat.S_ISUID | 0o755, id="setuid"),
    ],
)
def test_modes(go_mode: int, mode: int) -> None:
    assert PathStat.read(header(name="x", size=3, mode=go_mode, mtime="t", linkTarget="")).mode == mode


@pytest.mark.parametrize("text", ["", "no base64!", base64.b64encode(b"{").decode()])
def test_no_path_stat(text: str) -> None:
    with pytest.raises(SampanError, match="described a path"):
        PathStat.read(text)


def test_changes_prunes_events() -> None:
    assert Change.read({"Path": "/a", "Kind": 2}) == Change(kind="deleted", path="/a")
    images = {"ImagesDeleted": [{"Untagged": "a:1"}, {"Deleted": "sha256:0"}], "SpaceReclaimed": 5}
    assert Pruned.read(images, "ImagesDeleted") == Pruned(deleted=("a:1", "sha256:0"), reclaimed_bytes=5)
    assert Pruned.read({"VolumesDeleted": None}, "VolumesDeleted").deleted == ()
    event = Event.read(
        {"Type": "container", "Action": "die", "Actor": {"ID": "x", "Attributes": {"a": "b"}}, "timeNano": 7}
    )
    assert (event.action, event.id, dict(event.attributes), event.time_ns) == ("die", "x", {"a": "b"}, 7)


def sample(total: int, system: int, memory: Any) -> Any:
    return {
        "read": "2026-01-01T00:00:00Z",
        "cpu_stats": {"cpu_usage": {"total_usage": total}, "system_cpu_usage": system, "online_cpus": 2},
        "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
        "memory_stats": memory,
        "pids_stats": {"current": 3},
        "blkio_stats": {
            "io_service_bytes_recursive": [{"op": "Read", "value": 5}, {"op": "write", "value": 7}]
        },
        "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
    }


def test_stats() -> None:
    memory = {"usage": 100, "limit": 1000, "stats": {"total_inactive_file": 30}}
    found = Stats.read(sample(150, 1200, memory))
    assert found.cpu_percent == 50 / 200 * 2 * 100
    assert (found.memory_bytes, found.memory_limit_bytes, found.pids) == (70, 1000, 3)
    assert (found.received_bytes, found.sent_bytes, found.read_bytes, found.written_bytes) == (11, 22, 5, 7)


def test_stats_of_v2_and_of_a_container_that_does_not_run() -> None:
    memory = {"usage": 100, "stats": {"inactive_file": 40}}
    assert Stats.read(sample(150, 1200, memory)).memory_bytes == 60
    nothing = Stats.read({"read": "0001-01-01T00:00:00Z"})
    assert (nothing.cpu_percent, nothing.memory_bytes, nothing.pids) == (0, 0, 0)


def test_pieces() -> None:
    data = bytes(300_000)
    assert b"".join(pieces_of(data)) == data
    assert b"".join(pieces_of(io.BytesIO(data))) == data
    assert list(pieces_of([b"a", b"b"])) == [b"a", b"b"]
