"""A machine that never changes, and plans on it."""

from __future__ import annotations

from dataclasses import replace

from sampan.engine.bundle.plan import BundlePlan, DeviceNode, HostFiles, Joins
from sampan.engine.files.users import User
from sampan.engine.machine import Machine
from sampan.kernel import capabilities
from sampan.spec import docker

CONTAINER_ID = "c0ffee" + "0" * 58
MIB = 1024 * 1024

MACHINE = Machine(
    arch="amd64",
    kernel_release="6.18.0",
    cgroup_version=1,
    controllers=frozenset({"cpu", "cpuset", "memory", "devices", "freezer", "blkio", "pids"}),
    cpus=frozenset({0, 1}),
    mems=frozenset({0}),
    memory_bytes=8 << 30,
    capabilities=frozenset(capabilities.NAMES) - {"CAP_SYS_RESOURCE"},
    swap_limit=True,
    swappiness=True,
    oom_kill_disable=True,
    blkio_weight=True,
    cpu_realtime=False,
    apparmor=False,
    selinux=False,
    rlimits={"RLIMIT_CORE": (0, -1), "RLIMIT_NOFILE": (1024, 20000), "RLIMIT_NPROC": (100, -1)},
)
V2_MACHINE = replace(MACHINE, cgroup_version=2, oom_kill_disable=False, swappiness=False)


def make_plan(
    *,
    config: docker.Config | None = None,
    host: docker.HostConfig | None = None,
    machine: Machine = MACHINE,
    user: User | None = None,
    devices: tuple[DeviceNode, ...] = (),
    joins: Joins | None = None,
    no_new_privileges: bool = False,
) -> BundlePlan:
    """Return a plan; what is not given is what `docker run busybox sh` sends."""
    return BundlePlan(
        id=CONTAINER_ID,
        config=config or docker.Config(Cmd=["sh"], Image="busybox", Hostname=CONTAINER_ID[:12]),
        host=host or docker.HostConfig(),
        machine=machine,
        user=user or User(groups=(0, 10), home="/root"),
        files=HostFiles(hostname="/c/hostname", hosts="/c/hosts", resolv_conf="/c/resolv.conf"),
        devices=devices,
        joins=joins or Joins(),
        cgroup=f"/sampan/{CONTAINER_ID}",
        pids_limit=2048,
        shm_size_bytes=64 * MIB,
        no_new_privileges=no_new_privileges,
    )
