"""What a client may ask for at create: every field is honoured, neutral, or refused by name.

docs/engine.md has the table. Checks that belong to the translation (limits, mounts, capabilities, …) are
made there (`bundle`), which runs at create too; here is what is left: fields that this version does not
know yet, and the merge with the image.
"""

from __future__ import annotations

import posixpath
from typing import Final

import msgspec

from sampan.engine.bundle.namespaces import is_network_name
from sampan.engine.bundle.plan import Warn
from sampan.engine.bundle.process import check_environment, check_workdir, merge_environment
from sampan.engine.health.checks import check_health, merge_health
from sampan.engine.lifecycle.restart_policy import check_policy
from sampan.engine.networks.hostfiles import check_nameserver, check_resolver_word, parse_extra_host
from sampan.engine.networks.wishes import check_endpoint, check_ports, parse_link, parse_mac
from sampan.errors import InvalidArgument, NotFound, Unsupported
from sampan.spec import docker
from sampan.spec.image import ImageConfig
from sampan.spec.signals import parse_signal
from sampan.store.platforms import parse_platform
from sampan.store.volume_options import parse_size

_MAX_HOSTNAME: Final = 64  # HOST_NAME_MAX (limits.h)


def check_request(request: docker.ContainerCreate) -> None:
    """Refuse what is wrong in itself or not there yet, before anything is looked up.

    Raises:
        InvalidArgument: a wrong value.
        Unsupported: `not supported yet: FIELD …`.
    """
    _check_config(request)
    _check_host(request.HostConfig)
    _check_joined_network(request, request.HostConfig)
    _check_networking(request.NetworkingConfig, request.HostConfig.NetworkMode, request.MacAddress)


_INSTEAD: Final = {
    "UsernsMode": "idmap of -v says as whom a mounted directory's files appear (docs/volumes.md)",
}


def _not_yet(field: str, value: object = "", *, hint: str = "") -> Unsupported:
    shown = f" {value!r}" if value else ""
    return Unsupported(f"not supported yet: {field}{shown}", hint=hint)


def _check_config(config: docker.Config) -> None:
    check_environment(config.Env)
    check_workdir(config.WorkingDir)
    _check_hostname(config.Hostname, "hostname")
    _check_hostname(config.Domainname, "domainname")
    if config.StopSignal:
        parse_signal(config.StopSignal)
    if config.StopTimeout is not None and config.StopTimeout < -1:
        raise InvalidArgument(f"invalid StopTimeout {config.StopTimeout}: -1 waits for ever")
    for key, value in config.Labels.items():
        if not key or "\0" in key + value:
            raise InvalidArgument(f"invalid label {key!r}")
    if config.Healthcheck is not None:
        check_health(config.Healthcheck)
    if config.MacAddress:
        parse_mac(config.MacAddress)
    if config.OnBuild:
        raise InvalidArgument("OnBuild belongs to images, not to containers")
    for port in config.ExposedPorts:
        _check_port(port)


def _check_hostname(name: str, what: str) -> None:
    if len(name) > _MAX_HOSTNAME or not (name.isprintable() and " " not in name):
        raise InvalidArgument(f"invalid {what} {name!r}: at most {_MAX_HOSTNAME} characters, no spaces")


def _check_port(text: str) -> None:
    number, _, protocol = text.partition("/")
    first, dash, last = number.partition("-")
    numbers = (first, last) if dash else (first,)
    valid = all(
        part.isascii() and part.isdigit() and len(part) <= 5 and int(part) <= 65535 for part in numbers
    )
    if not valid or protocol not in ("", "tcp", "udp", "sctp"):
        raise InvalidArgument(f"invalid port specification: {text!r}")


def _check_host(host: docker.HostConfig) -> None:
    root_size(host)
    _refuse_not_yet(host)
    if host.OomScoreAdj < -1000 or host.OomScoreAdj > 1000:
        raise InvalidArgument(f"Invalid value {host.OomScoreAdj}, range for oom score adj is [-1000, 1000]")
    if host.ShmSize < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    check_policy(host.RestartPolicy, auto_remove=host.AutoRemove)
    if host.Isolation not in ("", "default"):
        raise InvalidArgument(f"invalid isolation {host.Isolation!r}: Linux has only default")
    if "/../" in f"/{host.CgroupParent}/" or not host.CgroupParent.isprintable():
        raise InvalidArgument(f"invalid CgroupParent {host.CgroupParent!r}: must not climb")
    for entry in host.ExtraHosts:
        parse_extra_host(entry)
    for link in host.Links:
        parse_link(link)
    if host.Links and host.NetworkMode == "host":
        raise InvalidArgument(
            "conflicting options: host type networking can't be used with links. This would result in "
            "undefined behavior"
        )
    for server in host.Dns:
        check_nameserver(server)
    for field in ("DnsSearch", "DnsOptions"):
        for word in getattr(host, field):
            check_resolver_word(word, field=field)
    if len(host.ConsoleSize) != 2 or not all(0 <= size <= 65535 for size in host.ConsoleSize):
        raise InvalidArgument(f"invalid ConsoleSize {host.ConsoleSize}: two numbers, height and width")


