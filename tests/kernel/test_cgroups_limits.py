"""Limits hold, read back as written, and are refused by name, on the cgroup trees that this machine has."""

from __future__ import annotations

import errno
import mmap
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.kernel.cgroup_bench import exit_code, private_cgroup, process_inside
from tests.kernel.harness import fork, wait_until

from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel.cgroups import Hierarchy, detect
from sampan.spec.runtime import (
    BlockIo,
    Cpu,
    HugepageLimit,
    LinuxResources,
    Memory,
    Pids,
    Rdma,
    ThrottleDevice,
)

if TYPE_CHECKING:
    from sampan.kernel.cgroups import CgroupManager

MIB = 1 << 20


@pytest.fixture
def hierarchy() -> Hierarchy:
    return detect()


@pytest.fixture
def cgroup(hierarchy: Hierarchy) -> Iterator[CgroupManager]:
    with private_cgroup(hierarchy) as manager:
        yield manager
        manager.close()


def is_v2(hierarchy: Hierarchy) -> bool:
    return hierarchy.kind == "v2"


def shown(cgroup: CgroupManager, controller: str, file: str) -> str:
    """Return what a cgroup file shows, from the tree that has the controller."""
    for controllers, path in cgroup.paths().items():
        if controller in controllers.split(",") or (controllers == "" and Path(path, file).exists()):
            return Path(path, file).read_text().strip()
    pytest.fail(f"no tree has {controller}")


# resources → (file, content) on v1 and on v2
READ_BACK = [
    pytest.param(
        LinuxResources(cpu=Cpu(shares=2048)), ("cpu.shares", "2048"), ("cpu.weight", "174"), id="shares"
    ),
    pytest.param(
        LinuxResources(cpu=Cpu(quota=20000, period=50000)),
        ("cpu.cfs_quota_us", "20000"),
        ("cpu.max", "20000 50000"),
        id="quota",
    ),
    pytest.param(
        LinuxResources(cpu=Cpu(cpus="0", mems="0")), ("cpuset.cpus", "0"), ("cpuset.cpus", "0"), id="cpus"
    ),
    pytest.param(
        LinuxResources(memory=Memory(limit=64 * MIB)),
        ("memory.limit_in_bytes", str(64 * MIB)),
        ("memory.max", str(64 * MIB)),
        id="memory",
    ),
    pytest.param(
        LinuxResources(memory=Memory(reservation=32 * MIB)),
        ("memory.soft_limit_in_bytes", str(32 * MIB)),
        ("memory.low", str(32 * MIB)),
        id="reservation",
    ),
    pytest.param(
        LinuxResources(memory=Memory(limit=64 * MIB, swap=96 * MIB)),
        ("memory.memsw.limit_in_bytes", str(96 * MIB)),
        ("memory.swap.max", str(32 * MIB)),
        id="swap",
    ),
    pytest.param(LinuxResources(pids=Pids(limit=12)), ("pids.max", "12"), ("pids.max", "12"), id="pids"),
]


@pytest.mark.parametrize(("resources", "v1", "v2"), READ_BACK)
def test_reads_back_as_written(
    hierarchy: Hierarchy,
    cgroup: CgroupManager,
    resources: LinuxResources,
    v1: tuple[str, str],
    v2: tuple[str, str],
) -> None:
    cgroup.apply(resources)
    file, want = v2 if is_v2(hierarchy) else v1
    assert shown(cgroup, file.partition(".")[0], file) == want


def test_memory_limit_kills_the_greedy(cgroup: CgroupManager) -> None:
    cgroup.apply(LinuxResources(memory=Memory(limit=32 * MIB, swap=32 * MIB)))

    def eat() -> None:
        with mmap.mmap(-1, 200 * MIB) as area:
            for offset in range(0, len(area), 4096):
                area[offset] = 1

    assert cgroup.oom_kills() == 0
    with process_inside(cgroup, eat) as pid:
        assert exit_code(pid) == -signal.SIGKILL
    assert cgroup.oom_kills() == 1


