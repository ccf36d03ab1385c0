"""A container's hosts, resolv.conf and hostname: written anew at its start, kept in step with its networks.

A running container has them bound over its own, so a change is written in place. What somebody changed by
hand inside stays: of hosts only our lines are touched, and resolv.conf is left alone once its seal is broken.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sampan import log
from sampan.engine.bundle.namespaces import parse_network_mode
from sampan.engine.core import Core
from sampan.engine.networks.hostfiles import (
    HostsLine,
    change_hosts,
    is_sealed,
    make_hosts,
    make_resolv_conf,
    relink_hosts,
    seal,
)
from sampan.engine.records import Record
from sampan.kernel.files import write_all
from sampan.network.model import Endpoint
from sampan.spec import docker

_RESOLV_CONF = "/etc/resolv.conf"
_RESOLVED_CONF = "/run/systemd/resolve/resolv.conf"  # the servers behind systemd-resolved's stub


def write_host_files(core: Core, record: Record, *, endpoints: Sequence[Endpoint] = ()) -> None:
    """Write hosts, resolv.conf and hostname anew, as Docker does at each start.

    endpoints: the container's own.

    Raises:
        SampanError: a container it is linked to does not run.
    """
    host = record.host
    files = core.paths.host_files(record.id)
    shares_host = parse_network_mode(host.NetworkMode).share == "host"
    base = {"base": _read_text("/etc/hosts")} if shares_host else {}
    write_new(files.hostname, f"{record.config.Hostname}\n".encode())
    own = [*(core.linking.lines(record) if host.Links else ()), *own_lines(record.config, endpoints)]
    gateways = _host_gateways(core, record, shares_host=shares_host) if host.ExtraHosts else ()
    write_new(files.hosts, make_hosts(host.ExtraHosts, own=own, gateways=gateways, **base).encode())
    write_new(files.resolv_conf, resolv_conf(core, record).encode(errors="surrogateescape"))


def _host_gateways(core: Core, record: Record, *, shares_host: bool) -> Sequence[str]:
    """Return where a container meets the host: as set for this daemon, or at its network's gateway.

    Differs: Docker takes the gateway of the default bridge on every network; ours may not be there.
    """
    if core.settings.host_gateway:
        return core.settings.host_gateway
    return ("127.0.0.1",) if shares_host else core.networking.host_addresses(record.id)


def follow_networks(
    core: Core, record: Record, *, added: Sequence[Endpoint] = (), removed: Sequence[Endpoint] = ()
) -> None:
    """Bring a running container's files in step with its networks; what fails is logged."""
    files = core.paths.host_files(record.id)
    try:
        text = _read_text(files.hosts)
        lines = own_lines(record.config, added)
        wanted = change_hosts(text, remove=own_lines(record.config, removed), add=lines)
        _write_in_place(files.hosts, wanted if wanted != text else None)
        text = _read_text(files.resolv_conf)
        _write_in_place(files.resolv_conf, resolv_conf(core, record) if is_sealed(text) else None)
    except OSError as exc:
        log.warning("files of a container do not follow its networks", container=record.id, reason=exc)


def tell_linked(core: Core, record: Record) -> None:
    """Let running containers that are linked to one know the address it has got."""
    for linked_id, lines in core.linking.changes(record):
        path = core.paths.host_files(linked_id).hosts
        try:
            _write_in_place(path, relink_hosts(_read_text(path), lines))
        except OSError as exc:
            log.warning("hosts of a linked container is old", container=linked_id, reason=exc)


def own_lines(config: docker.Config, endpoints: Sequence[Endpoint]) -> list[HostsLine]:
    """Return a container's own lines of its hosts file: each address, full name first."""
    full = f"{config.Hostname}.{config.Domainname} " if config.Domainname else ""
    return [(address, f"{full}{config.Hostname}") for one in endpoints for address in one.addresses]


def resolv_conf(core: Core, record: Record) -> str:
    """Return resolv.conf as it should be now, sealed."""
    planned = core.networking.naming.plan(record)
    return seal(planned.text if planned is not None else _plain_resolv_conf(core, record))


def _plain_resolv_conf(core: Core, record: Record) -> str:
    """Return resolv.conf without our own DNS server: the user's and the host's."""
    host, settings = record.host, core.settings
    shares_host = parse_network_mode(host.NetworkMode).share == "host"
    return make_resolv_conf(
        _host_resolv_conf(shares_host=shares_host),
        dns=host.Dns or settings.dns,
        search=host.DnsSearch or settings.dns_search,
        options=host.DnsOptions or settings.dns_options,
        shares_host_network=shares_host,
    )


def _host_resolv_conf(*, shares_host: bool) -> str:
    text = _read_text(_RESOLV_CONF)
    if not shares_host and "127.0.0.53" in text:
        return _read_text(_RESOLVED_CONF) or text
    return text


def _read_text(path: str) -> str:
    try:
        with open(path, errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _write_in_place(path: str, text: str | None) -> None:
    """Change a file that a container has bound over its own; None: leave it."""
    if text is None:
        return
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        data = text.encode(errors="surrogateescape")
        write_all(fd, data)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


def write_new(path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file of the container's own directory, as a new one; it is made at each start, so not synced.

    Truncating the old one instead would cost 0.3 ms: ext4 writes such a file out at close (ext4(5),
    auto_da_alloc).
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)  # whatever sampand's umask is: users of the container must read hosts
        write_all(fd, data)
    finally:
        os.close(fd)
