"""Samples of a cgroup, from the files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.kernel.cgroups.samples import open_samples

V1 = {
    "cpuacct/cpuacct.usage": "19196239\n",
    "cpuacct/cpuacct.usage_percpu": "119865 19076374 \n",
    "cpuacct/cpuacct.stat": "user 3\nsystem 2\n",
    "cpu/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 777\n",
    "memory/memory.usage_in_bytes": "806912\n",
    "memory/memory.max_usage_in_bytes": "4067328\n",
    "memory/memory.failcnt": "1\n",
    "memory/memory.limit_in_bytes": "9223372036854771712\n",
    "memory/memory.stat": "cache 4096\nrss 8192\ntotal_inactive_file 12\n",
    "pids/pids.current": "5\n",
    "pids/pids.max": "max\n",
    "blkio/blkio.bfq.io_service_bytes_recursive": "Total 0\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n",
}
V2 = {
    "cpu.stat": "usage_usec 50\nuser_usec 20\nsystem_usec 30\nnr_periods 1\nnr_throttled 2\n"
    "throttled_usec 3\n",
    "memory.current": "100\n",
    "memory.max": "max\n",
    "memory.peak": "200\n",
    "memory.stat": "anon 60\ninactive_file 40\n",
    "pids.current": "1\n",
    "pids.max": "2048\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n254:16 \n",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)


def test_v1(tmp_path: Path) -> None:
    write(tmp_path, V1)
    paths = {name: f"{tmp_path}/{name}" for name in ("cpu", "cpuacct", "memory", "pids", "blkio")}
    sample = open_samples(paths | {"": "/nothing/here"})()
    assert (sample.cpu_ns, sample.percpu_ns) == (19196239, [119865, 19076374])
    assert (sample.user_ns, sample.kernel_ns) == (30_000_000, 20_000_000)
    assert (sample.periods, sample.throttled_periods, sample.throttled_ns) == (10, 4, 777)
    assert (sample.memory_bytes, sample.memory_peak_bytes, sample.memory_failures) == (806912, 4067328, 1)
    assert sample.memory_details == {"cache": 4096, "rss": 8192, "total_inactive_file": 12}
    assert (sample.pids, sample.pids_limit) == (5, -1)
    assert sample.io_bytes == [(8, 0, "Read", 4096), (8, 0, "Total", 4096)]
    assert sample.io_operations == []


def test_v1_controllers_in_one_tree_and_missing_ones(tmp_path: Path) -> None:
    write(tmp_path, {name.rpartition("/")[2]: text for name, text in V1.items() if name.startswith("cpu")})
    sample = open_samples({"cpu,cpuacct": str(tmp_path)})()
    assert (sample.cpu_ns, sample.periods, sample.memory_bytes, sample.pids) == (19196239, 10, 0, 0)


def test_v2(tmp_path: Path) -> None:
    write(tmp_path, V2)
    sample = open_samples({"": str(tmp_path)})()
    assert (sample.cpu_ns, sample.user_ns, sample.kernel_ns) == (50_000, 20_000, 30_000)
    assert (sample.periods, sample.throttled_periods, sample.throttled_ns) == (1, 2, 3_000)
    assert (sample.memory_bytes, sample.memory_limit, sample.memory_peak_bytes) == (100, -1, None)
    assert sample.memory_details == {"anon": 60, "inactive_file": 40}
    assert (sample.percpu_ns, sample.memory_failures, sample.io_operations) == (None, None, None)
    assert (sample.pids, sample.pids_limit) == (1, 2048)
    assert sample.io_bytes == [(8, 0, "read", 1), (8, 0, "write", 2)]


@pytest.mark.parametrize("paths", [{"cpuacct": "/nothing/here"}, {"": "/nothing/here"}], ids=["v1", "v2"])
def test_a_cgroup_that_is_gone(paths: dict[str, str]) -> None:
    with pytest.raises(FileNotFoundError, match="/nothing/here"):
        open_samples(paths)()