def test_pids_limit_stops_forks(cgroup: CgroupManager) -> None:
    cgroup.apply(LinuxResources(pids=Pids(limit=3)))

    def fork_four_times() -> None:
        for number in range(4):
            try:
                if fork() == 0:
                    signal.pause()
            except OSError as exc:
                os._exit(10 + number if exc.errno == errno.EAGAIN else 9)

    with process_inside(cgroup, fork_four_times) as pid:
        assert exit_code(pid) == 12  # the process itself and two children


def test_cpu_quota_throttles(cgroup: CgroupManager) -> None:
    cgroup.apply(LinuxResources(cpu=Cpu(quota=5000, period=50000)))

    def spin() -> None:
        while True:
            pass

    def throttled() -> bool:
        cpu = cgroup.stats()["cpu"]
        assert isinstance(cpu, dict)
        throttling = cpu["throttling"]
        assert isinstance(throttling, dict)
        return throttling["throttledPeriods"] not in (0, None) and throttling["throttledTime"] not in (
            0,
            None,
        )

    with process_inside(cgroup, spin):
        wait_until(throttled, "the spinning process is throttled")


def test_memory_and_swap_go_up_and_down(cgroup: CgroupManager) -> None:
    """v1 refuses a limit above memory-and-swap, so the order of the two writes depends on the direction."""
    for mib in (64, 256, 32, 1024, 64):
        cgroup.apply(LinuxResources(memory=Memory(limit=mib * MIB, swap=2 * mib * MIB)))
        usage = memory_stats(cgroup)
        assert usage["usage"]["limit"] == mib * MIB
        assert usage["swap"]["limit"] == 2 * mib * MIB
    cgroup.apply(LinuxResources(memory=Memory(limit=-1)))
    assert memory_stats(cgroup)["usage"]["limit"] > 1 << 60


def memory_stats(cgroup: CgroupManager) -> dict[str, dict[str, int]]:
    memory = cgroup.stats()["memory"]
    assert isinstance(memory, dict)
    return memory  # type: ignore[return-value]  # JSON: the test looks at numbers of the two-level part only


def test_period_and_quota_change_together(cgroup: CgroupManager) -> None:
    for quota, period in ((1000, 1000), (500000, 1000000), (1000, 1000)):
        cgroup.apply(LinuxResources(cpu=Cpu(quota=quota, period=period)))
    cgroup.apply(LinuxResources(cpu=Cpu(quota=-1)))


def test_limit_below_what_is_in_use_is_refused(hierarchy: Hierarchy, cgroup: CgroupManager) -> None:
    read_end, write_end = os.pipe()

    def hold() -> None:
        area = mmap.mmap(-1, 48 * MIB)
        area.write(b"x" * len(area))
        os.write(write_end, b".")
        signal.pause()

    with process_inside(cgroup, hold):
        os.read(read_end, 1)
        resources = LinuxResources(memory=Memory(limit=4 * MIB, swap=4 * MIB, check_before_update=True))
        with pytest.raises(InvalidArgument, match=r"linux\.resources\.memory\.(limit|swap): .* in use"):
            cgroup.apply(resources)
    assert cgroup.oom_kills() == 0
    for fd in (read_end, write_end):
        os.close(fd)


REFUSED = [
    pytest.param(LinuxResources(cpu=Cpu(cpus="4000")), "cpu.cpus", id="a processor that is not there"),
    pytest.param(
        LinuxResources(cpu=Cpu(cpus="0-9223372036854775807")), "cpu.cpus", id="a range beyond measure"
    ),
    pytest.param(LinuxResources(cpu=Cpu(mems="900")), "cpu.mems", id="a memory node that is not there"),
    pytest.param(LinuxResources(cpu=Cpu(quota=1)), "cpu.quota", id="a quota below a millisecond"),
    pytest.param(LinuxResources(cpu=Cpu(period=10)), "cpu.period", id="a period below a millisecond"),
    pytest.param(
        LinuxResources(
            block_io=BlockIo(throttle_read_bps_device=(ThrottleDevice(major=4000, minor=0, rate=1),))
        ),
        "blockIO.throttleReadBpsDevice",
        id="a disk that is not there",
    ),
]


@pytest.mark.parametrize(("resources", "field"), REFUSED)
def test_refused_value_names_field_and_file(
    cgroup: CgroupManager, resources: LinuxResources, field: str
) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(f"linux.resources.{field}: the kernel refuses")):
        cgroup.apply(resources)


