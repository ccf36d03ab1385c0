"""A real systemd as PID 1 of namespaces of its own, with a cgroup v2 tree that begins at a cgroup of its own.

It takes about a second. It starts no services: only what is asked of it happens. The controllers are those
of the machine's v2 tree: all of them under `tools/v2`, few on a hybrid machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.system.bundles import poll

SYSTEMD = "/lib/systemd/systemd"
_DEADLINE_S = 60
# The box's own /run hides the machine's; /sys is read-only, as for any systemd in a container.
_BOOT = """
cat  # until the one who waits for us has left our cgroup
mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /run && mount -t proc proc /proc || exit 1
umount -R /sys/fs/cgroup 2>/dev/null || umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup && mount -o remount,bind,ro /sys || exit 1
mkdir -p /run/systemd/system
printf '[Unit]\\nDefaultDependencies=no\\n' >/run/systemd/system/box.target
exec env -i container=box PATH=/usr/bin:/bin /lib/systemd/systemd --system --unit=box.target --show-status=no
"""


class SystemdBox:
    """The namespaces of a running systemd; commands run inside by `words`."""

    def __init__(self, init: int, cgroup: str) -> None:
        self.init = init
        self.cgroup = cgroup

    @property
    def words(self) -> tuple[str, ...]:
        """What to put before a command so that it runs beside systemd, in its namespaces and cgroup tree."""
        enter = 'echo $$ >"$0"/session/cgroup.procs && exec "$@"'
        nsenter = ("nsenter", "-t", str(self.init), "-m", "-u", "-i", "-p", "-C", "--")
        return ("sh", "-c", enter, self.cgroup, *nsenter)

    def run(self, *command: str) -> str:
        """Run a command inside and return what it prints."""
        done = subprocess.run(
            [*self.words, *command], capture_output=True, text=True, check=False, timeout=_DEADLINE_S
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def property(self, unit: str, name: str) -> str:
        """Return what systemd knows of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit)


def _v2_mount() -> str:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return line.split()[4]
    pytest.skip("needs a cgroup v2 tree")


def _own_cgroup(mount_point: str) -> str:
    """Make the cgroup that will be the box's root; `session` in it is for commands from outside."""
    folder = Path(mount_point, f"sampan-test-systemd-{os.getpid()}")
    (folder / "session").mkdir(parents=True)
    return str(folder)


@contextmanager
def systemd_box() -> Iterator[SystemdBox]:
    """Boot it; afterwards it and everything in it is killed, and its cgroup is gone."""
    for program in (SYSTEMD, shutil.which("systemctl"), shutil.which("nsenter"), shutil.which("unshare")):
        if not program or not os.path.exists(program):
            pytest.skip("needs systemd and util-linux")
    cgroup = _own_cgroup(_v2_mount())
    unshare = "unshare -m -p -u -C -i -n --fork --kill-child"
    outer = subprocess.Popen(
        ["sh", "-c", f'echo $$ >"$0"/cgroup.procs && exec {unshare} sh -c "$1"', cgroup, _BOOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        init = _wait_child(outer)
        Path(cgroup, "session/cgroup.procs").write_text(str(outer.pid))
        assert outer.stdin is not None
        outer.stdin.close()
        poll(lambda: os.path.exists(f"/proc/{init}/root/run/systemd/private"))
        yield SystemdBox(init, cgroup)
    finally:
        outer.kill()
        outer.wait()
        Path(cgroup, "cgroup.kill").write_text("1")
        _remove(cgroup)


def _wait_child(outer: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    poll(lambda: bool(children.read_text()))
    return int(children.read_text().split()[0])


def _remove(cgroup: str) -> None:
    """Remove the tree, deepest first; what was just killed leaves within milliseconds."""
    deadline = time.monotonic() + 10
    while os.path.isdir(cgroup):
        for folder, _, _ in os.walk(cgroup, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                assert time.monotonic() < deadline, f"{folder} stays busy"
                time.sleep(0.01)
                break
