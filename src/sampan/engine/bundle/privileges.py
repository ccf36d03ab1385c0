"""Capabilities, security options, masked paths: what a container may do beyond files and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sampan.engine.bundle import posture
from sampan.engine.bundle.plan import Warn
from sampan.engine.machine import Machine
from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel import capabilities as kernel_capabilities
from sampan.spec import docker

_KNOWN: Final = frozenset(kernel_capabilities.NAMES)
_ALL: Final = "ALL"


def choose_capabilities(host: docker.HostConfig, machine: Machine) -> tuple[str, ...]:
    """Return the bounding set, in the kernel's order. "all" means all that this machine can give.

    Rules as moby daemon/pkg/oci/caps TweakCapabilities: ALL in CapAdd starts from everything, ALL in
    CapDrop from nothing.

    Raises:
        InvalidArgument: an unknown capability, or one asked for by name that this process does not have.
    """
    add = normalise_capabilities(host.CapAdd or (), field="CapAdd")
    drop = normalise_capabilities(host.CapDrop or (), field="CapDrop")
    missing = [name for name in add if name != _ALL and name not in machine.capabilities]
    if missing and not host.Privileged:
        raise InvalidArgument(
            f"cannot add capability {missing[0]}: sampan itself does not have it on this machine"
        )
    if host.Privileged:
        chosen = set(machine.capabilities)
    elif _ALL in add:
        chosen = set(machine.capabilities) - set(drop)
    elif _ALL in drop:
        chosen = set(add) - {_ALL}
    else:
        chosen = ((set(posture.CAPABILITIES) & machine.capabilities) - set(drop)) | set(add)
    return tuple(name for name in kernel_capabilities.NAMES if name in chosen)


def normalise_capabilities(names: Sequence[str], *, field: str) -> list[str]:
    """Return names in the form CAP_…, or ALL.

    Raises:
        InvalidArgument: no such capability.
    """
    result = []
    for raw_name in names:
        name = raw_name.upper()
        name = name if name == _ALL or name.startswith("CAP_") else f"CAP_{name}"
        if name != _ALL and name not in _KNOWN:
            raise InvalidArgument(f'invalid {field}: unknown capability: "{name}"')
        result.append(name)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityOptions:
    """`--security-opt`, parsed. seccomp: None for the default profile, "" for none, else a profile."""

    no_new_privileges: bool = False
    seccomp: str | None = None
    apparmor: str = ""
    mask: tuple[str, ...] = ()
    unmask: tuple[str, ...] = ()


def parse_security_options(options: Sequence[str], *, machine: Machine, warn: Warn) -> SecurityOptions:
    """Read HostConfig.SecurityOpt: `key=value`, or `key:value` as old clients write it.

    Raises:
        InvalidArgument: an unknown option or value.
        Unsupported: a profile of a security module that this machine does not have.
    """
    result = SecurityOptions()
    for option in options:
        key, value = _split_option(option)
        match key:
            case "no-new-privileges":
                result = replace(result, no_new_privileges=_parse_bool(value or "true", option))
            case "seccomp":
                result = replace(result, seccomp=_parse_seccomp(value))
            case "apparmor":
                result = replace(result, apparmor=_parse_apparmor(value, machine))
            case "label":
                _check_label(value, machine, warn)
            case "systempaths" if value == "unconfined":
                result = replace(result, unmask=(_ALL,))
            case "mask":
                result = replace(result, mask=(*result.mask, *value.split(":")))
            case "unmask":
                result = replace(result, unmask=(*result.unmask, *value.split(":")))
            case _:
                raise InvalidArgument(f'invalid --security-opt: "{option}"')
    return result


def _split_option(option: str) -> tuple[str, str]:
    """Split at the first of `=` and `:`; a seccomp profile's JSON may hold both."""
    ends = [end for end in (option.find("="), option.find(":")) if end > 0]
    end = min(ends, default=len(option))
    return option[:end], option[end + 1 :]


def _parse_bool(value: str, option: str) -> bool:
    if value.lower() not in ("true", "false", "1", "0"):
        raise InvalidArgument(f'invalid --security-opt: "{option}": write true or false')
    return value.lower() in ("true", "1")


def _parse_seccomp(value: str) -> str | None:
    if value in ("unconfined", "builtin"):
        return "" if value == "unconfined" else None
    if not value.lstrip().startswith("{"):
        raise InvalidArgument(
            f"invalid seccomp profile {value[:80]!r}: not JSON",
            hint="over the API the profile itself is sent, not its path",
        )
    return value


def _parse_apparmor(value: str, machine: Machine) -> str:
    if not value:
        raise InvalidArgument('invalid --security-opt: "apparmor" needs a profile or unconfined')
    if value != "unconfined" and not machine.apparmor:
        raise Unsupported(f"cannot use AppArmor profile {value!r}: this kernel runs without AppArmor")
    return value


def _check_label(value: str, machine: Machine, warn: Warn) -> None:
    if value == "disable":
        return
    if machine.selinux:
        raise Unsupported(f"not supported yet: SELinux label {value!r}")
    warn(f"SELinux is off on this machine: label {value!r} has no effect")


def choose_paths(
    host: docker.HostConfig, options: SecurityOptions, machine: Machine
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return masked and read-only paths: none when privileged, the client's lists, or the defaults.

    Raises:
        InvalidArgument: a path is not absolute, or climbs.
    """
    if host.Privileged:
        return (), ()
    masked = (*posture.MASKED_PATHS, *machine.thermal_paths)
    if host.MaskedPaths is not None:
        masked = tuple(host.MaskedPaths)
    read_only = posture.READONLY_PATHS if host.ReadonlyPaths is None else tuple(host.ReadonlyPaths)
    if _ALL in (name.upper() for name in options.unmask):
        masked, read_only = (), ()
    masked = tuple(path for path in (*masked, *options.mask) if path not in options.unmask)
    read_only = tuple(path for path in read_only if path not in options.unmask)
    for path in (*masked, *read_only):
        if not path.startswith("/") or "/../" in f"{path}/" or "\0" in path:
            raise InvalidArgument(f"invalid masked or read-only path {path!r}: must be absolute, without ..")
    return masked, read_only
