"""A systemd as PID 1 of namespaces of its own, with cgroup trees that begin at a cgroup of its own.

It takes about half a second. It starts no services: only what is asked of it happens. Its trees are the
machine's: a v2 tree (with all controllers under `tools/v2`, with few on a hybrid machine), or v1 trees with
the controllers and a v2 tree beside them.
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

from sampan.kernel.cgroups import detect

SYSTEMD = "/lib/systemd/systemd"
_DEADLINE_S = 60
# The box's own /run hides the machine's; /sys is read-only, as for any systemd in a container.
_BOOT = """
cat  # until the one who waits for us has left our cgroup
mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /run && mount -t proc proc /proc || exit 1
umount -R /sys/fs/cgroup 2>/dev/null || umount -l /sys/fs/cgroup
eval "$mount_trees" && mount -o remount,bind,ro /sys || exit 1
mkdir -p /run/systemd/system
printf '[Unit]\\nDefaultDependencies=no\\n' >/run/systemd/system/box.target
exec env -i container=box PATH=/usr/bin:/bin /lib/systemd/systemd --system --unit=box.target --show-status=no
"""


_MOUNT_V2 = "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
_MOUNT_HYBRID = """
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup || exit 1
for options in $v1_trees; do
  folder=/sys/fs/cgroup/${options##*name=}
  mkdir $folder && mount -t cgroup -o $options cgroup $folder || exit 1
done
mkdir /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
"""


class SystemdBox:
    """The namespaces of a running systemd; commands run inside by `words`.

    cgroups: where the box's trees begin, keyed by the controllers; "" for v2.
    """

    def __init__(self, init: int, cgroups: dict[str, str]) -> None:
        self.init = init
        self.cgroups = cgroups

    def folder(self, controller: str, path: str) -> Path:
        """Return a cgroup's directory: of the controller's v1 tree, else in the v2 tree."""
        for controllers, root in self.cgroups.items():
            if controller in controllers.split(","):
                return Path(root, path)
        return Path(self.cgroups[""], path)

    @property
    def words(self) -> tuple[str, ...]:
        """What to put before a command so that it runs beside systemd, in its namespaces and cgroup tree."""
        nsenter = ("nsenter", "-t", str(self.init), "-m", "-u", "-i", "-p", "-C", "--")
        return ("sh", "-c", f'{_enter(self.cgroups, "/session")} && exec "$0" "$@"', *nsenter)

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


def _enter(cgroups: dict[str, str], below: str) -> str:
    return " && ".join(f"echo $$ >{cgroup}{below}/cgroup.procs" for cgroup in cgroups.values())


def _own_cgroups(*, hybrid: bool) -> dict[str, str]:
    """Make the cgroups that will be the box's roots; `session` in each is for commands from outside."""
    trees = detect()
    wanted = {",".join(tree.controllers): tree for tree in trees.v1} if hybrid else {}
    if trees.v2 is None or (hybrid and trees.kind != "hybrid"):
        pytest.skip("needs a v2 tree, and v1 trees with controllers for a hybrid box")
    wanted[""] = trees.v2
    made = {}
    for controllers, tree in wanted.items():
        folder = f"{tree.mount_point}/sampan-test-systemd-{os.getpid()}"
        for path in (folder, f"{folder}/session"):
            os.mkdir(path)
            for file in ("cpuset.cpus", "cpuset.mems") if controllers == "cpuset" else ():
                Path(path, file).write_text(Path(path, "..", file).read_text())
        made[controllers] = folder
    return made


@contextmanager
def systemd_box(*, hybrid: bool = False) -> Iterator[SystemdBox]:
    """Boot it; afterwards it and everything in it is killed, and its cgroups are gone."""
    for program in (SYSTEMD, shutil.which("systemctl"), shutil.which("nsenter"), shutil.which("unshare")):
        if not program or not os.path.exists(program):
            pytest.skip("needs systemd and util-linux")
    cgroups = _own_cgroups(hybrid=hybrid)
    unshare = "unshare -m -p -u -C -i -n --fork --kill-child"
    trees = {"v1_trees": " ".join("none," * tree.startswith("name=") + tree for tree in cgroups if tree)}
    outer = subprocess.Popen(
        ["sh", "-c", f'{_enter(cgroups, "")} && exec {unshare} sh -c "$0"', _BOOT],
        env={**os.environ, **trees, "mount_trees": _MOUNT_HYBRID if hybrid else _MOUNT_V2},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        init = _wait_child(outer)
        for cgroup in cgroups.values():
            Path(cgroup, "session/cgroup.procs").write_text(str(outer.pid))
        assert outer.stdin is not None
        outer.stdin.close()
        poll(lambda: os.path.exists(f"/proc/{init}/root/run/systemd/private"), timeout_s=_DEADLINE_S)
        yield SystemdBox(init, cgroups)
    finally:
        outer.kill()
        outer.wait()
        for cgroup in reversed(cgroups.values()):  # the v2 tree first: it can kill what is left
            if os.path.exists(f"{cgroup}/cgroup.kill"):
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
