"""The machine and the engine: facts for info, version and ping."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from msgspec import UNSET

import sampan
from sampan.engine.builds.builds import Builds
from sampan.engine.builds.cache import only_built
from sampan.engine.core import Core
from sampan.engine.images.images import Images
from sampan.engine.lifecycle.pruning import Filters, parse_prune_filter, tell_prune
from sampan.engine.logs.config import DRIVERS
from sampan.engine.observing.checking import CheckReport, check
from sampan.engine.observing.events import make_event
from sampan.engine.observing.full_usage import FullUsage, full_usage
from sampan.engine.observing.listing import list_containers
from sampan.engine.observing.usage import layer_bytes, log_bytes
from sampan.engine.options import OWN_RUNTIME
from sampan.engine.times import format_time
from sampan.registry.options import RegistryOptions
from sampan.spec import docker
from sampan.store.snapshotters import OVERLAY, PLAIN, overlay_options

VERSION: Final = "28.5.0"  # the Engine version that clients compare; ours is in the version's Components
_OWN_COMMIT: Final = f"sampan-{sampan.__version__}"  # we have no commit at hand, and clients print something
_ALL_PARTS: Final = ("container", "image", "volume", "build-cache")


class System:
    """Facts; each call reads the machine anew."""

    def __init__(self, core: Core, images: Images, builds: Builds) -> None:
        self._core = core
        self._images = images
        self._builds = builds
        self._id = _machine_id()

    def info(self) -> docker.Info:
        """Describe machine, engine, counts and features."""
        core, machine = self._core, self._core.machine
        counts = Counter(container.state.status for container in core.index.all())
        distribution = _os_release()
        controllers = machine.controllers
        driver = core.store.snapshots.drivers.choose()
        return docker.Info(
            ID=self._id,
            Containers=sum(counts.values()),
            ContainersRunning=counts["running"],
            ContainersPaused=counts["paused"],
            ContainersStopped=counts["exited"] + counts["created"] + counts["dead"],
            Images=len(core.store.images.list()),
            Driver=driver,
            DriverStatus=_driver_status(driver, core.paths.data),
            DockerRootDir=core.paths.data,
            LoggingDriver=core.settings.log.driver,
            Plugins=docker.PluginsInfo(
                Volume=core.volumes.drivers(), Network=["bridge", "host", "null"], Log=list(DRIVERS)
            ),
            MemoryLimit="memory" in controllers,
            SwapLimit=machine.swap_limit,
            CpuCfsPeriod="cpu" in controllers,
            CpuCfsQuota="cpu" in controllers,
            CPUShares="cpu" in controllers,
            CPUSet="cpuset" in controllers,
            PidsLimit="pids" in controllers,
            OomKillDisable=machine.oom_kill_disable,
            IPv4Forwarding=_read("/proc/sys/net/ipv4/ip_forward").strip() == "1",
            NFd=len(os.listdir("/proc/self/fd")),
            NGoroutines=threading.active_count(),
            SystemTime=format_time(time.time_ns()),
            CgroupVersion=str(machine.cgroup_version),
            NEventsListener=core.events.listener_count,
            KernelVersion=machine.kernel_release,
            OperatingSystem=distribution.get("PRETTY_NAME", "Linux"),
            OSVersion=distribution.get("VERSION_ID", ""),
            Architecture=platform.machine(),
            NCPU=len(machine.cpus),
            MemTotal=machine.memory_bytes,
            Name=platform.node(),
            Labels=list(core.settings.labels),
            ServerVersion=VERSION,
            Runtimes=_runtimes(core),
            DefaultRuntime=core.runtimes.default,
            InitBinary="built in",
            RuncCommit=docker.Commit(ID=_OWN_COMMIT),
            InitCommit=docker.Commit(ID=_OWN_COMMIT),
            RegistryConfig=_registry_config(core.settings.registry),
            SecurityOptions=_security_options(core),
            Warnings=_warnings(core),
        )

    def version(self) -> docker.Version:
        """Name the versions of API, engine and kernel."""
        release, machine = platform.release(), self._core.machine
        details = {
            "ApiVersion": docker.API_VERSION,
            "MinAPIVersion": docker.MIN_API_VERSION,
            "GoVersion": "none",
            "GitCommit": _OWN_COMMIT,
            "BuildTime": "",
            "Os": "linux",
            "Arch": machine.arch,
            "Experimental": "false",
            "KernelVersion": release,
        }
        return docker.Version(
            Platform=docker.VersionPlatform(Name=f"sampan {sampan.__version__}"),
            Components=[
                docker.Component(Name="Engine", Version=VERSION, Details=details),
                docker.Component(Name="sampan", Version=sampan.__version__),
                docker.Component(Name="Python", Version=platform.python_version()),
            ],
            Version=VERSION,
            ApiVersion=docker.API_VERSION,
            MinAPIVersion=docker.MIN_API_VERSION,
            GitCommit=details["GitCommit"],
            GoVersion="none",
            Os="linux",
            Arch=machine.arch,
            KernelVersion=release,
        )

    def disk_usage(self, parts: Sequence[str] = _ALL_PARTS) -> docker.DiskUsage:
        """Sum what images, containers, volumes and builds occupy; parts not asked for are left out."""
        core, builds = self._core, self._builds.cache()
        wants_images = "image" in parts
        return docker.DiskUsage(
            LayersSize=layer_bytes(core, ()).without(only_built(core, builds.steps()))
            if wants_images
            else UNSET,
            Images=self._images.usage() if wants_images else UNSET,
            Containers=self._container_usage() if "container" in parts else UNSET,
            Volumes=core.volumes.disk_usage() if "volume" in parts else UNSET,
            BuildCache=[one.shown() for one in builds.all()] if "build-cache" in parts else UNSET,
        )

    def _container_usage(self) -> list[docker.ContainerSummary]:
        """List all containers; their own size counts the logs, which `ps -s` does not."""
        core = self._core
        shown = []
        for summary in list_containers(core, all=True, limit=0, size=True, filters={}):
            size = 0 if summary.SizeRw is UNSET else summary.SizeRw
            size += log_bytes(core.paths.bundle(summary.Id))
            shown.append(msgspec.structs.replace(summary, SizeRw=size))
        return shown

    def full_usage(self) -> FullUsage:
        """Sum everything below the data root, and what prunes would free."""
        return full_usage(self._core, self._builds.cache())

    def prune_nothing(self, kind: Literal["network"], filters: Filters) -> None:
        """Check the filters of a prune that can find nothing yet, and tell that it was done.

        Raises:
            InvalidArgument: an unknown filter.
        """
        parse_prune_filter(filters)
        tell_prune(self._core, kind, 0)

    def check(self, *, repair: bool = False, images: bool = False) -> CheckReport:
        """Find what nothing refers to, on the disk and in the kernel; with repair, remove it.

        images: read every blob and every unpacked layer as well, and tell which are damaged.

        Raises:
            Conflict: another check runs.
        """
        return check(self._core, repair=repair, images=images)

    def reload(self) -> None:
        """Tell that sampand was asked to read its settings again (SIGHUP); it has no file of them yet."""
        settings = self._core.settings
        attributes = {
            "name": platform.node(),
            "labels": json.dumps(list(settings.labels)),
            "default-runtime": settings.default_runtime,
            "runtimes": json.dumps(sorted(self._core.runtimes.known())),
            "default-shm-size": str(settings.shm_size_bytes),
            "live-restore": "true",
        }
        self._core.events.emit(make_event("daemon", "reload", self._id, attributes))


def _runtimes(core: Core) -> dict[str, docker.RuntimeInfo]:
    return {
        name: docker.RuntimeInfo(path=command[0] if command else OWN_RUNTIME, runtimeArgs=list(command[1:]))
        for name, command in core.runtimes.known().items()
    }


def _registry_config(options: RegistryOptions) -> docker.RegistryConfig:
    """Tell how registries are spoken to. Source: moby, registry/config.go, loadInsecureRegistries."""
    networks = [one for one in options.insecure if "/" in one]
    hosts = [one for one in options.insecure if "/" not in one]
    hub = docker.IndexInfo(Name="docker.io", Official=True, Mirrors=list(options.mirrors))
    return docker.RegistryConfig(
        InsecureRegistryCIDRs=[*networks, "127.0.0.0/8", "::1/128"],
        IndexConfigs={"docker.io": hub, **{one: docker.IndexInfo(Name=one, Secure=False) for one in hosts}},
        Mirrors=list(options.mirrors),
    )


def _security_options(core: Core) -> list[str]:
    options = ["name=apparmor"] if core.machine.apparmor else []
    options += ["name=seccomp,profile=builtin"]
    options += ["name=selinux"] if core.machine.selinux else []
    options += ["name=cgroupns"] if core.machine.cgroup_version == 2 else []
    options += ["name=no-new-privileges"] if core.settings.no_new_privileges else []
    return options


def _warnings(core: Core) -> list[str]:
    machine = core.machine
    wanted = (
        ("memory" in machine.controllers, "No memory limit support"),
        (machine.swap_limit, "No swap limit support"),
        (machine.oom_kill_disable or machine.cgroup_version == 2, "No oom kill disable support"),
        ("cpu" in machine.controllers, "No cpu cfs quota support"),
        ("cpu" in machine.controllers, "No cpu cfs period support"),
        ("cpu" in machine.controllers, "No cpu shares support"),
        ("cpuset" in machine.controllers, "No cpuset support"),
        ("pids" in machine.controllers, "No pids limit support"),
        ("CAP_SYS_RESOURCE" in machine.capabilities, "No CAP_SYS_RESOURCE: resource limits are clamped"),
    )
    return [f"WARNING: {text}" for there, text in wanted if not there]


def _machine_id() -> str:
    """Return an identity of this installation of the operating system (machine-id(5))."""
    return _read("/etc/machine-id").strip() or platform.node()


def _os_release() -> dict[str, str]:
    """Return os-release(5)."""
    pairs = (line.partition("=") for line in _read("/etc/os-release").splitlines())
    return {key: value.strip().strip('"') for key, _, value in pairs}


def _driver_status(driver: str, path: str) -> list[list[str]]:
    """Say of a storage driver what dockerd says of it; of vfs nothing."""
    if driver == PLAIN:
        return []
    status = [["Backing Filesystem", _file_system(path)]]
    if driver != OVERLAY:
        return status
    return [
        *status,
        ["Supports d_type", "true"],
        ["Using metacopy", "false"],
        ["Native Overlay Diff", "true"],
        ["userxattr", "true" if "userxattr" in overlay_options() else "false"],
    ]


def _file_system(path: str) -> str:
    """Return the type of the file system that path lies on: the longest mount point above it wins."""
    best, kind = "", "unknown"
    for line in _read("/proc/self/mounts").splitlines():
        fields = line.split()
        point = fields[1]
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""
