"""Facts of the machine that decide what a container may be given; read once, when the engine opens."""

from __future__ import annotations

import glob
import os
import platform
import resource
from dataclasses import dataclass
from typing import Final

from sampan.errors import InvalidArgument
from sampan.kernel import capabilities, cgroups

# uname -m to GOARCH, as OCI and Docker name architectures (go.dev/doc/install/source, "GOARCH").
GO_ARCH: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "riscv64": "riscv64",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
}
_MAX_CPU: Final = 8191  # CONFIG_NR_CPUS has no larger default (kernel/arch/x86/Kconfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What kernel, cgroups and our own rights allow.

    capabilities: names of the bounding set. thermal_paths: counters that tell of other programs' work
    (a side channel), hidden from containers.
    """

    arch: str
    kernel_release: str
    cgroup_version: int
    controllers: frozenset[str]
    cpus: frozenset[int]
    mems: frozenset[int]
    memory_bytes: int
    capabilities: frozenset[str]
    swap_limit: bool
    swappiness: bool
    oom_kill_disable: bool
    blkio_weight: bool
    cpu_realtime: bool
    apparmor: bool
    selinux: bool
    rlimits: dict[str, tuple[int, int]]
    thermal_paths: tuple[str, ...] = ()


def read_machine() -> Machine:
    """Ask the running kernel.

    Raises:
        OSError: /proc cannot be read.
    """
    hierarchy = cgroups.detect()
    version = 2 if hierarchy.kind == "v2" else 1
    trees = hierarchy.controllers
    return Machine(
        arch=GO_ARCH.get(platform.machine(), platform.machine()),
        kernel_release=platform.release(),
        cgroup_version=version,
        controllers=frozenset(trees),
        cpus=parse_cpu_set(_read("/sys/devices/system/cpu/online") or "0"),
        mems=parse_cpu_set(_read("/sys/devices/system/node/online") or "0"),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        capabilities=_bounding_set(),
        swap_limit="memory" in trees
        and (version == 2 or _has(trees, "memory", "memory.memsw.limit_in_bytes")),
        swappiness=_has(trees, "memory", "memory.swappiness"),
        oom_kill_disable=version == 1 and _has(trees, "memory", "memory.oom_control"),
        blkio_weight=_has(trees, "blkio", "blkio.weight")
        or _has(trees, "blkio", "blkio.bfq.weight")
        or "io" in trees,
        cpu_realtime=_has(trees, "cpu", "cpu.rt_runtime_us"),
        apparmor=_read("/sys/module/apparmor/parameters/enabled").startswith("Y"),
        selinux=os.path.isdir("/sys/fs/selinux/booleans"),
        rlimits=_read_rlimits(),
        thermal_paths=tuple(sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle"))),
    )


def parse_cpu_set(text: str) -> frozenset[int]:
    """Return the numbers of `0-3,7` (cpuset(7), list format).

    Numbers are bounded before a range is spread out (CVE-2018-20699).

    Raises:
        InvalidArgument: another form, or a number above 8191.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        start = _parse_cpu(first, text)
        end = _parse_cpu(last, text) if dash else start
        if end < start:
            raise InvalidArgument(f"invalid cpuset {text!r}: {part!r} runs backwards")
        found.update(range(start, end + 1))
    return frozenset(found)


def _parse_cpu(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 4) or int(digits) > _MAX_CPU:
        raise InvalidArgument(f"invalid cpuset {text!r}: {digits!r} is no number up to {_MAX_CPU}")
    return int(digits)


def _bounding_set() -> frozenset[str]:
    """Return the capabilities this process could ever give to a container."""
    return frozenset(
        capabilities.NAMES[cap] for cap in capabilities.get_bounding() if cap < len(capabilities.NAMES)
    )


def _read_rlimits() -> dict[str, tuple[int, int]]:
    """Return every limit, `RLIMIT_…` → (soft, hard); -1 is no limit."""
    names = (name for name in dir(resource) if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE")
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def _has(trees: dict[str, str], controller: str, file: str) -> bool:
    return controller in trees and os.path.exists(f"{trees[controller]}/{file}")


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""
