from __future__ import annotations

import time
from dataclasses import replace

import pytest
from tests.unit.engine.plans import MACHINE, MIB, V2_MACHINE, make_plan

from sampan.engine.bundle.limits import make_rlimits
from sampan.engine.bundle.plan import Document
from sampan.engine.bundle.resources import make_resources
from sampan.engine.machine import Machine, parse_cpu_set
from sampan.errors import InvalidArgument, Unsupported
from sampan.spec import docker


def resources(*, machine: Machine = MACHINE, warnings: list[str] | None = None, **fields: object) -> Document:
    host = docker.HostConfig(**fields)  # type: ignore[arg-type]  # tables below
    warn = (warnings if warnings is not None else []).append
    return make_resources(host, machine, pids_limit=2048, warn=warn)


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        pytest.param({}, {"pids": {"limit": 2048}}, id="nothing asked"),
        pytest.param({"PidsLimit": -1}, {}, id="pids lifted"),
        pytest.param({"PidsLimit": 0}, {"pids": {"limit": 2048}}, id="pids 0: nothing asked"),
        pytest.param({"PidsLimit": 7}, {"pids": {"limit": 7}}, id="pids"),
        pytest.param(
            {"Memory": 64 * MIB, "PidsLimit": -1},
            {"memory": {"limit": 64 * MIB, "swap": 128 * MIB}},
            id="swap as much again",
        ),
        pytest.param(
            {"Memory": 64 * MIB, "MemorySwap": -1, "PidsLimit": -1},
            {"memory": {"limit": 64 * MIB, "swap": -1}},
            id="swap without limit",
        ),
        pytest.param(
            {"NanoCpus": 500_000_000, "PidsLimit": -1},
            {"cpu": {"period": 100_000, "quota": 50_000}},
            id="half a CPU",
        ),
        pytest.param({"MemorySwappiness": -1, "PidsLimit": -1}, {}, id="swappiness -1 is unset"),
        pytest.param(
            {"MemorySwappiness": 0, "PidsLimit": -1}, {"memory": {"swappiness": 0}}, id="swappiness 0"
        ),
    ],
)
def test_limits(fields: dict[str, object], want: Document) -> None:
    assert resources(**fields) == want


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"Memory": 4 * MIB}, "Minimum memory limit allowed is 6MB"),
        ({"Memory": -1}, "Minimum memory limit"),
        ({"MemorySwap": 8 * MIB}, "always set the Memory limit"),
        ({"Memory": 64 * MIB, "MemorySwap": 32 * MIB}, "should be larger than memory limit"),
        ({"Memory": 64 * MIB, "MemoryReservation": 128 * MIB}, "less than memory reservation"),
        ({"MemorySwappiness": 101}, "range is 0-100"),
        ({"NanoCpus": 3 * 10**9}, "only 2 CPUs available"),
        ({"NanoCpus": 10**9, "CpuPeriod": 10_000}, "Nano CPUs and CPU Period"),
        ({"NanoCpus": 10**9, "CpuQuota": 10_000}, "Nano CPUs and CPU Quota"),
        ({"CpuPeriod": 100}, "cfs period"),
        ({"CpuQuota": 100}, "cfs quota"),
        ({"CpuShares": -1}, "shares"),
        ({"CpusetCpus": "0-5"}, "Requested CPUs are not available - requested 0-5, available: 0-1"),
        ({"CpusetMems": "3"}, "Requested memory nodes are not available"),
        ({"CpusetCpus": "a"}, "invalid cpuset"),
        ({"BlkioWeight": 5}, "blkio weight"),
        ({"BlkioDeviceReadBps": [docker.ThrottleDevice(Path="/nosuch", Rate=1)]}, "no such block device"),
        ({"BlkioDeviceReadBps": [docker.ThrottleDevice(Path="/dev/null", Rate=1)]}, "not a block device"),
        ({"BlkioDeviceWriteIOps": [docker.ThrottleDevice(Path="/dev/null", Rate=0)]}, "must be above 0"),
    ],
)
def test_refused(fields: dict[str, object], match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        resources(**fields)


def test_realtime_needs_the_kernel() -> None:
    with pytest.raises(Unsupported, match="real-time scheduler"):
        resources(CpuRealtimeRuntime=1000)


def test_missing_controller_is_named() -> None:
    poor = replace(MACHINE, controllers=frozenset({"pids"}))
    with pytest.raises(Unsupported, match="no cgroup controller 'memory'"):
        resources(machine=poor, Memory=64 * MIB)


def test_what_the_kernel_cannot_do_is_warned_of() -> None:
    warnings: list[str] = []
    made = resources(
        machine=V2_MACHINE, warnings=warnings, OomKillDisable=True, MemorySwappiness=10, Memory=64 * MIB
    )
    assert made["memory"] == {"limit": 64 * MIB, "swap": 128 * MIB}
    assert len(warnings) == 2


@pytest.mark.parametrize(
    ("text", "want"), [("0", {0}), ("0-2,5", {0, 1, 2, 5}), ("3,3", {3}), ("8191", {8191})]
)
def test_cpu_set(text: str, want: set[int]) -> None:
    assert parse_cpu_set(text) == want


@pytest.mark.parametrize(
    "text", ["", "-", "1-", "3-1", "0-9223372036854775807", "99999", "0,,1", "\u0663", "1 - 2 3"]
)
def test_wrong_cpu_set(text: str) -> None:
    """CVE-2018-20699: a huge range must be refused before it is spread out."""
    started = time.process_time()
    with pytest.raises(InvalidArgument, match="invalid cpuset"):
        parse_cpu_set(text)
    assert time.process_time() - started < 1


def rlimits(*ulimits: docker.Ulimit, machine: Machine = MACHINE) -> tuple[list[Document], list[str]]:
    warnings: list[str] = []
    plan = make_plan(host=docker.HostConfig(Ulimits=list(ulimits)), machine=machine)
    return make_rlimits(plan, warnings.append), warnings


def test_core_dumps_are_off() -> None:
    assert rlimits() == ([{"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1}], [])


def test_ulimit_wins_over_the_default() -> None:
    made, _ = rlimits(docker.Ulimit(Name="core", Soft=-1, Hard=-1))
    assert made == [{"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1}]


def test_ulimit_is_clamped_without_the_capability() -> None:
    made, warnings = rlimits(docker.Ulimit(Name="nofile", Soft=-1, Hard=-1))
    assert made[1] == {"type": "RLIMIT_NOFILE", "soft": 20000, "hard": 20000}
    assert len(warnings) == 1
    able = replace(MACHINE, capabilities=MACHINE.capabilities | {"CAP_SYS_RESOURCE"})
    made, warnings = rlimits(docker.Ulimit(Name="nofile", Soft=50_000, Hard=50_000), machine=able)
    assert made[1]["hard"] == 50_000
    assert warnings == []


@pytest.mark.parametrize(
    ("ulimit", "match"),
    [
        (docker.Ulimit(Name="nosuch"), "invalid ulimit type: nosuch"),
        (docker.Ulimit(Name="nofile", Soft=20, Hard=10), "20 > 10"),
        (docker.Ulimit(Name="nofile", Soft=-1, Hard=10), "less than or equal"),
        (docker.Ulimit(Name="nofile", Soft=-2, Hard=-2), "-1 is no limit"),
    ],
)
def test_wrong_ulimits(ulimit: docker.Ulimit, match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        rlimits(ulimit)
