"""A throw-away machine with another kernel and cgroup set-up, for tests: `tools/v2 [options] COMMAND…`.

qemu boots the newest kernel of Debian's linux-image package. Its root is this machine's file tree by 9p,
read-only, with a tmpfs on top: the command sees the same paths, interpreter and checkout, may write
anywhere, and nothing of it stays. /tmp, /run and /var/tmp are empty but for this checkout. There is no
network but loopback and no systemd.

The command's output comes over the first serial port, its exit code over the second, the kernel's messages
over the third (shown when the machine fails). Without KVM the CPU is emulated: a boot takes 7 to 15 s.
"""

from __future__ import annotations

import argparse
import io
import lzma
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NoReturn

QEMU = "qemu-system-x86_64"
BUSYBOX = Path("/bin/busybox")
REPOSITORY = Path(__file__).resolve().parent.parent
# virtio_blk gives the io controller a device; veth, bridge and nft are for network tests.
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_blk", "veth", "bridge", "nf_tables")
PASSED_ON = ("PYTEST_ADDOPTS", "SAMPAN_TEST_SPECS", "TERM")
TIMEOUT_CODE = 124  # as timeout(1)
FAILED_CODE = 125  # the machine itself failed

INIT = r"""#!/bin/busybox sh
# The guest's first process: mount the host's files with a writable layer on top, then run /v2/run in it.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in $(cat /v2/modules); do insmod "/v2/$module" || echo "cannot load $module" >/dev/ttyS2; done
mkdir -p /host /writable /new
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro host /host || exec sh /v2/stop 125
mount -t tmpfs -o mode=755 tmpfs /writable
mkdir /writable/upper /writable/work
mount -t overlay -o lowerdir=/host,upperdir=/writable/upper,workdir=/writable/work overlay /new ||
  exec sh /v2/stop 125
for folder in tmp run var/tmp; do mount -t tmpfs -o mode=1777 tmpfs /new/$folder; done
chmod 755 /new/run
if [ -s /v2/hidden ]; then  # the checkout lies below one of them: show it, writable like everything
  checkout=$(cat /v2/hidden)
  mkdir -p "/new$checkout" /writable/checkout /writable/checkout-work
  mount -t overlay -o "lowerdir=/host$checkout,upperdir=/writable/checkout,workdir=/writable/checkout-work" \
    overlay "/new$checkout" || exec sh /v2/stop 125
fi
mount -t proc -o nosuid,noexec,nodev proc /new/proc
mount -t sysfs -o nosuid,noexec,nodev sysfs /new/sys
mount -t devtmpfs -o nosuid devtmpfs /new/dev
mkdir -p /new/dev/pts /new/dev/shm /new/dev/mqueue
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts /new/dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /new/dev/shm
mount -t mqueue mqueue /new/dev/mqueue
for link in "fd:/proc/self/fd" "stdin:fd/0" "stdout:fd/1" "stderr:fd/2"; do
  ln -sfn "${link#*:}" "/new/dev/${link%%:*}"
done
. /v2/cgroups
ip link set lo up
hostname v2
mkdir /new/run/v2
cp /v2/run /v2/stop /new/run/v2/
cp /bin/busybox /new/run/v2/busybox
stty -F /dev/ttyS0 raw -echo
umount /sys
exec switch_root /new /run/v2/busybox sh /run/v2/run
"""

STOP = r"""# Tell the exit code and switch the machine off.
busybox="/run/v2/busybox"; [ -x "$busybox" ] || busybox=/bin/busybox
echo "$1" >/dev/ttyS1
$busybox sync
$busybox poweroff -f
"""

CGROUPS = {
    "v2": r"""
mount -t cgroup2 -o nosuid,noexec,nodev,nsdelegate cgroup2 /new/sys/fs/cgroup
# As under systemd: the command sits in a cgroup of its own, the root only hands controllers on.
for controller in $(cat /new/sys/fs/cgroup/cgroup.controllers); do
  echo "+$controller" >/new/sys/fs/cgroup/cgroup.subtree_control
done
mkdir /new/sys/fs/cgroup/session
echo $$ >/new/sys/fs/cgroup/session/cgroup.procs
""",
    "v1": r"""
mount -t tmpfs -o nosuid,noexec,nodev,mode=755 tmpfs /new/sys/fs/cgroup
for set in cpu,cpuacct cpuset memory devices freezer blkio pids net_cls,net_prio hugetlb rdma; do
  folder="/new/sys/fs/cgroup/$set"
  mkdir "$folder"
  mount -t cgroup -o "nosuid,noexec,nodev,$set" cgroup "$folder" || rmdir "$folder"
done
mkdir /new/sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /new/sys/fs/cgroup/systemd
""",
}


