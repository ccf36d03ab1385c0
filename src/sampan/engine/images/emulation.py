"""Programs of other machines: whether the kernel hands them to an emulator (`binfmt_misc`).

Source: Linux, Documentation/admin-guide/binfmt-misc.rst; names as Debian's qemu-user-static registers them.
"""

from __future__ import annotations

import os
from typing import Final

from sampan.errors import Unsupported
from sampan.store.platforms import host_platform

_HANDLERS: Final = "/proc/sys/fs/binfmt_misc"
_NATIVE: Final = {"amd64": ("386",), "arm64": ("arm",)}  # what a kernel runs beside its own
_QEMU: Final = {
    "amd64": "x86_64", "386": "i386", "arm64": "aarch64", "arm": "arm", "ppc64le": "ppc64le",
    "s390x": "s390x", "riscv64": "riscv64", "loong64": "loongarch64",
}  # fmt: skip


def check_emulated(architecture: str) -> None:
    """Refuse to run programs of a machine that this one is not, and has no emulator for.

    Raises:
        Unsupported: with the way to register one.
    """
    host = host_platform().architecture
    if architecture in ("", host, *_NATIVE.get(host, ())):
        return
    name = _QEMU.get(architecture, architecture)
    if not _is_registered(f"{_HANDLERS}/qemu-{name}"):
        raise Unsupported(
            f"cannot run programs for linux/{architecture} on linux/{host}: no emulator is registered",
            hint=f"install qemu-user-static and binfmt-support; {_HANDLERS}/qemu-{name} must say enabled "
            "and flags with F",
        )


def _is_registered(path: str) -> bool:
    """F: the kernel opened the emulator when it was registered, so it needs not be in the image."""
    if not os.path.exists(path):
        return False
    with open(path) as file:
        lines = file.read().splitlines()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
    return "enabled" in lines and "F" in flags
