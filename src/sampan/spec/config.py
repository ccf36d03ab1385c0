"""Read `config.json` and its parts into the records of `spec.runtime`. Lean.

Types, ranges and closed sets are checked and the wrong field is named. What only the machine can answer
(does the device exist, has the kernel that controller) is checked by whoever acts on it.
Source: OCI runtime-spec v1.2, schema/config-schema.json and config-linux.json.
"""

from __future__ import annotations

from sampan.errors import InvalidArgument, Unsupported
from sampan.spec.fields import (
    INT32,
    INT64,
    UINT16,
    UINT32,
    UINT64,
    WrongField,
    absolute_path,
    boolean,
    integer,
    many,
    mapping,
    one_of,
    path,
    read_document,
    structure,
    text,
)
from sampan.spec.limits import RESOURCES, SECCOMP
from sampan.spec.runtime import (
    NAMESPACE_TYPES,
    Capabilities,
    ConsoleSize,
    CpuAffinity,
    Device,
    Hook,
    Hooks,
    IdMap,
    IoPriority,
    Linux,
    Mount,
    Namespace,
    Personality,
    Process,
    Rlimit,
    Root,
    Scheduler,
    Spec,
    TimeOffset,
    User,
)


def parse_config(raw: object) -> Spec:
    """Check a parsed `config.json`.

    Raises:
        InvalidArgument: a field is missing, of the wrong type, out of range or contradicts another.
        Unsupported: a field asks for what no Linux machine of ours does (another system, Intel RDT, …).
    """
    spec = read_document(_SPEC, raw)
    assert isinstance(raw, dict)  # _SPEC refused anything else
    _check_version(spec.oci_version)
    _refuse_unsupported(raw)
    _check_namespaces(spec.linux)
    if spec.process is not None:
        check_process(spec.process)
    _check_id_maps(spec.linux.uid_mappings, "linux.uidMappings")
    _check_id_maps(spec.linux.gid_mappings, "linux.gidMappings")
    return spec


def parse_process(raw: object) -> Process:
    """Check a process document as `exec --process` takes it; errors are as those of `parse_config`."""
    process = read_document(_PROCESS, raw)
    check_process(process)
    return process


def parse_mounts(raw: object) -> tuple[Mount, ...]:
    """Check a list of mounts by itself; errors are as those of `parse_config`."""
    return read_document(many(_MOUNT), raw)


def parse_hooks(raw: object) -> Hooks:
    """Check a `hooks` document; errors are as those of `parse_config`."""
    return read_document(_HOOKS, raw)


def check_process(process: Process, where: str = "process") -> None:
    """Check what the fields of a process say together.

    Raises:
        InvalidArgument: args is empty, an environment entry has no name, or a limit is set twice.
    """
    if not process.args:
        raise InvalidArgument(f"{where}.args: must name a program")
    for index, entry in enumerate(process.env):
        if entry.find("=") < 1:
            raise InvalidArgument(f"{where}.env[{index}]: {entry!r} is not NAME=value")
    seen = set()
    for limit in process.rlimits:
        if limit.type in seen:
            raise InvalidArgument(f"{where}.rlimits: {limit.type} is set twice")
        if limit.soft > limit.hard:
            raise InvalidArgument(
                f"{where}.rlimits: the soft {limit.type} {limit.soft} exceeds the hard {limit.hard}"
            )
        seen.add(limit.type)


def _check_version(version: str) -> None:
    if not version.startswith("1."):
        raise Unsupported(
            f"ociVersion: {version!r} is not 1.x", hint="write the bundle for OCI runtime-spec 1.2"
        )


_FOREIGN = ("solaris", "windows", "vm", "zos", "freebsd")
_UNSUPPORTED_LINUX = {
    "intelRdt": "sampan does not manage Intel RDT",
    "netDevices": "sampan does not move network devices",
    "memoryPolicy": "sampan does not set a NUMA memory policy",
}


def _refuse_unsupported(raw: dict[str, object]) -> None:
    for name in _FOREIGN:
        if raw.get(name):
            raise Unsupported(f"{name}: this is not a Linux container")
    linux = raw.get("linux") or {}
    assert isinstance(linux, dict)  # the reader refused anything else
    for name, reason in _UNSUPPORTED_LINUX.items():
        if linux.get(name):
            raise Unsupported(f"linux.{name}: {reason}", hint="remove the field")


