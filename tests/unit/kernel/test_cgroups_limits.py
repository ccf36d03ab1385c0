"""OCI resources as plans of cgroup files, for v1 and v2; and what becomes of a kernel's refusal."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from sampan.errors import InvalidArgument, SampanError, Unsupported
from sampan.kernel.cgroups.directory import Directory
from sampan.kernel.cgroups.limits import Setting, setting, write_plan
from sampan.kernel.cgroups.limits_v1 import plan_v1
from sampan.kernel.cgroups.limits_v2 import plan_v2, shares_to_weight
from sampan.spec.runtime import (
    BlockIo,
    Cpu,
    HugepageLimit,
    InterfacePriority,
    LinuxResources,
    Memory,
    Network,
    Pids,
    Rdma,
    ThrottleDevice,
    WeightDevice,
)

Plan = Callable[[LinuxResources], list[Setting]]
SDA = {"major": 8, "minor": 0}


def written(plan: list[Setting]) -> list[str]:
    return [f"{' | '.join(wanted.files)} = {' | '.join(wanted.values)}" for wanted in plan]


CASES = [
    pytest.param(LinuxResources(), [], [], id="nothing asked for"),
    pytest.param(
        LinuxResources(cpu=Cpu(shares=1024, quota=50000, period=100000)),
        ["cpu.shares = 1024", "cpu.cfs_period_us = 100000", "cpu.cfs_quota_us = 50000"],
        ["cpu.weight = 100", "cpu.max = 50000 100000"],
        id="shares, quota and period",
    ),
    pytest.param(
        LinuxResources(cpu=Cpu(quota=-1)), ["cpu.cfs_quota_us = -1"], ["cpu.max = max 100000"], id="no quota"
    ),
    pytest.param(
        LinuxResources(cpu=Cpu(burst=5000, idle=1, cpus="0-1,3", mems="0")),
        ["cpu.cfs_burst_us = 5000", "cpu.idle = 1", "cpuset.cpus = 0-1,3", "cpuset.mems = 0"],
        ["cpu.max.burst = 5000", "cpu.idle = 1", "cpuset.cpus = 0-1,3", "cpuset.mems = 0"],
        id="burst, idle, cpuset",
    ),
    pytest.param(
        LinuxResources(cpu=Cpu(shares=2, idle=0)),
        ["cpu.idle = 0", "cpu.shares = 2"],
        ["cpu.idle = 0", "cpu.weight = 1"],
        id="idle is left before shares are written",
    ),
    pytest.param(
        LinuxResources(memory=Memory(limit=100, swap=300, reservation=50)),
        [
            "memory.limit_in_bytes = 100",
            "memory.memsw.limit_in_bytes = 300",
            "memory.soft_limit_in_bytes = 50",
        ],
        ["memory.swap.max = 200", "memory.max = 100", "memory.low = 50"],
        id="v1 counts memory into swap, v2 does not",
    ),
    pytest.param(
        LinuxResources(memory=Memory(limit=100, swap=100)),
        ["memory.limit_in_bytes = 100", "memory.memsw.limit_in_bytes = 100"],
        ["memory.swap.max = 0", "memory.max = 100"],
        id="no swap",
    ),
    pytest.param(
        LinuxResources(memory=Memory(limit=-1)),
        ["memory.limit_in_bytes = -1", "memory.memsw.limit_in_bytes = -1"],
        ["memory.swap.max = max", "memory.max = max"],
        id="unlimited memory is unlimited swap",
    ),
    pytest.param(
        LinuxResources(memory=Memory(limit=100, swap=-1)),
        ["memory.limit_in_bytes = 100", "memory.memsw.limit_in_bytes = -1"],
        ["memory.swap.max = max", "memory.max = 100"],
        id="unlimited swap",
    ),
    pytest.param(LinuxResources(pids=Pids(limit=7)), ["pids.max = 7"], ["pids.max = 7"], id="pids"),
    pytest.param(
        LinuxResources(pids=Pids(limit=-1)), ["pids.max = max"], ["pids.max = max"], id="no pids limit"
    ),
    pytest.param(
        LinuxResources(block_io=BlockIo(weight=500, weight_device=(WeightDevice(**SDA, weight=10),))),
        [
            "blkio.weight | blkio.bfq.weight = 500",
            "blkio.weight_device | blkio.bfq.weight_device = 8:0 10",
        ],
        ["io.bfq.weight | io.weight = 500 | 4950", "io.bfq.weight | io.weight = 8:0 10 | 8:0 1"],
        id="block I/O weights",
    ),
    pytest.param(
        LinuxResources(
            block_io=BlockIo(
                throttle_read_bps_device=(ThrottleDevice(**SDA, rate=1000),),
                throttle_write_bps_device=(ThrottleDevice(**SDA, rate=0),),
                throttle_read_iops_device=(ThrottleDevice(**SDA, rate=3),),
                throttle_write_iops_device=(ThrottleDevice(**SDA, rate=4),),
            )
        ),
        [
            "blkio.throttle.read_bps_device = 8:0 1000",
            "blkio.throttle.write_bps_device = 8:0 0",
            "blkio.throttle.read_iops_device = 8:0 3",
            "blkio.throttle.write_iops_device = 8:0 4",
        ],
        ["io.max = 8:0 rbps=1000", "io.max = 8:0 wbps=max", "io.max = 8:0 riops=3", "io.max = 8:0 wiops=4"],
        id="throttling",
    ),
    pytest.param(
        LinuxResources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=4096),)),
        ["hugetlb.2MB.limit_in_bytes = 4096", "hugetlb.2MB.rsvd.limit_in_bytes = 4096"],
        ["hugetlb.2MB.max = 4096", "hugetlb.2MB.rsvd.max = 4096"],
        id="huge pages",
    ),
    pytest.param(
        LinuxResources(rdma={"mlx5_0": Rdma(hca_handles=3), "mlx5_1": Rdma(hca_objects=9)}),
        ["rdma.max = mlx5_0 hca_handle=3 hca_object=max", "rdma.max = mlx5_1 hca_handle=max hca_object=9"],
        ["rdma.max = mlx5_0 hca_handle=3 hca_object=max", "rdma.max = mlx5_1 hca_handle=max hca_object=9"],
        id="rdma",
    ),
]


@pytest.mark.parametrize(("resources", "v1", "v2"), CASES)
def test_plan(resources: LinuxResources, v1: list[str], v2: list[str]) -> None:
    assert written(plan_v1(resources)) == v1
    assert written(plan_v2(resources)) == v2


def test_v1_only_fields() -> None:
    resources = LinuxResources(
        cpu=Cpu(realtime_period=1000000, realtime_runtime=900000),
        memory=Memory(kernel=1, kernel_tcp=2, swappiness=60, disable_oom_killer=True, use_hierarchy=True),
        network=Network(class_id=5, priorities=(InterfacePriority(name="eth0", priority=3),)),
        block_io=BlockIo(leaf_weight=100, weight_device=(WeightDevice(**SDA, leaf_weight=20),)),
    )
    assert written(plan_v1(resources)) == [
        "cpu.rt_period_us = 1000000",
        "cpu.rt_runtime_us = 900000",
        "memory.use_hierarchy = 1",
        "memory.kmem.limit_in_bytes = 1",
        "memory.kmem.tcp.limit_in_bytes = 2",
        "memory.swappiness = 60",
        "memory.oom_control = 1",
        "blkio.leaf_weight = 100",
        "blkio.leaf_weight_device = 8:0 20",
        "net_cls.classid = 5",
        "net_prio.ifpriomap = eth0 3",
    ]


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        (LinuxResources(cpu=Cpu(realtime_runtime=1)), "cpu.realtimeRuntime"),
        (LinuxResources(memory=Memory(kernel=1)), "memory.kernel"),
        (LinuxResources(memory=Memory(kernel_tcp=1)), "memory.kernelTCP"),
        (LinuxResources(memory=Memory(swappiness=1)), "memory.swappiness"),
        (LinuxResources(memory=Memory(disable_oom_killer=True)), "memory.disableOOMKiller"),
        (LinuxResources(block_io=BlockIo(leaf_weight=10)), "blockIO.leafWeight"),
        (LinuxResources(network=Network(class_id=1)), "network"),
    ],
)
def test_v2_refuses_what_it_does_not_have(resources: LinuxResources, field: str) -> None:
    with pytest.raises(Unsupported, match=re.escape(f"linux.resources.{field}")):
        plan_v2(resources)


def test_v1_refuses_unified() -> None:
    with pytest.raises(Unsupported, match=re.escape("linux.resources.unified")):
        plan_v1(LinuxResources(unified={"memory.high": "1"}))


def test_unified_comes_last_and_line_by_line() -> None:
    unified = {"memory.high": "100", "io.max": "8:0 rbps=1\n8:16 rbps=2\n"}
    plan = plan_v2(LinuxResources(pids=Pids(limit=1), unified=unified))
    assert written(plan) == [
        "pids.max = 1",
        "memory.high = 100",
        "io.max = 8:0 rbps=1",
        "io.max = 8:16 rbps=2",
    ]


@pytest.mark.parametrize(
    "key", ["../cgroup.procs", "a/b.c", "memory", ".", "cgroup.procs", "cgroup.subtree_control"]
)
def test_unified_refuses_what_is_no_limit(key: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape("linux.resources.unified")):
        plan_v2(LinuxResources(unified={key: "1"}))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"memory": Memory(limit=-2)}, "memory.limit: -2 is not between -1 and"),
    ({"memory": Memory(limit=2**63)}, "memory.limit: 9223372036854775808"),
    ({"memory": Memory(limit=200, swap=100)}, "memory.swap: 100 is memory and swap together"),
    ({"memory": Memory(limit=-1, swap=100)}, "memory.swap: 100 with unlimited memory"),
    ({"cpu": Cpu(shares=1)}, "cpu.shares: 1 is not between 2 and"),
    ({"cpu": Cpu(idle=2)}, "cpu.idle: 2 is not between 0 and 1"),
    ({"cpu": Cpu(cpus="0-1;reboot")}, "cpu.cpus: '0-1;reboot' is not a list"),
    ({"cpu": Cpu(mems="0\n1")}, "cpu.mems: "),
    ({"pids": Pids(limit=-2)}, "pids.limit: -2"),
    ({"block_io": BlockIo(weight=9)}, "blockIO.weight: 9 is not between 10 and 1000"),
    ({"block_io": BlockIo(weight_device=(WeightDevice(**SDA, weight=1001),))}, "blockIO.weightDevice: 1001"),
    ({"hugepage_limits": (HugepageLimit(page_size="../x", limit=1),)}, "hugepageLimits: page size '../x'"),
    ({"hugepage_limits": (HugepageLimit(page_size="2MB", limit=-1),)}, "hugepageLimits.limit: -1"),
    ({"rdma": {"a b": Rdma()}}, "rdma: 'a b' is not a device name"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG)
@pytest.mark.parametrize("plan", [plan_v1, plan_v2])
def test_wrong_value_names_its_field(plan: Plan, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(f"linux.resources.{message}")):
        plan(LinuxResources(**fields))


def test_swap_alone_needs_memory_on_v2() -> None:
    with pytest.raises(InvalidArgument, match=r"need memory\.limit"):
        plan_v2(LinuxResources(memory=Memory(swap=100)))


@pytest.mark.parametrize(("shares", "weight"), [(1, 1), (2, 1), (1024, 100), (262144, 10000), (10**9, 10000)])
def test_shares_and_weights_meet(shares: int, weight: int) -> None:
    assert shares_to_weight(shares) == weight


def test_shares_to_weight_follows_the_published_formula() -> None:
    for shares in range(3, 262144, 37):
        log = math.log2(shares)
        assert shares_to_weight(shares) == math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34)), shares


class Recorder(Directory):
    """A directory whose writes are kept, or fail with an errno given for their file."""

    def __init__(self, failures: dict[str, list[int]] | None = None) -> None:
        super().__init__(-1, "/cg")
        self.writes: list[str] = []
        self.failures = failures or {}

    def write(self, name: str, value: str) -> None:
        self.writes.append(f"{name}={value}")
        pending = self.failures.get(name, [])
        if pending:
            raise OSError(pending.pop(0), "refused", f"{self.path}/{name}")


def test_a_setting_that_waits_for_another_is_written_after_it() -> None:
    directory = Recorder({"memory.limit_in_bytes": [errno.EINVAL]})
    plan = plan_v1(LinuxResources(memory=Memory(limit=5, swap=9)))
    write_plan(plan, lambda _: directory)
    assert directory.writes == [
        "memory.limit_in_bytes=5",
        "memory.memsw.limit_in_bytes=9",
        "memory.limit_in_bytes=5",
    ]


def test_the_next_file_is_tried_with_its_own_value() -> None:
    directory = Recorder({"io.bfq.weight": [errno.ENOENT]})
    write_plan(plan_v2(LinuxResources(block_io=BlockIo(weight=500))), lambda _: directory)
    assert directory.writes == ["io.bfq.weight=500", "io.weight=4950"]


REFUSALS: list[tuple[int, type[Exception], str]] = [
    (errno.EINVAL, InvalidArgument, r"linux.resources.pids.limit: the kernel refuses '7' for /cg/pids.max"),
    (errno.ENOENT, Unsupported, r"linux.resources.pids.limit: /cg has no pids.max with this kernel"),
    (errno.EACCES, OSError, r"refused: '/cg/pids.max'"),
]


@pytest.mark.parametrize(("number", "kind", "message"), REFUSALS)
def test_refusal_of_the_kernel(number: int, kind: type[Exception], message: str) -> None:
    directory = Recorder({"pids.max": [number]})
    with pytest.raises(kind, match=message):
        write_plan([setting("pids.limit", "pids.max", 7)], lambda _: directory)


def test_missing_controller_is_named() -> None:
    with pytest.raises(
        SampanError, match=r"pids.limit: the cgroup controller pids is not available"
    ) as caught:
        write_plan([setting("pids.limit", "pids.max", 7)], lambda _: None)
    assert "leave the limit out" in caught.value.hint
    write_plan([setting("pids.limit", "pids.max", "max", optional=True)], lambda _: None)
