"""`sampan-runtime spec` and `features`: what to ask for, and what may be asked for."""

from __future__ import annotations

import os

from sampan.errors import Conflict
from sampan.kernel import capabilities
from sampan.kernel.cgroups import detect
from sampan.runtime.commands_query import _indented, print_document
from sampan.runtime.mount_options import KNOWN_OPTIONS
from sampan.spec import limits
from sampan.spec.runtime import HOOK_NAMES, NAMESPACE_TYPES, OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sampan.fastjson import JsonValue
    from sampan.runtime.main import Globals
    from sampan.runtime.options import Values

_CAPABILITIES: list[JsonValue] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


def write_spec(common: Globals, options: Values, arguments: list[str]) -> int:
    """Write config.json; one that is there stays."""
    bundle = options.text("bundle", ".")
    path = os.path.join(bundle, "config.json")
    document = default_spec(rootless=options.flag("rootless"))
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as exc:
        raise Conflict(f"{path} exists already", hint="remove it first") from exc
    with os.fdopen(fd, "w") as file:
        file.write(_indented(document, "\n") + "\n")
    return 0


def default_spec(*, rootless: bool) -> JsonValue:
    """Return a configuration that runs sh in `rootfs` with few privileges."""
    kinds = ["pid", "ipc", "uts", "mount", "cgroup", "user" if rootless else "network"]
    linux: dict[str, JsonValue] = {
        "namespaces": [{"type": kind} for kind in kinds],
        "maskedPaths": [
            "/proc/acpi",
            "/proc/asound",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/sys/devices/virtual/powercap",
            "/sys/firmware",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    }
    if rootless:
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    else:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: _CAPABILITIES for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "sampan",
        "mounts": _default_mounts(rootless=rootless),
        "linux": linux,
    }


def _default_mounts(*, rootless: bool) -> JsonValue:
    def mount(destination: str, fstype: str, source: str, *options: str) -> JsonValue:
        return {"destination": destination, "type": fstype, "source": source, "options": list(options)}

    flags = ("nosuid", "noexec", "nodev")
    devpts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if rootless:  # the host's network namespace owns sysfs, and the cgroups are the host's
        rest = [mount("/sys", "none", "/sys", "rbind", *flags, "rro")]
    else:
        rest = [
            mount("/sys", "sysfs", "sysfs", *flags, "ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", *flags, "relatime", "ro"),
        ]
    return [
        mount("/proc", "proc", "proc", *flags),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/dev/pts", "devpts", "devpts", *devpts, *(() if rootless else ("gid=5",))),
        mount("/dev/shm", "tmpfs", "shm", *flags, "mode=1777", "size=65536k"),  # noqa: S108 -- inside
        mount("/dev/mqueue", "mqueue", "mqueue", *flags),
        *rest,
    ]


def _list(words: Iterable[str]) -> JsonValue:
    return list(words)


def features(common: Globals, options: Values, arguments: list[str]) -> int:
    """Print what this runtime can do. Source: OCI runtime-spec v1.2, features.md."""
    kind = detect().kind
    flags = sorted(limits.SECCOMP_FLAGS)
    print_document(
        {
            "ociVersionMin": "1.0.0",
            "ociVersionMax": OCI_VERSION,
            "hooks": _list(HOOK_NAMES),
            "mountOptions": _list(KNOWN_OPTIONS),
            "linux": {
                "namespaces": _list(sorted(NAMESPACE_TYPES)),
                "capabilities": [
                    name
                    for name in capabilities.NAMES
                    if capabilities.NUMBERS[name] <= capabilities.last_cap()
                ],
                "cgroup": {
                    "v1": kind in ("v1", "hybrid"),
                    "v2": True,
                    "systemd": True,
                    "systemdUser": False,
                    "rdma": True,
                },
                "seccomp": {
                    "enabled": True,
                    "actions": _list(sorted(limits.SECCOMP_ACTIONS)),
                    "operators": _list(sorted(limits.SECCOMP_OPERATORS)),
                    "archs": _list(sorted(limits.SECCOMP_ARCHITECTURES)),
                    "knownFlags": _list(flags),
                    "supportedFlags": _list(flags),
                },
                "apparmor": {"enabled": True},
                "selinux": {"enabled": True},
                "intelRdt": {"enabled": False},
                "mountExtensions": {"idmap": {"enabled": True}},
                "netDevices": {"enabled": False},
            },
            "potentiallyUnsafeConfigAnnotations": [],
        }
    )
    return 0