def _check_namespaces(linux: Linux) -> None:
    seen = set()
    for index, namespace in enumerate(linux.namespaces):
        if namespace.type in seen:
            raise InvalidArgument(f"linux.namespaces[{index}]: {namespace.type} is listed twice")
        seen.add(namespace.type)
    made = {namespace.type for namespace in linux.namespaces if not namespace.path}
    if (linux.uid_mappings or linux.gid_mappings) and "user" not in seen:
        raise InvalidArgument("linux.uidMappings: needs a user namespace in linux.namespaces")
    if "user" in made and not (linux.uid_mappings and linux.gid_mappings):
        raise InvalidArgument("linux.uidMappings, linux.gidMappings: a new user namespace needs both")
    if linux.time_offsets and "time" not in made:
        raise InvalidArgument("linux.timeOffsets: needs a new time namespace in linux.namespaces")


def _check_id_maps(maps: tuple[IdMap, ...], where: str) -> None:
    """Refuse what the kernel refuses, with the reason (user_namespaces(7), "Defining … mappings")."""
    if len(maps) > 340:
        raise InvalidArgument(f"{where}: {len(maps)} lines exceed the kernel's 340")
    for index, line in enumerate(maps):
        if line.size == 0:
            raise InvalidArgument(f"{where}[{index}].size: must not be 0")
        if line.container + line.size > 1 << 32 or line.host + line.size > 1 << 32:
            raise InvalidArgument(f"{where}[{index}]: runs past 2^32")
        for other in maps[:index]:
            inside = (
                line.container < other.container + other.size and other.container < line.container + line.size
            )
            outside = line.host < other.host + other.size and other.host < line.host + line.size
            if inside or outside:
                raise InvalidArgument(f"{where}[{index}]: overlaps an earlier line")


def _rlimit_type(raw: object) -> str:
    value = text(raw)
    if not value.startswith("RLIMIT_"):
        raise WrongField(f"{value!r} does not start with RLIMIT_")
    return value


def _file_mode(raw: object) -> int:
    """Read a mode; podman adds the bits of the file type, which the type says already."""
    return integer(UINT32)(raw) & 0o7777


def _domain_flags(raw: object) -> tuple[str, ...]:
    flags = many(text)(raw)
    if flags:
        raise WrongField("the specification defines no flags")
    return flags


_TEXTS = many(text)
_TEXT_MAP = mapping(text)
_I32, _I64, _U16, _U32, _U64 = map(integer, (INT32, INT64, UINT16, UINT32, UINT64))

