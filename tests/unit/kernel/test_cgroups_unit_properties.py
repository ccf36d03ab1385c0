"""OCI resources as properties of a systemd unit."""

from __future__ import annotations

import pytest

from sampan.errors import InvalidArgument
from sampan.kernel.cgroups.devices import parse_rules
from sampan.kernel.cgroups.unit_properties import (
    INFINITY,
    as_mask,
    plan_device_properties,
    plan_properties,
)
from sampan.spec.runtime import (
    BlockIo,
    Cpu,
    LinuxDeviceCgroup,
    LinuxResources,
    Memory,
    Pids,
    ThrottleDevice,
    WeightDevice,
)

MIB = 1 << 20
PROC_DEVICES = """Character devices:
  1 mem
  4 /dev/vc/0
  4 tty
136 pts
137 pts
226 drm

Block devices:
  8 sd
 65 sd
253 virtblk
"""


def plan(resources: LinuxResources, *, v2: bool = True, version: int = 252) -> dict[str, tuple[str, object]]:
    properties = plan_properties(resources, v2=v2, version=version)
    assert len({name for name, _ in properties}) == len(properties)
    return dict(properties)


@pytest.mark.parametrize(
    ("resources", "v1", "v2"),
    [
        pytest.param(LinuxResources(), {}, {}, id="nothing asked for"),
        pytest.param(
            LinuxResources(memory=Memory(limit=64 * MIB, reservation=32 * MIB, swap=80 * MIB)),
            {"MemoryLimit": ("t", 64 * MIB)},
            {
                "MemoryMax": ("t", 64 * MIB),
                "MemoryLow": ("t", 32 * MIB),
                "MemorySwapMax": ("t", 16 * MIB),
            },
            id="memory: v2 counts swap alone, v1 has no property for it",
        ),
        pytest.param(
            LinuxResources(memory=Memory(limit=-1)),
            {"MemoryLimit": ("t", INFINITY)},
            {"MemoryMax": ("t", INFINITY), "MemorySwapMax": ("t", INFINITY)},
            id="memory without a limit",
        ),
        pytest.param(
            LinuxResources(cpu=Cpu(shares=1024)),
            {"CPUShares": ("t", 1024)},
            {"CPUWeight": ("t", 100)},
            id="shares",
        ),
        pytest.param(
            LinuxResources(cpu=Cpu(quota=50_000)),
            {"CPUQuotaPerSecUSec": ("t", 500_000)},
            {"CPUQuotaPerSecUSec": ("t", 500_000)},
            id="a quota of the usual period",
        ),
        pytest.param(
            LinuxResources(cpu=Cpu(quota=5_001, period=10_000)),
            {"CPUQuotaPeriodUSec": ("t", 10_000), "CPUQuotaPerSecUSec": ("t", 510_000)},
            {"CPUQuotaPeriodUSec": ("t", 10_000), "CPUQuotaPerSecUSec": ("t", 510_000)},
            id="a quota is rounded up to whole percent",
        ),
        pytest.param(
            LinuxResources(cpu=Cpu(quota=-1)),
            {"CPUQuotaPerSecUSec": ("t", INFINITY)},
            {"CPUQuotaPerSecUSec": ("t", INFINITY)},
            id="no quota",
        ),
        pytest.param(
            LinuxResources(cpu=Cpu(cpus="0-1,9", mems="0")),
            {"AllowedCPUs": ("ay", [3, 2]), "AllowedMemoryNodes": ("ay", [1])},
            {"AllowedCPUs": ("ay", [3, 2]), "AllowedMemoryNodes": ("ay", [1])},
            id="processors",
        ),
        pytest.param(
            LinuxResources(pids=Pids(limit=7)), {"TasksMax": ("t", 7)}, {"TasksMax": ("t", 7)}, id="pids"
        ),
        pytest.param(
            LinuxResources(pids=Pids(limit=-1)),
            {"TasksMax": ("t", INFINITY)},
            {"TasksMax": ("t", INFINITY)},
            id="no limit of pids",
        ),
        pytest.param(
            LinuxResources(
                block_io=BlockIo(
                    weight=1000,
                    weight_device=(WeightDevice(major=8, minor=0, weight=10),),
                    throttle_read_bps_device=(ThrottleDevice(major=8, minor=0, rate=MIB),),
                    throttle_write_iops_device=(ThrottleDevice(major=8, minor=1, rate=0),),
                )
            ),
            {
                "BlockIOWeight": ("t", 1000),
                "BlockIODeviceWeight": ("a(st)", [("/dev/block/8:0", 10)]),
                "BlockIOReadBandwidth": ("a(st)", [("/dev/block/8:0", MIB)]),
            },
            {
                "IOWeight": ("t", 10000),
                "IODeviceWeight": ("a(st)", [("/dev/block/8:0", 1)]),
                "IOReadBandwidthMax": ("a(st)", [("/dev/block/8:0", MIB)]),
                "IOWriteIOPSMax": ("a(st)", [("/dev/block/8:1", INFINITY)]),
            },
            id="block I/O: v1 has no property for operations a second",
        ),
    ],
)
def test_limits(
    resources: LinuxResources, v1: dict[str, tuple[str, object]], v2: dict[str, tuple[str, object]]
) -> None:
    assert plan(resources, v2=False) == v1
    assert plan(resources, v2=True) == v2


