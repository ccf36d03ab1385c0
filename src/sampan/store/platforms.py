"""Which machine an image is for, in Go's words."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from sampan.errors import InvalidArgument, NotFound
from sampan.spec.image import ATTESTATION, Descriptor, Platform

# uname's word → Go's architecture and variant. Source: containerd/platforms, database.go.
_BY_MACHINE: Final = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
}
_ALIASES: Final = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm"}
# One word alone is a system or an architecture that Go knows. Source: the same file, isKnownOS, isKnownArch.
_SYSTEMS: Final = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 "
    "solaris windows zos".split()
)
_ARCHITECTURES: Final = frozenset(
    "386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le "
    "ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm".split()
)
_DEFAULT_VARIANT: Final = {"arm64": "v8", "arm": "v7"}
_PART = re.compile(r"[A-Za-z0-9_.-]+")


def host_platform() -> Platform:
    """Return the platform of this machine."""
    machine = os.uname().machine
    architecture, variant = _BY_MACHINE.get(machine, (machine, ""))
    return Platform(os="linux", architecture=architecture, variant=variant)


def parse_platform(text: str) -> Platform:
    """Read `os/architecture[/variant]`, `architecture` or `linux`, as `--platform` takes it.

    Raises:
        InvalidArgument: text has another form.
    """
    parts = text.split("/")
    if not 1 <= len(parts) <= 3 or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidArgument(f"{text!r} is no platform", hint="give os/architecture, such as linux/amd64")
    host = host_platform()
    if len(parts) == 1:
        word = parts[0].lower()
        if word in _SYSTEMS:
            return Platform(os=word, architecture=host.architecture, variant=host.variant)
        if _ALIASES.get(word, word) not in _ARCHITECTURES:
            raise InvalidArgument(
                f'"{parts[0]}": unknown operating system or architecture: invalid argument',
                hint="such as linux/amd64",
            )
        parts = ["linux", word]
    architecture = _ALIASES.get(parts[1].lower(), parts[1].lower())
    variant = parts[2] if len(parts) == 3 else _DEFAULT_VARIANT.get(architecture, "")
    return Platform(os=parts[0].lower(), architecture=architecture, variant=variant)


def without_usual_variant(platform: Platform) -> Platform:
    """Return a platform as builds name it: `linux/arm64`, not `linux/arm64/v8`.

    Source: containerd/platforms, database.go, normalizeArch, which BuildKit applies.
    """
    usual = (platform.architecture, platform.variant) in (("arm64", "v8"), ("amd64", "v1"))
    return msgspec.structs.replace(platform, variant="") if usual else platform


def matches(wanted: Platform, actual: Platform) -> bool:
    """Tell whether an image for actual serves a wish for wanted; an absent variant is the usual one."""
    if (wanted.os, wanted.architecture) != (actual.os, actual.architecture):
        return False
    return _variant(wanted) == _variant(actual)


def _variant(platform: Platform) -> str:
    variant = platform.variant or _DEFAULT_VARIANT.get(platform.architecture, "")
    return "" if (platform.architecture, variant) == ("amd64", "v1") else variant


def choose_manifest(descriptors: Sequence[Descriptor], wanted: Platform) -> Descriptor:
    """Return the manifest of an index that serves a platform; attestations are none.

    Raises:
        NotFound: none does.
    """
    images = [one for one in descriptors if ATTESTATION not in one.annotations]
    for accept in (_exactly, _as_fallback):
        for descriptor in images:
            if accept(wanted, descriptor.platform):
                return descriptor
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    raise NotFound(f"no matching manifest for {wanted} in the manifest list entries")


def _exactly(wanted: Platform, actual: Platform | None) -> bool:
    return actual is not None and matches(wanted, actual)


def _as_fallback(wanted: Platform, actual: Platform | None) -> bool:
    """An older variant runs on a newer machine: arm v6 on v7, amd64 v1 on v3."""
    if actual is None or (wanted.os, wanted.architecture) != (actual.os, actual.architecture):
        return False
    return _variant(actual) <= _variant(wanted)
