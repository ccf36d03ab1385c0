"""List containers: filters, order, and the words of the STATUS column."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, get_args

from msgspec import UNSET

from sampan.durations import describe_duration
from sampan.engine.bundle.process import command_of
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.health.checks import Health, HealthStatus
from sampan.engine.observing.inspection import sizes
from sampan.engine.observing.top import count_unreaped
from sampan.engine.patterns import compile_filter
from sampan.engine.records import Record, Status
from sampan.engine.volumes.mount_points import shown_mounts, user_mounts
from sampan.errors import InvalidArgument, NotFound
from sampan.spec import docker

Filters = Mapping[str, Sequence[str]]
Test = Callable[[Container], bool]
_KEYS: Final = frozenset(
    "ancestor before exited expose health id is-task isolation label name network publish since status "
    "volume".split()
)


def list_containers(
    core: Core, *, all: bool, limit: int, size: bool, filters: Filters, zombies: bool = False
) -> list[docker.ContainerSummary]:
    """See `Containers.list`."""
    tests = make_tests(core, filters)
    everything = all or limit > 0 or "status" in filters or "exited" in filters
    found = [
        container
        for container in core.index.all()
        if (everything or container.active) and matches(container, tests)
    ]
    found.sort(key=lambda container: container.record.created_ns, reverse=True)
    images = image_names(core)
    shown = found[: limit if limit > 0 else None]
    return [summary(core, container, images, size=size, zombies=zombies) for container in shown]


def matches(container: Container, tests: Iterable[Test]) -> bool:
    """Tell whether a container passes every test."""
    return all(test(container) for test in tests)


def make_tests(core: Core, filters: Filters) -> list[Test]:
    """Turn filters into tests: values of one key are alternatives, keys must all hold.

    Raises:
        InvalidArgument: an unknown key, a bad value.
        NotFound: before or since name no container.
    """
    for key in filters:
        if key not in _KEYS:
            raise InvalidArgument(f"invalid filter '{key}'")
    return [_make_test(core, key, values) for key, values in filters.items() if values]


def _make_test(core: Core, key: str, values: Sequence[str]) -> Test:
    match key:
        case "id":
            patterns = [compile_filter(value, key=key) for value in values]
            return lambda container: any(pattern.search(container.id) for pattern in patterns)
        case "name":
            names = [compile_filter(value.removeprefix("/"), key=key) for value in values]
            return lambda container: any(
                pattern.search(container.record.name) or pattern.search(f"/{container.record.name}")
                for pattern in names
            )
        case "label":
            return lambda container: all(_has_label(container.record, value) for value in values)
        case "status":
            return _status_test(values)
        case "exited":
            codes = {_parse_code(value) for value in values}
            return lambda container: container.state.status == "exited" and container.state.exit_code in codes
        case "ancestor":
            return _ancestor_test(core, values)
        case "before" | "since":
            return _order_test(core, key, values)
        case "network":
            return lambda container: any(_network_name(container.record) == value for value in values)
        case "volume":
            return lambda container: any(
                value in (mount.name, mount.source, mount.target)
                for value in values
                for mount in user_mounts(container.record)
            )
        case "health":
            return _health_test(values)
        case "is-task" | "isolation":
            falsy = any(value in ("false", "0", "default") for value in values)
            return lambda _container: falsy
        case "expose":
            ports = [_parse_ports(value, key) for value in values]
            return lambda container: any(_exposes(container.record, *wanted) for wanted in ports)
        case "publish":
            ports = [_parse_ports(value, key) for value in values]
            return lambda container: any(_publishes(core, container, *wanted) for wanted in ports)
    raise AssertionError(key)


def _status_test(values: Sequence[str]) -> Test:
    for value in values:
        if value not in get_args(Status):
            raise InvalidArgument(f"invalid filter 'status={value}'")
    return lambda container: container.state.status in values


def _health_test(values: Sequence[str]) -> Test:
    for value in values:
        if value not in ("none", *get_args(HealthStatus)):
            raise InvalidArgument(f"invalid filter 'health={value}'")
    return lambda container: (container.health.status if container.health else "none") in values


def _parse_code(value: str) -> int:
    if not (value.isascii() and value.removeprefix("-").isdigit() and len(value) <= 6):
        raise InvalidArgument(f"invalid filter 'exited={value}'")
    return int(value)


def _ancestor_test(core: Core, values: Sequence[str]) -> Test:
    wanted = set()
    for value in values:
        try:
            wanted.add(str(core.store.images.resolve(value).id))
        except (NotFound, InvalidArgument):
            continue  # Docker: an unknown ancestor matches nothing
    return lambda container: container.record.image_id in wanted


def _order_test(core: Core, key: str, values: Sequence[str]) -> Test:
    times = [core.index.get(value).record.created_ns for value in values]
    if key == "before":
        return lambda container: container.record.created_ns < min(times)
    return lambda container: container.record.created_ns > max(times)


def _has_label(record: Record, wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    labels = record.config.Labels
    return key in labels and (not equals or labels[key] == value)


def _parse_ports(text: str, key: str) -> tuple[int, int, str]:
    """Read `port[/protocol]` or `first-last[/protocol]`."""
    numbers, _, protocol = text.partition("/")
    first, dash, last = numbers.partition("-")
    parts = (first, last) if dash else (first, first)
    if not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts):
        raise InvalidArgument(f"invalid filter '{key}={text}'")
    return int(parts[0]), int(parts[1]), protocol or "tcp"


def _exposes(record: Record, first: int, last: int, protocol: str) -> bool:
    for port in record.config.ExposedPorts:
        number, _, own_protocol = port.partition("/")
        if number.isdigit() and first <= int(number) <= last and (own_protocol or "tcp") == protocol:
            return True
    return False


def _publishes(core: Core, container: Container, first: int, last: int, protocol: str) -> bool:
    return any(
        first <= (port.PublicPort or 0) <= last and port.Type == protocol for port in _ports(core, container)
    )


def _network_name(record: Record) -> str:
    return record.host.NetworkMode or "default"


def image_names(core: Core) -> dict[str, set[str]]:
    """Return the names each image has now, by id."""
    return {str(image.id): {tag.familiar for tag in image.references} for image in core.store.images.list()}


def summary(
    core: Core,
    container: Container,
    images: Mapping[str, set[str]],
    *,
    size: bool,
    zombies: bool = False,
) -> docker.ContainerSummary:
    """Return one line of the list; of the zombies those are counted that the first process does not reap."""
    record = container.record
    rw, root = sizes(core, record) if size else (UNSET, UNSET)
    command = command_of(record.config)
    return docker.ContainerSummary(
        Id=record.id,
        Names=[f"/{record.name}"],
        Image=_image_shown(record, images),
        ImageID=record.image_id,
        Command=" ".join([*command[:1], *(f"'{word}'" if " " in word else word for word in command[1:])]),
        Created=record.created_ns // 10**9,
        Ports=_ports(core, container),
        SizeRw=rw,
        SizeRootFs=root,
        Labels=record.config.Labels,
        State=record.state.status,
        Status=describe_status(record, container.health),
        HostConfig=docker.SummaryHostConfig(
            NetworkMode=record.host.NetworkMode or "default",
            Annotations=record.host.Annotations or UNSET,
        ),
        NetworkSettings=docker.SummaryNetworkSettings(Networks=core.networking.shown(record)),
        Mounts=shown_mounts(record),
        Zombies=count_unreaped(record.state.pid) if zombies else UNSET,
    )


def _image_shown(record: Record, images: Mapping[str, set[str]]) -> str:
    """Return the name the container was made by, or the image's id when that name has moved on."""
    names = images.get(record.image_id, set())
    wanted = record.image if ":" in record.image.rpartition("/")[2] else f"{record.image}:latest"
    if record.image in names or wanted in names or record.image_id.startswith(record.image):
        return record.image
    familiar = record.image.removeprefix("docker.io/").removeprefix("library/")
    wanted_familiar = familiar if ":" in familiar.rpartition("/")[2] else f"{familiar}:latest"
    return record.image if wanted_familiar in names else record.image_id


