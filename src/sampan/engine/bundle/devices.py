"""Devices: the rules of the device cgroup, and which nodes of the host a request means."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Final

from sampan.engine.bundle import posture
from sampan.engine.bundle.plan import BundlePlan, DeviceNode, Document
from sampan.errors import InvalidArgument
from sampan.spec import docker

_RULE: Final = re.compile(r"([acb]) ([0-9]{1,9}|\*):([0-9]{1,9}|\*) ([rwm]{1,3})")
_ACCESS: Final = re.compile(r"[rwm]{1,3}")
# Parts of /dev that every container has for itself; a privileged one gets all the rest.
_OWN: Final = frozenset(("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console", "ptmx"))
_MAX_NODES: Final = 10_000


def find_devices(host: docker.HostConfig) -> tuple[DeviceNode, ...]:
    """Ask the machine which nodes `--device` and `--privileged` mean; a folder means those inside it.

    Raises:
        InvalidArgument: no such device, bad permissions.
    """
    nodes: list[DeviceNode] = []
    if host.Privileged:
        nodes += _walk("/dev", "/dev", access="", skip=_OWN)
    for mapping in host.Devices:
        nodes += _find_mapped(mapping)
    return tuple({node.path: node for node in nodes}.values())


def _find_mapped(mapping: docker.DeviceMapping) -> list[DeviceNode]:
    access = mapping.CgroupPermissions or "rwm"
    target = mapping.PathInContainer or mapping.PathOnHost
    if not _ACCESS.fullmatch(access):
        raise InvalidArgument(f"invalid device permissions {access!r}: use letters of rwm")
    if not target.startswith("/") or "/../" in f"{target}/":
        raise InvalidArgument(
            f"invalid device path in the container {target!r}: must be absolute, without .."
        )
    source = os.path.realpath(mapping.PathOnHost)
    try:
        status = os.stat(source)
    except OSError as exc:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{mapping.PathOnHost}": '
            f"{(exc.strerror or '').lower()}"
        ) from exc
    if stat.S_ISDIR(status.st_mode):
        return list(_walk(source, target, access=access, skip=frozenset()))
    node = _node(target, status, access)
    if node is None:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{mapping.PathOnHost}": '
            "not a device node"
        )
    return [node]


def _walk(source: str, target: str, *, access: str, skip: frozenset[str]) -> Iterator[DeviceNode]:
    count = 0
    for folder, names, files in os.walk(source):
        names[:] = sorted(name for name in names if name not in skip)
        below = os.path.relpath(folder, source)
        for name in sorted(files):
            if name in skip and folder == source:
                continue
            path = os.path.normpath(f"{target}/{below}/{name}")
            try:
                node = _node(path, os.lstat(f"{folder}/{name}"), access)
            except FileNotFoundError:
                continue  # devices come and go while we walk
            if node is not None:
                count += 1
                yield node
            if count > _MAX_NODES:
                raise InvalidArgument(f"{source} holds more than {_MAX_NODES} devices")


def _node(path: str, status: os.stat_result, access: str) -> DeviceNode | None:
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    if not kind:
        return None
    return DeviceNode(
        path=path,
        kind=kind,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        access=access,
    )


def make_device_nodes(plan: BundlePlan) -> list[Document]:
    """Return `linux.devices`; the six that every container has come from the runtime (runtime-spec)."""
    return [
        {
            "type": node.kind,
            "path": node.path,
            "major": node.major,
            "minor": node.minor,
            "fileMode": node.mode,
            "uid": node.uid,
            "gid": node.gid,
        }
        for node in plan.devices
    ]


def make_device_rules(plan: BundlePlan) -> list[Document]:
    """Return `linux.resources.devices`, in order: nothing, the defaults, what was asked for.

    Raises:
        InvalidArgument: a rule of another form.
    """
    if plan.host.Privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[Document] = [{"allow": False, "access": "rwm"}]
    rules += [
        {"allow": allow, "type": kind, "major": major, "minor": minor, "access": "rwm"}
        for allow, kind, major, minor in posture.DEVICE_RULES
    ]
    rules += [
        {"allow": True, "type": node.kind, "major": node.major, "minor": node.minor, "access": node.access}
        for node in plan.devices
        if node.access
    ]
    return rules + [parse_device_rule(text) for text in plan.host.DeviceCgroupRules]


def parse_device_rule(text: str) -> Document:
    """Read `c 1:3 rwm`, `*` for any number.

    Raises:
        InvalidArgument: another form.
    """
    match = _RULE.fullmatch(text)
    if match is None:
        raise InvalidArgument(
            f"invalid device cgroup rule format: '{text}'", hint="write for example 'c 1:3 rwm'"
        )
    kind, major, minor, access = match.groups()
    rule: Document = {"allow": True, "type": kind, "access": access}
    rule.update({} if major == "*" else {"major": int(major)})
    rule.update({} if minor == "*" else {"minor": int(minor)})
    return rule
