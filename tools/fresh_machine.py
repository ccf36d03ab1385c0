"""A fresh Debian to follow the README in: `tools/fresh-machine [options] SUITE [COMMAND…]`.

The machine is a container of our own runtime: mmdebstrap makes its root, with apt and the packages of
priority "required"; a clone of this checkout (what is committed) lies in /root/sampan. It has namespaces of
its own, so what it mounts, forwards and filters stays inside, and cgroup trees that begin at a cgroup of its
own. It has all our capabilities, and /sys and the cgroups are writable: it is a machine, not a prison.

Its way out for apt and pip is slirp4netns, which needs no forwarding here. Certificates and pip's settings
of this machine are taken along, as an administrator would; nothing else is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "src"))

from sampan.kernel import capabilities, cgroups  # noqa: E402 -- this checkout's

RUNTIME = REPOSITORY / ".venv/bin/sampan-runtime"
CHECKOUT = "root/sampan"  # below the machine's root
FAILED_CODE = 125  # the machine itself failed
FOLLOW_README = ("sh", "-c", "./quickstart && ./test")
PROGRAMS = {"mmdebstrap": "mmdebstrap", "slirp4netns": "slirp4netns", "git": "git", "unshare": "util-linux"}
TAKEN_ALONG = ("usr/local/share/ca-certificates", "etc/pip.conf")
PIP = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_CERT", "PIP_DEFAULT_TIMEOUT")
PASSED_ON = (*PIP, "PYTEST_ADDOPTS", "TERM", "http_proxy", "https_proxy", "no_proxy")
DEVICES = ("net/tun", "fuse", "kmsg", "loop-control", *(f"loop{number}" for number in range(8)))

# Process 1. It waits for the command as a child, and as a shell takes in every orphan meanwhile. In a v2 tree
# it does as systemd: the command sits in a cgroup of its own, the root only hands controllers on.
INIT = """
tree=/sys/fs/cgroup
if [ "$hybrid" ]; then
  tree=/sys/fs/cgroup/unified
  mkdir $tree && mount -t cgroup2 -o nosuid,noexec,nodev cgroup2 $tree || exit 125
fi
if [ -e $tree/cgroup.controllers ]; then
  mkdir $tree/init.scope && echo $$ >$tree/init.scope/cgroup.procs
  for controller in $(cat $tree/cgroup.controllers); do
    echo "+$controller" >$tree/cgroup.subtree_control
  done
fi
unset container hybrid tree
"$@"
code=$?
[ ! -x .venv/bin/sampan ] || .venv/bin/sampan system stop >/dev/null 2>&1
exit $code
"""
# The device may be missing in our /dev, which is not ours to change.
SLIRP = """
mount -t tmpfs tmpfs /dev && mkdir /dev/net && mknod /dev/net/tun c 10 200 && mknod /dev/null c 1 3 || exit 1
mknod /dev/urandom c 1 9
exec slirp4netns --configure --mtu=65520 --disable-host-loopback --ready-fd=1 --exit-fd=0 "$1" eth0 \\
  2>/dev/null