def main() -> int:
    arguments = _parse_arguments()
    kernel, modules = find_kernel()
    check_programs()
    with tempfile.TemporaryDirectory(prefix="sampan-v2-") as folder:
        initramfs = Path(folder, "initramfs")
        initramfs.write_bytes(build_initramfs(modules, arguments.command, cgroups=arguments.cgroups))
        return _run_machine(Path(folder), kernel, initramfs, arguments)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/v2", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--cgroups", choices=sorted(CGROUPS), default="v2", help="what is mounted (default: v2)"
    )
    parser.add_argument("--timeout", type=float, default=900, metavar="SECONDS", help="default: 900")
    parser.add_argument("--memory", default="2G", metavar="SIZE", help="default: 2G")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND…")
    arguments = parser.parse_args()
    if not arguments.command:
        parser.error("no command given")
    return arguments


def _fail(message: str, hint: str) -> NoReturn:
    print(f"error: {message}\nhint: {hint}", file=sys.stderr)
    sys.exit(FAILED_CODE)


def check_programs() -> None:
    """End with a hint if something is not installed that a machine needs."""
    missing = []
    if shutil.which(QEMU) is None:
        missing.append("qemu-system-x86")
    if not _is_static(BUSYBOX):
        missing.append("busybox-static")
    if missing:
        _fail(f"missing: {', '.join(missing)}", f"apt-get install {' '.join(missing)}")


def _is_static(program: Path) -> bool:
    """Tell whether a program needs no libraries: it names no interpreter (elf(5), PT_INTERP)."""
    try:
        return b"ld-linux" not in program.read_bytes()[:4096]
    except FileNotFoundError:
        return False


def find_kernel() -> tuple[Path, Path]:
    """Return the newest kernel image that has its modules beside it, and the folder of those."""
    found = []
    for image in Path("/boot").glob("vmlinuz-*"):
        modules = Path("/lib/modules", image.name.removeprefix("vmlinuz-"))
        if (modules / "modules.dep").exists():
            found.append((image.stat().st_mtime, image, modules))
    if not found:
        _fail("no Debian kernel under /boot with modules", "apt-get install linux-image-amd64")
    _, image, modules = max(found)
    return image, modules


