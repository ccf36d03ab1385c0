"""What a container gets when nobody asks for more: the default posture (docs/engine.md, "Posture").

Values are Docker's (moby daemon/pkg/oci/defaults.go, caps/defaults.go) but where a comment says `Differs:`.
"""

from __future__ import annotations

from typing import Final

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CAPABILITIES: Final = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

# Differs: the union of what Docker and Podman hide, so /sys/fs/selinux too.
MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# Device rules in order, the last match wins: (allow, type, major, minor).
DEVICE_RULES: Final = (
    (True, "c", 1, 5),
    (True, "c", 1, 3),
    (True, "c", 1, 9),
    (True, "c", 1, 8),
    (True, "c", 5, 0),
    (True, "c", 5, 1),
    (False, "c", 10, 229),  # fuse
)

_THREE: Final = ("nosuid", "noexec", "nodev")
MOUNTS: Final[tuple[tuple[str, str, str, tuple[str, ...]], ...]] = (
    ("/proc", "proc", "proc", _THREE),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    ("/sys", "sysfs", "sysfs", (*_THREE, "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", (*_THREE, "ro")),
    ("/dev/mqueue", "mqueue", "mqueue", _THREE),
    ("/dev/shm", "tmpfs", "shm", (*_THREE, "mode=1777")),  # noqa: S108 -- inside the container
)
"""Destination, type, source, options. In the order they are mounted."""

SHM_FLAGS: Final = _THREE
SYSCTLS: Final = {"net.ipv4.ping_group_range": "0 2147483647", "net.ipv4.ip_unprivileged_port_start": "0"}
UMASK: Final = 0o022