"""


def main() -> int:
    arguments = _parse_arguments()
    _check_programs()
    with _folder(arguments.keep) as folder:
        root = folder / "root"
        if not root.exists():
            _make_root(root, arguments.suite)
        _take_along(root)
        _clone_checkout(root)
        with _network() as namespace:
            return _run_machine(folder, namespace, arguments.command or FOLLOW_README)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/fresh-machine", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the machine here, and go on with what is there"
    )
    parser.add_argument("suite", help="bookworm, trixie, …")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND…", help="default: ./quickstart && ./test"
    )
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        _fail("namespaces and device nodes need root", "run it with sudo")
    return arguments


def _fail(message: str, hint: str) -> NoReturn:
    print(f"error: {message}\nhint: {hint}", file=sys.stderr)
    sys.exit(FAILED_CODE)


def _check_programs() -> None:
    missing = sorted({package for name, package in PROGRAMS.items() if shutil.which(name) is None})
    if missing:
        _fail(f"missing: {', '.join(missing)}", f"apt-get install {' '.join(missing)}")


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    folder = tempfile.mkdtemp(prefix="sampan-fresh-")
    try:
        yield Path(folder)
    finally:  # --one-file-system: should anything still be mounted below, it is not ours to empty
        subprocess.run(["rm", "-rf", "--one-file-system", folder], check=False)


def _make_root(root: Path, suite: str) -> None:
    print(f"fresh-machine: making Debian {suite}", file=sys.stderr)
    made = root.with_name("root.new")  # what was cut off half-way is not taken for a machine
    subprocess.run(["rm", "-rf", "--one-file-system", str(made)], check=True)
    done = subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", suite, str(made)], check=False)
    if done.returncode:
        _fail(f"mmdebstrap cannot make Debian {suite}", "see its messages above")
    made.rename(root)


def _take_along(root: Path) -> None:
    (root / "etc/resolv.conf").write_text("nameserver 10.0.2.3\n")  # slirp4netns: this machine's resolver
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 fresh\n")
    for name in TAKEN_ALONG:
        source, target = Path("/", name), root / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy(source, target)


def _clone_checkout(root: Path) -> None:
    checkout = root / CHECKOUT
    if checkout.exists():
        return
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", REPOSITORY, checkout], check=True)


@contextmanager
def _network() -> Iterator[str]:
    """Make a network namespace with a way out and give its path, for as long as the block runs."""
    holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
    own = os.readlink("/proc/self/ns/net")
    namespace = f"/proc/{holder.pid}/ns/net"
    try:
        while os.readlink(namespace) == own:  # until unshare has done its call
            if holder.poll() is not None:
                _fail("unshare --net failed", "see its message above")
        slirp = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", SLIRP, "slirp", str(holder.pid)],
            stdin=subprocess.PIPE,  # it ends when this is closed
            stdout=subprocess.PIPE,
        )
        assert slirp.stdout is not None
        if slirp.stdout.read(1) != b"1":
            _fail("slirp4netns does not start", "this kernel may have no TUN device (CONFIG_TUN)")
        try:
            yield namespace
        finally:
            slirp.communicate()
    finally:
        holder.communicate()


def _run_machine(folder: Path, namespace: str, command: tuple[str, ...] | list[str]) -> int:
    config = _config(folder / "root", namespace, command)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    runtime = [str(RUNTIME), "--root", str(folder / "state")]
    name = f"fresh-{os.getpid()}"
    done = subprocess.run([*runtime, "run", "--bundle", str(folder), name], check=False)
    return done.returncode


def _config(root: Path, namespace: str, command: tuple[str, ...] | list[str]) -> dict[str, Any]:
    held = capabilities.get_caps().permitted
    names = [name for number, name in enumerate(capabilities.NAMES) if number in held]
    passed_on = [f"{name}={value}" for name, value in os.environ.items() if name in PASSED_ON]
    passed_on += ["hybrid=yes"] if cgroups.detect().kind == "hybrid" else []
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {
        "ociVersion": "1.2.0",
        "process": {
            "terminal": os.isatty(0) and os.isatty(1),
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", INIT, "init", *command],
            # `container` tells packages of process 1 not to set the kernel's own settings, which we share.
            "env": [path, "HOME=/root", "LANG=C.UTF-8", "container=sampan", *passed_on],
            "cwd": f"/{CHECKOUT}",
            "capabilities": {kind: names for kind in ("bounding", "effective", "permitted")},
        },
        "root": {"path": str(root)},
        "hostname": "fresh",
        "mounts": _mounts(),
        "linux": {
            "cgroupsPath": f"/sampan-fresh-{os.getpid()}",
            "namespaces": [
                *({"type": kind} for kind in ("mount", "pid", "ipc", "uts", "cgroup")),
                {"type": "network", "path": namespace},
            ],
            "devices": [_device(Path("/dev", name)) for name in DEVICES if _has_device(name)],
            "resources": {"devices": [{"allow": True, "access": "rwm"}]},
        },
    }


def _mounts() -> list[dict[str, Any]]:
    flags = ["nosuid", "noexec", "nodev"]
    # sysfs belongs to the network namespace of whoever mounts it: made anew, it shows the machine's own.
    return [
        _mount("/proc", "proc", flags),
        _mount("/sys", "sysfs", flags),
        _mount("/sys/fs/cgroup", "cgroup", flags),
        _mount("/dev", "tmpfs", ["nosuid", "mode=755"]),
        _mount(
            "/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        _mount("/dev/shm", "tmpfs", ["nosuid", "nodev", "mode=1777"]),
        _mount("/dev/mqueue", "mqueue", flags),
        _mount("/run", "tmpfs", ["nosuid", "nodev", "mode=755"]),
    ]


def _mount(destination: str, fstype: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": fstype, "source": fstype, "options": options}


def _has_device(name: str) -> bool:
    return name == "net/tun" or Path("/dev", name).exists()


def _device(path: Path) -> dict[str, Any]:
    """Return the OCI record of a device; TUN's numbers are of Documentation/admin-guide/devices.txt."""
    if path.name == "tun":
        return {"path": str(path), "type": "c", "major": 10, "minor": 200, "fileMode": 0o666}
    status = path.stat()
    kind = "b" if path.is_block_device() else "c"
    numbers = {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}
    return {"path": str(path), "type": kind, **numbers, "fileMode": status.st_mode & 0o777}


if __name__ == "__main__":
    sys.exit(main())
