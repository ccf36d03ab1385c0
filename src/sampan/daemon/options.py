"""The command line of sampand."""

from __future__ import annotations

import argparse
import ipaddress
import re
import shlex
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sampan import __version__
from sampan.daemon.scopes import SocketWish, parse_socket
from sampan.engine.logs.config import DRIVERS, check_log_config
from sampan.engine.options import CNI_LISTS, CNI_PROGRAMS, MIB, EngineSettings, LogDefaults
from sampan.errors import InvalidArgument
from sampan.network.addresses import DEFAULT_BASES, Base, parse_base
from sampan.network.default_network import DefaultWishes
from sampan.network.model import MIN_MTU, MIN_MTU6
from sampan.plugins.discovery import SOCKETS, SPECS, Discovery
from sampan.registry.options import CERTS_DIRECTORIES, POLICY, REGISTRIES_CONF, RegistryOptions
from sampan.settings import Roots, default_roots
from sampan.spec import docker
from sampan.store.snapshotters import AUTO, NAMES

_SIZE: Final = re.compile(r"([0-9]{1,12})([kmg]?)b?", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1024, "m": MIB, "g": 1024 * MIB}
_COMMAND: Final = re.compile(r"([a-zA-Z0-9][a-zA-Z0-9_.-]*)=(/.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsPaths:
    """PEM files: who vouches for clients, and what sampand shows."""

    ca: str
    cert: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonOptions:
    """What sampand was started with."""

    engine: EngineSettings
    hosts: list[str]
    group: str
    insecure_tcp: bool
    sockets: tuple[SocketWish, ...]
    tls: TlsPaths | None
    pid_file: str
    ready_fd: int
    log_level: str
    log_json: bool


def parse_options(arguments: list[str]) -> DaemonOptions:
    """Read the command line; prints and exits as argparse does on --help, --version and on errors."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        check_log_config(docker.LogConfig(Type=given.log_driver, Config=dict(given.log_opt)))
    except InvalidArgument as exc:
        parser.error(str(exc))
    usual = default_roots()
    roots = Roots(data=given.data_root or usual.data, run=given.run_root or usual.run)
    engine = EngineSettings(
        roots=roots,
        default_runtime=given.default_runtime,
        runtimes=dict(given.add_runtime),
        cgroup_parent=given.cgroup_parent,
        log=LogDefaults(
            max_size_bytes=given.log_max_size,
            max_files=given.log_max_file,
            driver=given.log_driver,
            options=dict(given.log_opt),
        ),
        journal_socket=given.journal_socket,
        stop_timeout_s=given.stop_timeout,
        pids_limit=given.pids_limit,
        shm_size_bytes=given.shm_size,
        no_new_privileges=given.no_new_privileges,
        init=given.init,
        dns=tuple(given.dns),
        dns_search=tuple(given.dns_search),
        dns_options=tuple(given.dns_option),
        labels=tuple(given.label),
        registry=_registry_options(given),
        storage_driver=given.storage_driver,
        default_network=given.default_network,
        default_network_names=given.default_network_names,
        host_gateway=tuple(given.host_gateway_ip),
        bind_address=given.ip or "",
        default_bridge=_default_bridge(parser, given),
        address_pools=tuple(given.default_address_pool) or DEFAULT_BASES,
        firewall=given.firewall,
        cni_lists=tuple(given.cni_config or CNI_LISTS),
        cni_programs=tuple(given.cni_plugins or CNI_PROGRAMS),
        plugins=Discovery(sockets=given.plugin_sockets, specs=given.plugin_specs or SPECS),
    )
    return DaemonOptions(
        engine=engine,
        hosts=given.host or [f"unix://{roots.run}/sampan.sock"],
        group=given.group,
        insecure_tcp=given.insecure_tcp,
        sockets=tuple(given.socket),
        tls=TlsPaths(ca=given.tlscacert, cert=given.tlscert, key=given.tlskey) if given.tlsverify else None,
        pid_file=given.pidfile,
        ready_fd=given.ready_fd,
        log_level=given.log_level,
        log_json=given.log_format == "json",
    )


def _parser() -> argparse.ArgumentParser:
    usual = EngineSettings(roots=default_roots())
    parser = argparse.ArgumentParser(
        prog="sampand",
        description="Run containers for clients of the Docker Engine API. They go on when sampand ends.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"sampand {__version__}")
    place = parser.add_argument_group("where")
    place.add_argument("--data-root", metavar="DIR", type=_directory, help="images and containers")
    place.add_argument("--run-root", metavar="DIR", type=_directory, help="sockets and what runs now")
    place.add_argument(
        "-H",
        "--host",
        metavar="ADDRESS",
        action="append",
        help="unix:///path, fd:// or tcp://host:port; may repeat",
    )
    place.add_argument(
        "--socket",
        metavar="PATH,role=ROLE[,…]",
        action="append",
        default=[],
        type=_socket,
        help="a unix socket with fewer rights: role=read-only, run-only or full; also group=, mode=, owner=, "
        "bind=DIR[:ro] (docs/access.md); may repeat",
    )
    for flag, metavar, text in (
        ("--tlscacert", "FILE", "who vouches for clients of tcp://"),
        ("--tlscert", "FILE", "certificate for tcp://"),
        ("--tlskey", "FILE", "its key"),
    ):
        place.add_argument(flag, default="", metavar=metavar, help=text)
    place.add_argument(
        "--tlsverify",
        action="store_true",
        help="speak TLS on tcp:// and take only clients with a certificate",
    )
    place.add_argument("--group", default="sampan", metavar="NAME", help="group that may use the unix socket")
    place.add_argument(
        "--insecure-tcp",
        action="store_true",
        help="allow tcp:// on loopback, where every local user is then root",
    )
    place.add_argument(
        "--plugin-sockets", default=SOCKETS, type=_directory, metavar="DIR", help="sockets of volume plugins"
    )
    place.add_argument(
        "--plugin-specs",
        action="append",
        type=_directory,
        metavar="DIR",
        help="addresses of volume plugins, NAME.spec and NAME.json; may repeat",
    )
    place.add_argument("--pidfile", default="", metavar="FILE", help="write the process id there as well")
    place.add_argument(
        "--ready-fd", type=int, default=-1, metavar="N", help="descriptor that gets a line once ready"
    )
    place.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    place.add_argument("--log-format", default="text", choices=("text", "json"))
    place.add_argument(
        "--insecure-registry",
        action="append",
        default=[],
        metavar="HOST[:PORT]|NETWORK",
        help="a registry without TLS, or with a certificate nobody vouches for; may repeat",
    )
    place.add_argument(
        "--registry-mirror",
        action="append",
        default=[],
        type=_mirror,
        metavar="URL",
        help="ask there for Docker Hub's images first; may repeat",
    )
    place.add_argument(
        "--registry-certs",
        action="append",
        type=_directory,
        metavar="DIR",
        help="HOST/hosts.toml, HOST/*.crt and *.cert with *.key for registries; may repeat "
        "(default /etc/sampan/certs.d and /etc/docker/certs.d; docs/registry.md)",
    )
    place.add_argument(
        "--registries-conf",
        default=REGISTRIES_CONF,
        metavar="FILE",
        help="mirrors and other places for images, as podman reads them (default %(default)s)",
    )
    place.add_argument(
        "--image-policy",
        default=POLICY,
        metavar="FILE",
        help="which images may be pulled, and whose signatures they need (default %(default)s)",
    )
    new = parser.add_argument_group("containers")
    new.add_argument(
        "--storage-driver",
        default=usual.storage_driver,
        choices=(AUTO, *NAMES),
        help="what makes the roots of new containers; auto takes the first that works here",
    )
    new.add_argument(
        "--default-network",
        default=usual.default_network,
        choices=("bridge", "none"),
        help="what a container gets that names no network",
    )
    new.add_argument(
        "--default-network-names",
        action="store_true",
        help="containers on the network bridge find each other by name, too",
    )
    new.add_argument(
        "--host-gateway-ip",
        action="append",
        default=[],
        type=_address,
        metavar="ADDRESS",
        help="what host-gateway means in --add-host; the gateway of each network without; may repeat",
    )
    new.add_argument(
        "--ip",
        type=_address,
        metavar="ADDRESS",
        help="where -p publishes without an address, such as 127.0.0.1; every address without",
    )
    _add_default_bridge(new)
    new.add_argument(
        "--cni-config", action="append", type=_directory, metavar="DIR", help="conflists of CNI; may repeat"
    )
    new.add_argument(
        "--cni-plugins", action="append", type=_directory, metavar="DIR", help="programs of CNI; may repeat"
    )
    new.add_argument(
        "--firewall",
        default=usual.firewall,
        choices=("usual", "strict"),
        help="strict: what comes to published ports must pass the host's own forward rules, too",
    )
    new.add_argument("--default-runtime", default=usual.default_runtime, metavar="NAME")
    new.add_argument(
        "--add-runtime",
        action="append",
        default=[],
        type=_runtime,
        metavar="NAME=COMMAND",
        help="another OCI runtime; COMMAND begins with an absolute path",
    )
    new.add_argument("--cgroup-parent", default=usual.cgroup_parent, metavar="PATH")
    new.add_argument(
        "--log-max-size",
        default=usual.log.max_size_bytes,
        type=_size,
        metavar="SIZE",
        help="rotate a container's log at this size",
    )
    new.add_argument(
        "--log-max-file", default=usual.log.max_files, type=int, metavar="N", help="log files kept"
    )
    new.add_argument(
        "--log-driver", default=usual.log.driver, choices=DRIVERS, help="where containers' output goes"
    )
    new.add_argument(
        "--log-opt",
        action="append",
        default=[],
        type=_option,
        metavar="KEY=VALUE",
        help="default option of that driver; may repeat",
    )
    new.add_argument(
        "--journal-socket", default=usual.journal_socket, metavar="PATH", help="for --log-driver journald"
    )
    new.add_argument("--stop-timeout", default=usual.stop_timeout_s, type=int, metavar="SECONDS")
    new.add_argument(
        "--pids-limit",
        default=usual.pids_limit,
        type=int,
        metavar="N",
        help="processes in a container; -1 for no limit",
    )
    new.add_argument("--shm-size", default=usual.shm_size_bytes, type=_size, metavar="SIZE")
    new.add_argument("--no-new-privileges", action="store_true")
    new.add_argument("--init", action="store_true", help="run an init inside every container")
    new.add_argument("--dns", action="append", default=[], metavar="ADDRESS")
    new.add_argument("--dns-search", action="append", default=[], metavar="DOMAIN")
    new.add_argument("--dns-option", action="append", default=[], metavar="OPTION")
    new.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="label of this daemon")
    return parser


def _add_default_bridge(group: argparse._ArgumentGroup) -> None:
    """The network `bridge`: Docker's names for its daemon's options."""
    usual = DefaultWishes()
    group.add_argument("--bip", type=_bridge_address, metavar="ADDRESS/PREFIX", help="of the default bridge")
    group.add_argument("--ipv6", action="store_true", help="the default bridge has IPv6, too")
    group.add_argument(
        "--fixed-cidr-v6", type=_subnet6, metavar="SUBNET", help="its IPv6 subnet, with --ipv6"
    )
    group.add_argument(
        "--mtu", default=str(usual.mtu), type=_mtu, metavar="BYTES", help="of the default bridge"
    )
    group.add_argument(
        "--icc",
        default="true",
        choices=("true", "false"),
        help="whether containers of the default bridge reach each other",
    )
    group.add_argument(
        "--default-address-pool",
        action="append",
        default=[],
        type=_base,
        metavar="base=SUBNET,size=PREFIX",
        help="where networks get subnets from that name none; may repeat",
    )


def _default_bridge(parser: argparse.ArgumentParser, given: argparse.Namespace) -> DefaultWishes:
    if given.fixed_cidr_v6 and not given.ipv6:
        parser.error("argument --fixed-cidr-v6: needs --ipv6")
    if given.ipv6 and given.mtu < MIN_MTU6:
        parser.error(f"argument --mtu: with --ipv6 at least {MIN_MTU6}")
    return DefaultWishes(
        address=given.bip or "",
        ipv6=given.ipv6,
        subnet6=given.fixed_cidr_v6 or "",
        mtu=given.mtu,
        icc=given.icc == "true",
    )


def _registry_options(given: argparse.Namespace) -> RegistryOptions:
    return RegistryOptions(
        insecure=tuple(given.insecure_registry),
        mirrors=tuple(given.registry_mirror),
        certs=tuple(given.registry_certs or CERTS_DIRECTORIES),
        registries_conf=given.registries_conf,
        policy=given.image_policy,
    )


def _mirror(text: str) -> str:
    from sampan.registry.routes import parse_mirror

    try:
        return f"{parse_mirror(text).url}{urlsplit(text).path.rstrip('/')}/"
    except InvalidArgument as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _directory(text: str) -> str:
    if not text.startswith("/") or "\0" in text or text.rstrip("/") == "":
        raise argparse.ArgumentTypeError(f"{text!r} is not an absolute path of a directory of its own")
    return text.rstrip("/")


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _bridge_address(text: str) -> str:
    try:
        own = ipaddress.IPv4Interface(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    if own.network.prefixlen > 30 or own.ip in (own.network[0], own.network[-1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no address of a host in a subnet of several")
    return str(own)


def _subnet6(text: str) -> str:
    try:
        network = ipaddress.IPv6Network(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    if network.prefixlen > 126:
        raise argparse.ArgumentTypeError(f"{text!r} has no room for containers")
    return str(network)


def _mtu(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and MIN_MTU <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {MIN_MTU} to 65535")
    return int(text)


def _base(text: str) -> Base:
    try:
        return parse_base(text)
    except InvalidArgument as exc:
        raise argparse.ArgumentTypeError(f"{exc}: {exc.hint}" if exc.hint else str(exc)) from exc


def _socket(text: str) -> SocketWish:
    try:
        return parse_socket(text)
    except InvalidArgument as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _option(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 20m")
    return int(found.group(1)) * _UNITS[found.group(2).lower()]


def _runtime(text: str) -> tuple[str, tuple[str, ...]]:
    found = _COMMAND.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=/path/of/command")
    return found.group(1), tuple(shlex.split(found.group(2)))