def root_size(host: docker.HostConfig) -> int | None:
    """Return how many bytes the container may write to its root; None: as many as there are.

    Raises:
        InvalidArgument: another option of the storage, or no size.
    """
    for name in host.StorageOpt:
        if name.lower() != "size":
            raise InvalidArgument(f"unknown storage option {name!r}: there is size alone")
    sizes = [parse_size(text) for text in host.StorageOpt.values()]
    return sizes[-1] if sizes else None


def _refuse_not_yet(host: docker.HostConfig) -> None:
    """Refuse fields whose time has not come, unless they hold what every client sends."""
    check_ports(host)
    if host.DeviceRequests:
        request = host.DeviceRequests[0]
        wanted = "[" + " ".join(f"[{' '.join(names)}]" for names in request.Capabilities) + "]"
        raise InvalidArgument(
            f'could not select device driver "{request.Driver}" with capabilities: {wanted}'
        )
    for field, neutral in (
        ("UsernsMode", ("", "host")),
        ("Cgroup", ("",)),
        ("CpuCount", (0,)),
        ("CpuPercent", (0,)),
        ("IOMaximumIOps", (0,)),
        ("IOMaximumBandwidth", (0,)),
    ):
        value = getattr(host, field)
        if value not in neutral:
            raise _not_yet(field, value, hint=_INSTEAD.get(field, ""))


def _check_joined_network(config: docker.Config, host: docker.HostConfig) -> None:
    """Refuse what belongs to the owner of a network namespace, in Docker's words."""
    if not host.NetworkMode.startswith("container:"):
        return
    for given, what in (
        (config.Hostname, "hostname and the network mode"),
        (
            host.Links,
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (host.Dns, "dns and the network mode"),
        (config.MacAddress, "mac-address and the network mode"),
        (host.ExtraHosts, "custom host-to-IP mapping and the network mode"),
        (host.PortBindings or host.PublishAllPorts, "port publishing and the container type network mode"),
        (config.ExposedPorts, "port exposing and the container type network mode"),
    ):
        if given:
            raise InvalidArgument(f"conflicting options: {what}")


def _check_networking(networking: docker.NetworkingConfig, mode: str, hardware: str) -> None:
    """Accept what bridge networks can do; elsewhere only the empty endpoint that the docker CLI sends."""
    with_networks = is_network_name(mode) or mode in ("", "default")
    main = networking.EndpointsConfig.get(mode, docker.EndpointSettings()).MacAddress
    if hardware and main and parse_mac(hardware) != parse_mac(main):
        raise InvalidArgument(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main "
            "network, or be left empty"
        )
    for name, endpoint in networking.EndpointsConfig.items():
        if with_networks:
            check_endpoint(name, endpoint)
        elif name not in (mode, "default"):
            raise InvalidArgument(
                f"conflicting options: cannot attach a container of network mode {mode} to network {name}"
            )
        elif not _is_neutral(endpoint):
            raise _not_yet("NetworkingConfig of network", name)


def _is_neutral(endpoint: docker.EndpointSettings) -> bool:
    """Tell whether an endpoint asks for nothing: Go clients send empty lists for null ones."""
    return all(
        not value or (isinstance(value, docker.EndpointIPAMConfig) and value == docker.EndpointIPAMConfig())
        for value in msgspec.structs.asdict(endpoint).values()
    )


def check_platform(platform: str, image: ImageConfig, *, arch: str, image_name: str) -> None:
    """Refuse another platform than this machine's.

    Raises:
        NotFound: the image is for another platform than was asked for.
        InvalidArgument: platform has another form.
        Unsupported: this machine cannot run the image.
    """
    found = str(image.platform)
    if platform:
        wanted = parse_platform(platform)
        if (wanted.os, wanted.architecture) != (image.os or "linux", image.architecture):
            raise NotFound(
                f"image with reference {image_name} was found but does not match the specified platform: "
                f"wanted {platform}, actual: {found}"
            )
    if image.os not in ("", "linux") or image.architecture not in ("", arch):
        raise Unsupported(f"cannot run image {image_name} of platform {found} on linux/{arch}")


def merge_image(config: docker.Config, defaults: docker.ImageConfig, warn: Warn) -> docker.Config:
    """Fill what the client left open from the image, by Docker's rules (moby, runconfig merge).

    A client that gives an entrypoint drops the image's command too; an empty list is none.
    """
    entrypoint, command = config.Entrypoint, config.Cmd
    if not entrypoint and not command:
        command = defaults.Cmd
    if entrypoint is None:
        entrypoint = defaults.Entrypoint
    environment = merge_environment(defaults.Env or (), config.Env)
    return msgspec.structs.replace(
        config,
        User=config.User or defaults.User,
        Entrypoint=entrypoint,
        Cmd=command,
        Env=environment,
        WorkingDir=_workdir(config.WorkingDir or defaults.WorkingDir),
        ExposedPorts={**(defaults.ExposedPorts or {}), **config.ExposedPorts},
        Volumes={**(defaults.Volumes or {}), **config.Volumes},
        Labels={**(defaults.Labels or {}), **config.Labels},
        StopSignal=config.StopSignal or defaults.StopSignal,
        Shell=config.Shell or defaults.Shell,
        Healthcheck=merge_health(config.Healthcheck, defaults.Healthcheck),
    )


def _workdir(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/")) if path else ""
