"""What an engine is opened with. The daemon fills it from its flags and configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sampan.network.addresses import DEFAULT_BASES, Base
from sampan.network.default_network import DefaultWishes
from sampan.plugins.discovery import Discovery
from sampan.registry.options import RegistryOptions
from sampan.settings import Roots
from sampan.store.snapshotters import AUTO

OWN_RUNTIME = "sampan"
MIB = 1024 * 1024
CNI_LISTS = ("/etc/cni/net.d",)
CNI_PROGRAMS = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")  # upstream's, Debian's, Fedora's place


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDefaults:
    """Driver, options and rotation of logs whose container names none (docs/logs.md)."""

    max_size_bytes: int = 20 * MIB
    max_files: int = 5
    driver: str = "json-file"
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Roots and defaults of one engine; several engines with different roots share a machine.

    runtimes: name → command line of another OCI runtime, beside our own (`sampan`), `runc` and `crun`,
    which are found on PATH. plugins: where volume plugins are looked for.
    """

    roots: Roots
    default_runtime: str = OWN_RUNTIME
    runtimes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    cgroup_parent: str = "/sampan"
    log: LogDefaults = field(default_factory=LogDefaults)
    journal_socket: str = "/run/systemd/journal/socket"
    stop_timeout_s: int = 10
    pids_limit: int = 2048
    shm_size_bytes: int = 64 * MIB
    no_new_privileges: bool = False
    init: bool = False
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    default_network: str = "bridge"  # what a container gets that names none: bridge or none
    default_network_names: bool = False  # whether containers on it find each other by name
    host_gateway: tuple[str, ...] = ()  # what `host-gateway` means; empty: the gateway of each network
    cni_lists: tuple[str, ...] = CNI_LISTS
    cni_programs: tuple[str, ...] = CNI_PROGRAMS
    bind_address: str = ""  # where ports are published that name no address; empty: everywhere
    default_bridge: DefaultWishes = field(default_factory=DefaultWishes)  # how the network `bridge` is
    address_pools: tuple[Base, ...] = DEFAULT_BASES  # where networks get subnets from that name none
    firewall: str = "usual"  # strict: published ports must pass the host's own forward chains
    storage_driver: str = AUTO  # what puts the roots of new containers together (docs/store.md)
    plugins: Discovery = field(default_factory=Discovery)
    registry: RegistryOptions = field(default_factory=RegistryOptions)