def test_missing_controller_is_named(hierarchy: Hierarchy, cgroup: CgroupManager) -> None:
    if "rdma" in hierarchy.controllers:
        pytest.skip("needs a machine without the rdma controller")
    with pytest.raises(
        Unsupported, match=r"linux\.resources\.rdma: the cgroup controller rdma is not available"
    ):
        cgroup.apply(LinuxResources(rdma={"mlx5_0": Rdma(hca_handles=1)}))


def test_huge_pages(hierarchy: Hierarchy, cgroup: CgroupManager) -> None:
    if "hugetlb" not in hierarchy.controllers:
        pytest.skip("needs the hugetlb controller")
    cgroup.apply(LinuxResources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=4 * MIB),)))
    on_v1 = any("hugetlb" in tree.controllers for tree in hierarchy.v1)
    file = "hugetlb.2MB.limit_in_bytes" if on_v1 else "hugetlb.2MB.max"
    assert shown(cgroup, "hugetlb", file) == str(4 * MIB)
    hugetlb = cgroup.stats()["hugetlb"]
    assert isinstance(hugetlb, dict)
    assert "2MB" in hugetlb
    with pytest.raises(Unsupported, match=r"hugepageLimits: .* has no hugetlb\.3MB"):
        cgroup.apply(LinuxResources(hugepage_limits=(HugepageLimit(page_size="3MB", limit=4),)))


def test_unified(hierarchy: Hierarchy, cgroup: CgroupManager) -> None:
    resources = LinuxResources(unified={"memory.high": str(64 * MIB), "pids.max": "9"})
    if not is_v2(hierarchy):
        with pytest.raises(Unsupported, match=r"linux\.resources\.unified: this machine has cgroup v1"):
            cgroup.apply(resources)
        return
    cgroup.apply(resources)
    assert shown(cgroup, "memory", "memory.high") == str(64 * MIB)
    assert shown(cgroup, "pids", "pids.max") == "9"
    with pytest.raises(Unsupported, match=r"unified\.memory\.nothing: .* has no memory\.nothing"):
        cgroup.apply(LinuxResources(unified={"memory.nothing": "1"}))
    with pytest.raises(Unsupported, match="the cgroup controller nothing is not available"):
        cgroup.apply(LinuxResources(unified={"nothing.max": "1"}))


def test_io_limits_on_a_disk(hierarchy: Hierarchy, cgroup: CgroupManager) -> None:
    disk = find_disk()
    if disk is None:
        pytest.skip("needs a block device with a request queue")
    throttle = (ThrottleDevice(major=disk[0], minor=disk[1], rate=1000000),)
    cgroup.apply(LinuxResources(block_io=BlockIo(throttle_write_bps_device=throttle)))
    line = f"{disk[0]}:{disk[1]}"
    if is_v2(hierarchy):
        assert f"{line} rbps=max wbps=1000000" in shown(cgroup, "io", "io.max")
    else:
        assert f"{line} 1000000" in shown(cgroup, "blkio", "blkio.throttle.write_bps_device")


def find_disk() -> tuple[int, int] | None:
    for name in sorted(os.listdir("/sys/block")):
        if name.startswith(("vd", "sd", "nvme", "xvd")):
            major, minor = Path(f"/sys/block/{name}/dev").read_text().strip().split(":")
            return int(major), int(minor)
    return None


def test_stats_have_the_shape_of_runc(cgroup: CgroupManager) -> None:
    cgroup.apply(LinuxResources(pids=Pids(limit=5), memory=Memory(limit=64 * MIB)))
    with process_inside(cgroup, signal.pause):
        stats = cgroup.stats()
        assert list(stats) == [
            "cpu",
            "cpuset",
            "memory",
            "pids",
            "blkio",
            "hugetlb",
            "intel_rdt",
            "network_interfaces",
        ]
        assert stats["pids"] == {"current": 1, "limit": 5}
        memory = memory_stats(cgroup)
        assert memory["usage"]["limit"] == 64 * MIB
        assert memory["raw"]
        cpu = stats["cpu"]
        assert isinstance(cpu, dict)
        usage = cpu["usage"]
        assert isinstance(usage, dict)
        assert isinstance(usage["total"], int)
        assert usage["total"] > 0