def build_initramfs(
    modules: Path, command: list[str], *, cgroups: str = "v2", more_modules: tuple[str, ...] = ()
) -> bytes:
    """Return the first root of a machine that runs command, with more modules than every machine has."""
    archive = Cpio()
    for folder in ("bin", "dev", "proc", "sys", "v2"):
        archive.add_folder(folder)
    archive.add_file("bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
    archive.add_file("init", INIT.encode(), mode=0o755)
    names = []
    for path in _modules_in_order(modules, (*MODULES, *more_modules)):
        name = path.name.partition(".ko")[0] + ".ko"
        archive.add_file(f"v2/{name}", _module_bytes(path))
        names.append(name)
    archive.add_file("v2/modules", "\n".join(names).encode())
    archive.add_file("v2/cgroups", CGROUPS[cgroups].encode())
    archive.add_file("v2/stop", STOP.encode())
    hidden = any(REPOSITORY.is_relative_to(folder) for folder in ("/tmp", "/run", "/var/tmp"))
    archive.add_file("v2/hidden", str(REPOSITORY).encode() if hidden else b"")
    archive.add_file("v2/run", _run_script(command).encode())
    return archive.finish()


def _run_script(command: list[str]) -> str:
    passed_on = [(name, os.environ[name]) for name in PASSED_ON if name in os.environ]
    exports = [f"export {name}={shlex.quote(value)}" for name, value in passed_on]
    return "\n".join(
        [
            "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "export HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1",
            *exports,
            f"cd {shlex.quote(str(REPOSITORY))}",
            f"{shlex.join(command)} </dev/null >/dev/ttyS0 2>&1",
            'exec /run/v2/busybox sh /run/v2/stop "$?"',
            "",
        ]
    )


def _modules_in_order(modules: Path, names: tuple[str, ...]) -> list[Path]:
    """Return the files of modules and of all they need, each after what it needs (modules.dep(5))."""
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, dependencies = line.partition(":")
        needs[path] = dependencies.split()
        by_name[Path(path).name.partition(".ko")[0].replace("-", "_")] = path
    ordered: list[str] = []

    def visit(path: str) -> None:
        if path not in ordered:
            for dependency in reversed(needs[path]):
                visit(dependency)
            ordered.append(path)

    for name in names:
        if name in by_name:  # else it is built into this kernel
            visit(by_name[name])
    return [modules / path for path in ordered]


def _module_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


class Cpio:
    """A writer of the "newc" archives that the kernel unpacks (Documentation, initramfs buffer format)."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._inode = 0

    def add_folder(self, name: str) -> None:
        self._add(name, stat.S_IFDIR | 0o755, b"")

    def add_file(self, name: str, data: bytes, *, mode: int = 0o644) -> None:
        self._add(name, stat.S_IFREG | mode, data)

    def finish(self) -> bytes:
        self._add("TRAILER!!!", 0, b"")
        return self._out.getvalue()

    def _add(self, name: str, mode: int, data: bytes) -> None:
        self._inode += 1
        raw_name = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw_name), 0)
        self._out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + raw_name)
        self._pad()
        self._out.write(data)
        self._pad()

    def _pad(self) -> None:
        self._out.write(b"\0" * (-self._out.tell() % 4))


def machine_command(kernel: Path, initramfs: Path, folder: Path, *, memory: str) -> list[str]:
    """Return qemu's command line: output on its own, the files `code` and `console` in a folder."""
    return [
        QEMU,
        *("-machine", "q35", *_accelerator()),
        *("-smp", str(min(os.cpu_count() or 1, 4)), "-m", memory),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"),
        *("-chardev", "stdio,id=out,signal=off", "-serial", "chardev:out"),
        *("-serial", f"file:{folder}/code", "-serial", f"file:{folder}/console"),
        *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        *("-drive", "driver=null-co,size=64M,read-zeroes=on,if=virtio"),
        *("-kernel", str(kernel), "-initrd", str(initramfs)),
        # On a loaded host an emulated machine fails the check of its timer, and panics.
        *("-append", "console=ttyS2 quiet loglevel=4 panic=-1 no_timer_check rdinit=/init mitigations=off"),
    ]


def _run_machine(folder: Path, kernel: Path, initramfs: Path, arguments: argparse.Namespace) -> int:
    code_file, console_file = folder / "code", folder / "console"
    command = machine_command(kernel, initramfs, folder, memory=arguments.memory)
    machine = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    timer = threading.Timer(arguments.timeout, machine.kill)
    timer.start()
    try:
        assert machine.stdout is not None
        _copy(machine.stdout.fileno())
        complaint = machine.communicate()[1].decode(errors="replace")
    finally:
        timed_out = not timer.is_alive()
        timer.cancel()
        machine.kill()
        machine.wait()
    text = code_file.read_text().strip() if code_file.exists() else ""
    if text.isdigit():
        return int(text)
    if timed_out:
        print(f"error: the machine was stopped after {arguments.timeout:g} s", file=sys.stderr)
        return TIMEOUT_CODE
    _show_failure(machine.returncode, complaint, console_file)
    return FAILED_CODE


def _accelerator() -> tuple[str, ...]:
    """Return KVM's options where the CPU has its extension; /dev/kvm alone is no sign inside a machine."""
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    if {"vmx", "svm"} & set(flags) and os.access("/dev/kvm", os.R_OK | os.W_OK):
        return ("-accel", "kvm", "-cpu", "host")
    return ("-accel", "tcg,thread=multi", "-cpu", "max")


def _copy(fd: int) -> None:
    while chunk := os.read(fd, 65536):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def _show_failure(code: int, complaint: str, console_file: Path) -> None:
    how = f"ended with code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
    print(f"error: the machine gave no answer: {QEMU} {how}", file=sys.stderr)
    if code == -signal.SIGKILL:
        print("hint: the kernel may have been short of memory: see dmesg", file=sys.stderr)
    if complaint.strip():
        print(complaint.strip(), file=sys.stderr)
    if console_file.exists():
        lines = console_file.read_text(errors="replace").splitlines()
        print("\n".join(["its last messages:", *lines[-30:]]), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