_ID_MAP = structure(
    IdMap,
    {"containerID": ("container", _U32), "hostID": ("host", _U32), "size": ("size", _U32)},
    required=("containerID", "hostID", "size"),
)
_ROOT = structure(Root, {"path": ("path", path), "readonly": ("readonly", boolean)}, required=("path",))
_MOUNT = structure(
    Mount,
    {
        "destination": ("destination", path),
        "type": ("type", text),
        "source": ("source", text),
        "options": ("options", _TEXTS),
        "uidMappings": ("uid_mappings", many(_ID_MAP)),
        "gidMappings": ("gid_mappings", many(_ID_MAP)),
    },
    required=("destination",),
)
_CONSOLE_SIZE = structure(
    ConsoleSize, {"height": ("height", _U16), "width": ("width", _U16)}, required=("height", "width")
)
_USER = structure(
    User,
    {
        "uid": ("uid", _U32),
        "gid": ("gid", _U32),
        "umask": ("umask", integer((0, 0o777))),
        "additionalGids": ("additional_gids", many(_U32)),
    },
)
_CAPABILITIES = structure(
    Capabilities,
    {name: (name, _TEXTS) for name in ("bounding", "effective", "inheritable", "permitted", "ambient")},
)
_RLIMIT = structure(
    Rlimit,
    {"type": ("type", _rlimit_type), "soft": ("soft", _U64), "hard": ("hard", _U64)},
    required=("type", "soft", "hard"),
)
_IO_PRIORITY = structure(
    IoPriority,
    {
        "class": ("io_class", one_of(frozenset({"IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"}))),
        "priority": ("priority", integer((0, 7))),
    },
    required=("class",),
)
SCHEDULER_POLICIES = frozenset(
    {"SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"}
)
SCHEDULER_FLAGS = frozenset(
    {
        "SCHED_FLAG_RESET_ON_FORK",
        "SCHED_FLAG_RECLAIM",
        "SCHED_FLAG_DL_OVERRUN",
        "SCHED_FLAG_KEEP_POLICY",
        "SCHED_FLAG_KEEP_PARAMS",
        "SCHED_FLAG_UTIL_CLAMP_MIN",
        "SCHED_FLAG_UTIL_CLAMP_MAX",
    }
)
_SCHEDULER = structure(
    Scheduler,
    {
        "policy": ("policy", one_of(SCHEDULER_POLICIES)),
        "nice": ("nice", integer((-20, 19))),
        "priority": ("priority", _I32),
        "flags": ("flags", many(one_of(SCHEDULER_FLAGS))),
        "runtime": ("runtime", _U64),
        "deadline": ("deadline", _U64),
        "period": ("period", _U64),
    },
    required=("policy",),
)
_CPU_AFFINITY = structure(CpuAffinity, {"initial": ("initial", text), "final": ("final", text)})
_PROCESS = structure(
    Process,
    {
        "cwd": ("cwd", absolute_path),
        "args": ("args", _TEXTS),
        "env": ("env", _TEXTS),
        "terminal": ("terminal", boolean),
        "consoleSize": ("console_size", _CONSOLE_SIZE),
        "user": ("user", _USER),
        "capabilities": ("capabilities", _CAPABILITIES),
        "rlimits": ("rlimits", many(_RLIMIT)),
        "noNewPrivileges": ("no_new_privileges", boolean),
        "apparmorProfile": ("apparmor_profile", text),
        "selinuxLabel": ("selinux_label", text),
        "oomScoreAdj": ("oom_score_adj", integer((-1000, 1000))),
        "ioPriority": ("io_priority", _IO_PRIORITY),
        "scheduler": ("scheduler", _SCHEDULER),
        "execCPUAffinity": ("exec_cpu_affinity", _CPU_AFFINITY),
    },
    required=("cwd",),
)
_HOOK = structure(
    Hook,
    {
        "path": ("path", absolute_path),
        "args": ("args", _TEXTS),
        "env": ("env", _TEXTS),
        "timeout": ("timeout", integer((1, INT32[1]))),
    },
    required=("path",),
)
_HOOKS = structure(
    Hooks,
    {
        "prestart": ("prestart", many(_HOOK)),
        "createRuntime": ("create_runtime", many(_HOOK)),
        "createContainer": ("create_container", many(_HOOK)),
        "startContainer": ("start_container", many(_HOOK)),
        "poststart": ("poststart", many(_HOOK)),
        "poststop": ("poststop", many(_HOOK)),
    },
)
_NAMESPACE = structure(
    Namespace,
    {"type": ("type", one_of(frozenset(NAMESPACE_TYPES))), "path": ("path", text)},
    required=("type",),
)
_DEVICE = structure(
    Device,
    {
        "path": ("path", absolute_path),
        "type": ("type", one_of(frozenset("cbup"))),
        "major": ("major", integer((0, (1 << 32) - 1))),
        "minor": ("minor", integer((0, (1 << 32) - 1))),
        "fileMode": ("file_mode", _file_mode),
        "uid": ("uid", _U32),
        "gid": ("gid", _U32),
    },
    required=("path", "type"),
)
_PERSONALITY = structure(
    Personality,
    {"domain": ("domain", one_of(frozenset({"LINUX", "LINUX32"}))), "flags": ("flags", _domain_flags)},
    required=("domain",),
)
_TIME_OFFSET = structure(
    TimeOffset, {"secs": ("secs", _I64), "nanosecs": ("nanosecs", integer((0, 999_999_999)))}
)


def _time_offsets(raw: object) -> dict[str, TimeOffset]:
    offsets = mapping(_TIME_OFFSET)(raw)
    for clock in offsets:
        if clock not in ("boottime", "monotonic"):
            raise WrongField("is neither boottime nor monotonic", clock)
    return offsets


_LINUX = structure(
    Linux,
    {
        "namespaces": ("namespaces", many(_NAMESPACE)),
        "uidMappings": ("uid_mappings", many(_ID_MAP)),
        "gidMappings": ("gid_mappings", many(_ID_MAP)),
        "timeOffsets": ("time_offsets", _time_offsets),
        "devices": ("devices", many(_DEVICE)),
        "cgroupsPath": ("cgroups_path", text),
        "resources": ("resources", RESOURCES),
        "rootfsPropagation": (
            "rootfs_propagation",
            one_of(
                frozenset(
                    (
                        "",
                        "private",
                        "shared",
                        "slave",
                        "unbindable",
                        "rprivate",
                        "rshared",
                        "rslave",
                        "runbindable",
                    )
                )
            ),
        ),
        "seccomp": ("seccomp", SECCOMP),
        "sysctl": ("sysctl", _TEXT_MAP),
        "maskedPaths": ("masked_paths", many(absolute_path)),
        "readonlyPaths": ("readonly_paths", many(absolute_path)),
        "mountLabel": ("mount_label", text),
        "personality": ("personality", _PERSONALITY),
    },
)
_SPEC = structure(
    Spec,
    {
        "ociVersion": ("oci_version", text),
        "root": ("root", _ROOT),
        "process": ("process", _PROCESS),
        "hostname": ("hostname", text),
        "domainname": ("domainname", text),
        "mounts": ("mounts", many(_MOUNT)),
        "hooks": ("hooks", _HOOKS),
        "annotations": ("annotations", _TEXT_MAP),
        "linux": ("linux", _LINUX),
    },
    required=("ociVersion", "root"),
)
