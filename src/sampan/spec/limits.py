"""Read `linux.resources` and `linux.seccomp` of `config.json`; also what `update` takes. Lean.

Source: OCI runtime-spec v1.2, schema/config-linux.json and defs-linux.json.
"""

from __future__ import annotations

from sampan.spec.fields import (
    INT64,
    UINT16,
    UINT32,
    UINT64,
    WrongField,
    boolean,
    integer,
    many,
    mapping,
    one_of,
    read_document,
    structure,
    text,
)
from sampan.spec.runtime import (
    BlockIo,
    Cpu,
    HugepageLimit,
    InterfacePriority,
    LinuxDeviceCgroup,
    LinuxResources,
    LinuxSeccomp,
    Memory,
    Network,
    Pids,
    Rdma,
    SeccompArg,
    SeccompRule,
    ThrottleDevice,
    WeightDevice,
)


def parse_resources(raw: object) -> LinuxResources:
    """Check a `linux.resources` document as `update` takes it; errors as of `config.parse_config`."""
    return read_document(RESOURCES, raw)


def parse_seccomp(raw: object) -> LinuxSeccomp:
    """Check a `linux.seccomp` document; errors are as those of `config.parse_config`."""
    return read_document(SECCOMP, raw)


def _page_size(raw: object) -> str:
    value = text(raw)
    if not (
        value[-2:] in ("KB", "MB", "GB") and value[:-2].isascii() and value[:-2].isdigit() and value[0] != "0"
    ):
        raise WrongField(f"{value!r} is not a page size such as 2MB")
    return value


def _access(raw: object) -> str:
    value = text(raw)
    if not value or not set(value) <= set("rwm"):
        raise WrongField(f"{value!r} is not made of r, w and m")
    return value


_TEXTS = many(text)
_TEXT_MAP = mapping(text)
_I64, _U16, _U32, _U64 = map(integer, (INT64, UINT16, UINT32, UINT64))

_DEVICE_RULE = structure(
    LinuxDeviceCgroup,
    {
        "allow": ("allow", boolean),
        "type": ("type", one_of(frozenset("acb"))),
        "major": ("major", integer((-1, (1 << 32) - 1))),
        "minor": ("minor", integer((-1, (1 << 32) - 1))),
        "access": ("access", _access),
    },
    required=("allow",),
)
_MEMORY = structure(
    Memory,
    {
        "limit": ("limit", _I64),
        "reservation": ("reservation", _I64),
        "swap": ("swap", _I64),
        "kernel": ("kernel", _I64),
        "kernelTCP": ("kernel_tcp", _I64),
        "swappiness": ("swappiness", _U64),
        "disableOOMKiller": ("disable_oom_killer", boolean),
        "useHierarchy": ("use_hierarchy", boolean),
        "checkBeforeUpdate": ("check_before_update", boolean),
    },
)
_CPU = structure(
    Cpu,
    {
        "shares": ("shares", _U64),
        "quota": ("quota", _I64),
        "burst": ("burst", _U64),
        "period": ("period", _U64),
        "realtimeRuntime": ("realtime_runtime", _I64),
        "realtimePeriod": ("realtime_period", _U64),
        "cpus": ("cpus", text),
        "mems": ("mems", text),
        "idle": ("idle", _I64),
    },
)
_THROTTLE = many(
    structure(
        ThrottleDevice,
        {"major": ("major", _I64), "minor": ("minor", _I64), "rate": ("rate", _U64)},
        required=("major", "minor", "rate"),
    )
)
_WEIGHT_DEVICE = structure(
    WeightDevice,
    {
        "major": ("major", _I64),
        "minor": ("minor", _I64),
        "weight": ("weight", _U16),
        "leafWeight": ("leaf_weight", _U16),
    },
    required=("major", "minor"),
)
_BLOCK_IO = structure(
    BlockIo,
    {
        "weight": ("weight", _U16),
        "leafWeight": ("leaf_weight", _U16),
        "weightDevice": ("weight_device", many(_WEIGHT_DEVICE)),
        "throttleReadBpsDevice": ("throttle_read_bps_device", _THROTTLE),
        "throttleWriteBpsDevice": ("throttle_write_bps_device", _THROTTLE),
        "throttleReadIOPSDevice": ("throttle_read_iops_device", _THROTTLE),
        "throttleWriteIOPSDevice": ("throttle_write_iops_device", _THROTTLE),
    },
)
_HUGEPAGE = structure(
    HugepageLimit,
    {"pageSize": ("page_size", _page_size), "limit": ("limit", _U64)},
    required=("pageSize", "limit"),
)
_PRIORITY = structure(
    InterfacePriority, {"name": ("name", text), "priority": ("priority", _U32)}, required=("name", "priority")
)
RESOURCES = structure(
    LinuxResources,
    {
        "devices": ("devices", many(_DEVICE_RULE)),
        "memory": ("memory", _MEMORY),
        "cpu": ("cpu", _CPU),
        "pids": ("pids", structure(Pids, {"limit": ("limit", _I64)}, required=("limit",))),
        "blockIO": ("block_io", _BLOCK_IO),
        "hugepageLimits": ("hugepage_limits", many(_HUGEPAGE)),
        "network": (
            "network",
            structure(
                Network, {"classID": ("class_id", _U32), "priorities": ("priorities", many(_PRIORITY))}
            ),
        ),
        "rdma": (
            "rdma",
            mapping(
                structure(Rdma, {"hcaHandles": ("hca_handles", _U32), "hcaObjects": ("hca_objects", _U32)})
            ),
        ),
        "unified": ("unified", _TEXT_MAP),
    },
)
SECCOMP_ACTIONS = frozenset(
    {
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_TRAP",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
    }
)
SECCOMP_OPERATORS = frozenset(
    {
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    }
)
SECCOMP_FLAGS = frozenset(
    {
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    }
)
SECCOMP_ARCHITECTURES = frozenset(
    f"SCMP_ARCH_{name}"
    for name in (
        "X86 X86_64 X32 ARM AARCH64 LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 "
        "PPC PPC64 PPC64LE S390 S390X SH SHEB PARISC PARISC64 RISCV64"
    ).split()
)
_SECCOMP_ARG = structure(
    SeccompArg,
    {
        "index": ("index", integer((0, 5))),
        "value": ("value", _U64),
        "valueTwo": ("value_two", _U64),
        "op": ("op", one_of(SECCOMP_OPERATORS)),
    },
    required=("index", "value", "op"),
)
_SECCOMP_RULE = structure(
    SeccompRule,
    {
        "names": ("names", _TEXTS),
        "action": ("action", one_of(SECCOMP_ACTIONS)),
        "errnoRet": ("errno_ret", _U32),
        "args": ("args", many(_SECCOMP_ARG)),
    },
    required=("names", "action"),
)
SECCOMP = structure(
    LinuxSeccomp,
    {
        "defaultAction": ("default_action", one_of(SECCOMP_ACTIONS)),
        "defaultErrnoRet": ("default_errno_ret", _U32),
        "architectures": ("architectures", many(one_of(SECCOMP_ARCHITECTURES))),
        "flags": ("flags", many(one_of(SECCOMP_FLAGS))),
        "syscalls": ("syscalls", many(_SECCOMP_RULE)),
        "listenerPath": ("listener_path", text),
        "listenerMetadata": ("listener_metadata", text),
    },
    required=("defaultAction",),
)
