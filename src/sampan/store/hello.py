"""The `hello` image: one static program of a few hundred bytes, so that a first run needs no network.

The program is two system calls, written here as machine code: write(1, text), exit(0).
"""

from __future__ import annotations

import os
import struct
import tempfile
from typing import BinaryIO, Final

from sampan.errors import Unsupported
from sampan.spec.image import ContainerDefaults, History, ImageConfig, RootFS
from sampan.store.imagewriter import LayerWriter, write_image
from sampan.store.platforms import host_platform
from sampan.store.references import parse_tagged

TEXT: Final = b"""
Hello from a container.

This program sees nothing of your machine but what it was given:
namespaces (what it sees), cgroups, capabilities and a system call filter
(what it may use), and a root file system with a single file in it
(what it is). Three planks: a sampan.

Look at how it was put together:    sampan explain run hello
Make a small Linux to walk around:  sampan image bootstrap busybox
                                    sampan run -it --rm busybox

"""
_CREATED: Final = "2025-01-01T00:00:00Z"  # a fixed time: the same program is the same image everywhere
_MTIME: Final = 1735689600
_LOAD_AT: Final = 0x400000
_ELF_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")
_HEADERS_BYTES: Final = _ELF_HEADER.size + _PROGRAM_HEADER.size
_EM_X86_64: Final = 62
_EM_AARCH64: Final = 183


def archive() -> BinaryIO:
    """Return an archive, as of docker save, of `hello:latest` for this machine; the caller closes it.

    Raises:
        Unsupported: there is no program for this architecture.
    """
    platform = host_platform()
    with tempfile.TemporaryFile() as layer:
        with LayerWriter(layer, mtime=_MTIME) as writer:
            writer.file("hello", program(platform.architecture), 0o755)
        config = ImageConfig(
            architecture=platform.architecture,
            variant=platform.variant,
            os="linux",
            created=_CREATED,
            rootfs=RootFS(),
            config=ContainerDefaults(
                Cmd=["/hello"],
                Env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                WorkingDir="/",
            ),
            history=[History(created=_CREATED, created_by="sampan: hello", comment="part of sampan")],
        )
        target = tempfile.TemporaryFile()
        write_image(target, config=config, layers=[layer], references=[parse_tagged("hello")], mtime=_MTIME)
    target.seek(0, os.SEEK_SET)
    return target


def program(architecture: str) -> bytes:
    """Return the program as an ELF file for amd64 or arm64 (Go's names).

    Raises:
        Unsupported: there is none for this architecture.
    """
    if architecture == "amd64":
        return _elf(_EM_X86_64, _amd64_code())
    if architecture == "arm64":
        return _elf(_EM_AARCH64, _arm64_code())
    raise Unsupported(f"the hello image has no program for {architecture}")


def _elf(machine: int, code: bytes) -> bytes:
    """One segment, readable and executable: headers, code, text. Source: elf(5)."""
    content = code + TEXT
    size = _HEADERS_BYTES + len(content)
    identity = b"\x7fELF" + bytes([2, 1, 1])  # 64 bits, little endian, version 1
    header = _ELF_HEADER.pack(
        identity,
        2,  # ET_EXEC
        machine,
        1,
        _LOAD_AT + _HEADERS_BYTES,  # entry: the code behind the headers
        _ELF_HEADER.size,  # where the program header lies
        0,
        0,
        _ELF_HEADER.size,
        _PROGRAM_HEADER.size,
        1,
        0,
        0,
        0,
    )
    readable_executable = 4 | 1
    segment = _PROGRAM_HEADER.pack(1, readable_executable, 0, _LOAD_AT, _LOAD_AT, size, size, 0x10000)
    return header + segment + content


def _amd64_code() -> bytes:
    """System V ABI: number in rax, arguments in rdi, rsi, rdx. The text lies right behind the code."""
    tail = (
        b"\xba" + struct.pack("<I", len(TEXT))  # mov edx, length
        + b"\x0f\x05"  # syscall
        + b"\xb8\x3c\x00\x00\x00"  # mov eax, 60: exit
        + b"\x31\xff"  # xor edi, edi
        + b"\x0f\x05"  # syscall
    )  # fmt: skip
    return (
        b"\xb8\x01\x00\x00\x00"  # mov eax, 1: write
        + b"\xbf\x01\x00\x00\x00"  # mov edi, 1: standard output
        + b"\x48\x8d\x35" + struct.pack("<i", len(tail))  # lea rsi, [rip + tail]
        + tail
    )  # fmt: skip


def _arm64_code() -> bytes:
    """Number in x8, arguments in x0, x1, x2; every instruction is four bytes."""
    instructions = 8
    text_is_ahead = (instructions - 1) * 4  # from the second instruction
    return struct.pack(
        f"<{instructions}I",
        _arm64_movz(0, 1),  # mov x0, #1: standard output
        0x10000000 | (text_is_ahead & 3) << 29 | (text_is_ahead >> 2) << 5 | 1,  # adr x1, text
        _arm64_movz(2, len(TEXT)),  # mov x2, #length
        _arm64_movz(8, 64),  # mov x8, #64: write
        0xD4000001,  # svc #0
        _arm64_movz(0, 0),  # mov x0, #0
        _arm64_movz(8, 93),  # mov x8, #93: exit
        0xD4000001,  # svc #0
    )


def _arm64_movz(register: int, value: int) -> int:
    return 0xD2800000 | value << 5 | register