def test_an_old_systemd_is_not_told_what_it_does_not_know() -> None:
    resources = LinuxResources(cpu=Cpu(cpus="0", quota=1000, period=10_000, idle=1, shares=2))
    assert plan(resources, version=241) == {"CPUWeight": ("t", 1), "CPUQuotaPerSecUSec": ("t", 100_000)}
    assert plan(resources, version=252)["CPUWeight"] == ("t", 0)


@pytest.mark.parametrize(
    ("file", "value", "wanted"),
    [
        ("memory.high", "1048576", {"MemoryHigh": ("t", MIB)}),
        ("memory.max", "max", {"MemoryMax": ("t", INFINITY)}),
        ("memory.max", "64M", {}),
        ("pids.max", "9", {"TasksMax": ("t", 9)}),
        ("cpu.weight", "50", {"CPUWeight": ("t", 50)}),
        ("cpu.idle", "1", {"CPUWeight": ("t", 0)}),
        (
            "cpu.max",
            "20000 100000",
            {"CPUQuotaPeriodUSec": ("t", 100_000), "CPUQuotaPerSecUSec": ("t", 200_000)},
        ),
        ("cpu.max", "max", {"CPUQuotaPeriodUSec": ("t", 100_000), "CPUQuotaPerSecUSec": ("t", INFINITY)}),
        ("cpuset.cpus", "1", {"AllowedCPUs": ("ay", [2])}),
        ("memory.oom.group", "1", {}),
    ],
)
def test_unified_files(file: str, value: str, wanted: dict[str, tuple[str, object]]) -> None:
    assert plan(LinuxResources(unified={file: value})) == wanted


def test_unified_wins_over_the_other_fields() -> None:
    properties = plan_properties(
        LinuxResources(memory=Memory(limit=MIB), unified={"memory.max": "max"}), v2=True, version=252
    )
    assert properties[-1] == ("MemoryMax", ("t", INFINITY))


@pytest.mark.parametrize("text", ["a", "3-1", "8192", ""])
def test_masks_refuse_what_is_no_list(text: str) -> None:
    with pytest.raises(InvalidArgument):
        as_mask(text)


def device(type: str, major: int, minor: int, access: str, *, allow: bool = True) -> LinuxDeviceCgroup:
    return LinuxDeviceCgroup(allow=allow, type=type, major=major, minor=minor, access=access)


NOTHING = LinuxDeviceCgroup(allow=False, access="rwm")
KEEP_OUT = [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        pytest.param([NOTHING], [], id="nothing"),
        pytest.param([device("c", 1, 3, "rw")], [("/dev/char/1:3", "rw")], id="a node"),
        pytest.param([device("b", 253, -1, "r")], [("block-virtblk", "r")], id="a driver"),
        pytest.param([device("c", -1, -1, "m")], [("char-*", "m")], id="every node of a kind"),
    ],
)
def test_device_rules_that_systemd_can_say(
    rules: list[LinuxDeviceCgroup], allowed: list[tuple[str, str]]
) -> None:
    properties = plan_device_properties(parse_rules(rules), PROC_DEVICES)
    assert properties[0] == ("DevicePolicy", ("s", "strict"))
    assert properties[1:] == [("DeviceAllow", ("a(ss)", [])), ("DeviceAllow", ("a(ss)", allowed))]


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param([LinuxDeviceCgroup(allow=True, access="rwm")], id="everything"),
        pytest.param([device("c", 136, -1, "rw")], id="a driver with two major numbers"),
        pytest.param([device("c", 99, -1, "rw")], id="no driver has the number"),
        pytest.param([device("c", -1, 3, "rw")], id="one minor number of all drivers"),
        pytest.param(
            [device("c", 1, -1, "rw"), device("c", 1, 3, "rw", allow=False)], id="a node out of a driver"
        ),
    ],
)
def test_device_rules_that_systemd_cannot_say_are_kept_from_it(rules: list[LinuxDeviceCgroup]) -> None:
    assert plan_device_properties(parse_rules(rules), PROC_DEVICES) == KEEP_OUT