def _ports(core: Core, container: Container) -> list[docker.Port]:
    live = core.networking.ports(container.record) if container.running else {}
    ports = []
    for text in sorted(live):
        number, _, protocol = text.partition("/")
        if number.isdigit():
            ports += [
                docker.Port(
                    IP=binding.HostIp,
                    PrivatePort=int(number),
                    PublicPort=int(binding.HostPort or 0),
                    Type=protocol or "tcp",
                )
                for binding in live[text] or ()
            ] or [docker.Port(PrivatePort=int(number), Type=protocol or "tcp")]
    return ports


def describe_status(record: Record, health: Health | None = None) -> str:
    """Return the STATUS column: `Up 5 minutes`, `Exited (0) 2 hours ago`, …"""
    state, now = record.state, time.time_ns()
    match state.status:
        case "created":
            return "Created"
        case "running" | "paused":
            suffix = " (Paused)" if state.status == "paused" else _describe_health(health)
            return f"Up {describe_duration((now - state.started_at_ns) / 1e9)}{suffix}"
        case "exited":
            return f"Exited ({state.exit_code}) {describe_duration((now - state.finished_at_ns) / 1e9)} ago"
        case "restarting":
            ago = describe_duration((now - state.finished_at_ns) / 1e9)
            return f"Restarting ({state.exit_code}) {ago} ago"
        case "removing":
            return "Removal In Progress"
        case "dead":
            return "Dead"


def _describe_health(health: Health | None) -> str:
    if health is None:
        return ""
    return " (health: starting)" if health.status == "starting" else f" ({health.status})"
