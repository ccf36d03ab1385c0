"""`busybox:latest` made of Debian's busybox-static, laid out like the image of that name on Docker Hub."""

from __future__ import annotations

import os
import struct
import tempfile
from datetime import UTC, datetime
from typing import BinaryIO, Final

from sampan.errors import SampanError, Unavailable
from sampan.spec.image import ContainerDefaults, History, ImageConfig, RootFS
from sampan.store.bootstrap.programs import Say, find_program, get_program, run
from sampan.store.imagewriter import LayerWriter, write_image
from sampan.store.platforms import host_platform
from sampan.store.references import parse_tagged

_PACKAGE: Final = "busybox-static"
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DIRECTORIES: Final = (
    ("bin", 0o755), ("dev", 0o755), ("etc", 0o755), ("etc/network", 0o755), ("home", 0o755),
    ("root", 0o700), ("tmp", 0o1777), ("usr", 0o755), ("usr/bin", 0o755), ("usr/sbin", 0o755),
    ("var", 0o755), ("var/spool", 0o755), ("var/spool/mail", 0o755), ("var/www", 0o755),
)  # fmt: skip
_USERS: Final = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
sync:x:4:100:sync:/bin:/bin/sync
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""
_GROUP: Final = """\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
lp:x:7:
mail:x:8:
kmem:x:9:
wheel:x:10:root
cdrom:x:11:
dialout:x:18:
floppy:x:19:
video:x:28:
audio:x:29:
tape:x:32:
www-data:x:33:
operator:x:37:
utmp:x:43:
plugdev:x:46:
staff:x:50:
lock:x:54:
netdev:x:82:
users:x:100:
nobody:x:65534:
"""
_FILES: Final = (
    ("etc/passwd", _USERS, 0o644),
    ("etc/group", _GROUP, 0o644),
    ("etc/shadow", "root:*:::::::\n", 0o640),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n", 0o644),
)
_ELF64_PROGRAM_HEADERS: Final = struct.Struct("<32xQ14xHH")  # offset, size of each, number
_PT_INTERP: Final = 3


def busybox(*, say: Say | None = None) -> BinaryIO:
    """Return an archive of `busybox:latest` for this machine, made of Debian's package; the caller closes it.

    Raises:
        Unavailable: the package is not installed and cannot be downloaded.
    """
    say = say or _say_nothing
    with tempfile.TemporaryDirectory(prefix="sampan-busybox-") as folder:
        program = _find_static(folder, say)
        applets = run([program, "--list"], folder=folder).decode().split()
        with open(program, "rb") as file:
            content = file.read()
        mtime = int(os.stat(program).st_mtime)  # when the package was built: the same package, the same image
    say(f"busybox with {len(applets)} commands")
    return _archive(content, applets, mtime)


def is_static(program: bytes) -> bool:
    """Tell whether an ELF program for 64 bits runs without a dynamic linker. Source: elf(5)."""
    if program[:5] != b"\x7fELF\x02":
        return False
    offset, size, count = _ELF64_PROGRAM_HEADERS.unpack_from(program)
    kinds = [struct.unpack_from("<I", program, offset + number * size)[0] for number in range(count)]
    return _PT_INTERP not in kinds


def _find_static(folder: str, say: Say) -> str:
    """Return the installed program if it is static, else the one of the package, downloaded."""
    installed = find_program("busybox")
    if installed:
        with open(installed, "rb") as file:
            if is_static(file.read()):
                return installed
    say(f"downloading {_PACKAGE}")
    apt = get_program("apt-get", package="apt")
    dpkg = get_program("dpkg-deb", package="dpkg")
    os.chmod(folder, 0o755)  # noqa: S103 -- apt downloads as the user _apt
    try:
        run([apt, "download", _PACKAGE], folder=folder)
    except SampanError as exc:
        raise Unavailable(
            f"cannot get {_PACKAGE}: {exc}", hint=f"install it: apt-get update && apt-get install {_PACKAGE}"
        ) from exc
    (package,) = [name for name in os.listdir(folder) if name.endswith(".deb")]
    run([dpkg, "-x", package, "root"], folder=folder)
    for path in (f"{folder}/root/bin/busybox", f"{folder}/root/usr/bin/busybox"):
        if os.path.exists(path):
            return path
    raise Unavailable(f"package {package} has no busybox")


def _archive(program: bytes, applets: list[str], mtime: int) -> BinaryIO:
    platform = host_platform()
    created = datetime.fromtimestamp(mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = ImageConfig(
        architecture=platform.architecture,
        variant=platform.variant,
        os="linux",
        created=created,
        rootfs=RootFS(),
        config=ContainerDefaults(Cmd=["sh"], Env=[_PATH]),
        history=[
            History(
                created=created, created_by="sampan image bootstrap busybox", comment=f"Debian {_PACKAGE}"
            )
        ],
    )
    target = tempfile.TemporaryFile()
    with tempfile.TemporaryFile() as layer:
        _write_layer(layer, program, applets, mtime)
        write_image(target, config=config, layers=[layer], references=[parse_tagged("busybox")], mtime=mtime)
    target.seek(0)
    return target


def _write_layer(layer: BinaryIO, program: bytes, applets: list[str], mtime: int) -> None:
    with LayerWriter(layer, mtime=mtime) as writer:
        for path, mode in _DIRECTORIES:
            writer.directory(path, mode)
        writer.file("bin/busybox", program, 0o755)
        for applet in sorted(set(applets) - {"busybox"}):
            writer.hard_link(f"bin/{applet}", "bin/busybox")
        writer.symlink("usr/bin/env", "../../bin/env")
        for path, text, mode in _FILES:
            writer.file(path, text.encode(), mode)


def _say_nothing(_line: str) -> None:
    pass
