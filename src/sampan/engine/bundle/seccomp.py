"""`linux.seccomp`: Docker's default profile, or one that the client sent in Docker's or OCI's form.

Docker's form adds conditions (`includes`, `excludes`) and `archMap` (moby profiles/seccomp/seccomp.go).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct, field

from sampan.engine.bundle.plan import Document
from sampan.errors import InvalidArgument
from sampan.runtime.seccomp import default_profile
from sampan.spec.runtime import LinuxSeccomp, SeccompRule

# GOARCH to the name in archMap; sub-architectures follow from the profile.
_ARCH_NAMES: Final = {
    "amd64": "SCMP_ARCH_X86_64",
    "arm64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "riscv64": "SCMP_ARCH_RISCV64",
    "s390x": "SCMP_ARCH_S390X",
}


class _Condition(Struct, frozen=True):
    caps: list[str] = field(default_factory=list)
    arches: list[str] = field(default_factory=list)
    minKernel: str = ""


class _Arg(Struct, frozen=True, omit_defaults=True):
    index: int
    value: int
    op: str
    valueTwo: int = 0


class _Rule(Struct, frozen=True):
    action: str
    name: str = ""
    names: list[str] = field(default_factory=list)
    args: list[_Arg] | None = None
    errnoRet: int | None = None
    comment: str = ""
    includes: _Condition = _Condition()
    excludes: _Condition = _Condition()


class _ArchMap(Struct, frozen=True):
    architecture: str
    subArchitectures: list[str] | None = None


class _Profile(Struct, frozen=True):
    defaultAction: str
    defaultErrnoRet: int | None = None
    archMap: list[_ArchMap] | None = None
    architectures: list[str] | None = None
    flags: list[str] | None = None
    syscalls: list[_Rule] | None = None
    listenerPath: str = ""
    listenerMetadata: str = ""


@lru_cache(maxsize=64)
def default_document(capabilities: frozenset[str]) -> msgspec.Raw:
    """Return the default profile as JSON; it is the larger part of config.json, so it is encoded once."""
    return msgspec.Raw(msgspec.json.encode(_document(default_profile(capabilities))))


def _document(profile: LinuxSeccomp) -> Document:
    result: Document = {"defaultAction": profile.default_action}
    if profile.default_errno_ret is not None:
        result["defaultErrnoRet"] = profile.default_errno_ret
    if profile.architectures:
        result["architectures"] = list(profile.architectures)
    if profile.flags:
        result["flags"] = list(profile.flags)
    result["syscalls"] = [_rule_document(rule) for rule in profile.syscalls]
    return result


def _rule_document(rule: SeccompRule) -> Document:
    result: Document = {"names": list(rule.names), "action": rule.action}
    if rule.errno_ret is not None:
        result["errnoRet"] = rule.errno_ret
    if rule.args:
        result["args"] = [
            {"index": arg.index, "value": arg.value, "valueTwo": arg.value_two, "op": arg.op}
            for arg in rule.args
        ]
    return result


def resolve_profile(text: str, *, capabilities: frozenset[str], arch: str, kernel_release: str) -> Document:
    """Turn a profile in Docker's form into OCI's, for one set of capabilities, architecture and kernel.

    arch is a GOARCH name. Names of calls and actions are checked when the profile is compiled.

    Raises:
        InvalidArgument: text is no profile.
    """
    try:
        profile = msgspec.json.decode(text, type=_Profile)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InvalidArgument(f"decoding seccomp profile failed: {exc}") from exc
    if profile.archMap and profile.architectures:
        raise InvalidArgument("both 'architectures' and 'archMap' are specified in the seccomp profile")
    rules = [
        _oci_rule(rule)
        for rule in profile.syscalls or ()
        if _applies(rule, capabilities=capabilities, arch=arch, kernel_release=kernel_release)
    ]
    result: Document = {"defaultAction": profile.defaultAction, "syscalls": rules}
    architectures = profile.architectures or _map_architecture(profile.archMap or (), arch)
    result.update({"architectures": architectures} if architectures else {})
    result.update({"flags": profile.flags} if profile.flags else {})
    result.update({"defaultErrnoRet": profile.defaultErrnoRet} if profile.defaultErrnoRet is not None else {})
    if profile.listenerPath:
        result.update(listenerPath=profile.listenerPath, listenerMetadata=profile.listenerMetadata)
    return result


def _map_architecture(entries: list[_ArchMap] | tuple[()], arch: str) -> list[str]:
    wanted = _ARCH_NAMES.get(arch, "")
    for entry in entries:
        if entry.architecture == wanted:
            return [entry.architecture, *(entry.subArchitectures or ())]
    return []


def _oci_rule(rule: _Rule) -> Document:
    if rule.name and rule.names:
        raise InvalidArgument("'name' and 'names' are both specified in a rule of the seccomp profile")
    result: Document = {"names": rule.names or [rule.name], "action": rule.action}
    result.update({"args": [msgspec.to_builtins(arg) for arg in rule.args]} if rule.args else {})
    result.update({"errnoRet": rule.errnoRet} if rule.errnoRet is not None else {})
    return result


def _applies(rule: _Rule, *, capabilities: frozenset[str], arch: str, kernel_release: str) -> bool:
    """Tell whether a rule is in force: every condition of includes holds, none of excludes."""
    wanted, unwanted = rule.includes, rule.excludes
    if wanted.arches and arch not in wanted.arches:
        return False
    if not capabilities.issuperset(wanted.caps):
        return False
    if wanted.minKernel and not _kernel_at_least(kernel_release, wanted.minKernel):
        return False
    if arch in unwanted.arches or not capabilities.isdisjoint(unwanted.caps):
        return False
    return not (unwanted.minKernel and _kernel_at_least(kernel_release, unwanted.minKernel))


def _kernel_at_least(release: str, wanted: str) -> bool:
    return _version(release) >= _version(wanted)


def _version(text: str) -> tuple[int, int]:
    """Return (6, 18) of `6.18.44-anything`."""
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise InvalidArgument(f"invalid kernel version {text!r} in the seccomp profile")
    return int(major), int(minor)
