"""Bundles with a busybox root for tests of `sampan-runtime`, and running them.

Every bundle, state directory and cgroup has names of its own, and `Runtime.close` removes what a test left.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

BUSYBOX = "/bin/busybox"
needs_busybox = pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="needs Debian's busybox-static")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

Config = dict[str, Any]

_DEFAULT_CAPS = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_NET_BIND_SERVICE",
]
_FLAGS = ["nosuid", "noexec", "nodev"]


def make_root(folder: Path) -> Path:
    """Make a root file system of busybox with a link for each of its programs."""
    root = folder / "rootfs"
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev", "root", "mnt"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/home/guest:/bin/sh\n"
    )
    (root / "etc/group").write_text("root:x:0:\n")
    return root


def default_config(root: Path, cgroup: str) -> Config:
    """Return a configuration close to what engines write."""
    return {
        "ociVersion": "1.2.0",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {name: list(_DEFAULT_CAPS) for name in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True,
        },
        "root": {"path": str(root), "readonly": False},
        "hostname": "probe",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": _FLAGS},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_FLAGS, "ro"]},
            {
                "destination": "/dev/shm",
                "type": "tmpfs",
                "source": "shm",
                "options": [*_FLAGS, "mode=1777", "size=65536k"],
            },
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _FLAGS},
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass
class Runtime:
    """`sampan-runtime` (or another command line like it) with a state directory of its own."""

    folder: Path
    program: tuple[str, ...] = (sys.executable, "-IS", "-c", "SCRIPT")
    config: Config = field(default_factory=dict)
    count: int = 0
    ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        source = str(Path(__file__).parents[2] / "src")
        if self.program[-1] == "SCRIPT":
            script = f"import sys; sys.path[:0] = [{source!r}]; from sampan.runtime.main import main; main()"
            self.program = (*self.program[:-1], script)
        self.root = make_root(self.folder)
        self.parent = f"/sampan-test-{os.getpid()}-{self.folder.name}"
        self.config = default_config(self.root, f"{self.parent}/c")

    def bundle(self, change: Callable[[Config], object] | None = None, *args: str) -> Path:
        """Write a bundle; change edits a copy of the default configuration; args replace process.args."""
        self.count += 1
        folder = self.folder / f"bundle{self.count}"
        folder.mkdir()
        config = copy.deepcopy(self.config)
        config["linux"]["cgroupsPath"] = f"{self.parent}/c{self.count}"
        if args:
            config["process"]["args"] = list(args)
        if change is not None:
            change(config)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    def new_id(self) -> str:
        id = f"t{os.getpid()}-{len(self.ids)}"
        self.ids.append(id)
        return id

    def command(self, *words: str) -> list[str]:
        return [*self.program, "--root", str(self.folder / "state"), *words]

    def call(self, *words: str, stdin: str = "", timeout: float = 60, **more: Any) -> Done:
        """Run a command of the runtime to its end."""
        done = subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **more,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def run(
        self, change: Callable[[Config], object] | None = None, *args: str, stdin: str = "", **more: Any
    ) -> Done:
        """Run a bundle in the foreground."""
        return self.call(
            "run", "--bundle", str(self.bundle(change, *args)), self.new_id(), stdin=stdin, **more
        )

    def sh(self, script: str, change: Callable[[Config], object] | None = None, **more: Any) -> Done:
        """Run a shell script in a fresh container; it must succeed."""
        done = self.run(change, "sh", "-c", script, **more)
        assert done.code == 0, done.err
        return done

    def start(self, change: Callable[[Config], object] | None = None, *args: str) -> str:
        """Start a container in the background, by default one that sleeps; return its id."""
        id = self.new_id()
        bundle = self.bundle(change, *(args or ("sleep", "1000")))
        with open(self.folder / f"{id}.out", "wb") as out:
            done = subprocess.run(
                self.command("run", "--detach", "--bundle", str(bundle), id),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
            )
        assert done.returncode == 0, (self.folder / f"{id}.out").read_text()
        return id

    def exec(self, id: str, *words: str, options: tuple[str, ...] = ()) -> Done:
        return self.call("exec", *options, id, *words)

    def state(self, id: str) -> Config:
        done = self.call("state", id)
        assert done.code == 0, done.err
        state: Config = json.loads(done.out)
        return state

    def wait_status(self, id: str, wanted: str) -> None:
        poll(lambda: self.state(id)["status"] == wanted)

    def close(self) -> None:
        """Remove what the test left."""
        for id in self.ids:
            self.call("delete", "--force", id)
        for path in self.cgroups():
            for folder, _, _ in os.walk(path, topdown=False):
                os.rmdir(folder)

    def cgroups(self) -> list[Path]:
        """Return the directories of the test's own cgroup parent in every tree."""
        mounts = Path("/sys/fs/cgroup")
        trees = (
            [mounts]
            if (mounts / "cgroup.procs").exists()
            else [path for path in mounts.iterdir() if path.is_dir()]
        )
        return [tree / self.parent.strip("/") for tree in trees if (tree / self.parent.strip("/")).is_dir()]

    def container_cgroups(self) -> list[str]:
        """Return the cgroups of containers that exist."""
        return sorted(str(child) for path in self.cgroups() for child in path.iterdir() if child.is_dir())


def poll(done: Callable[[], bool], timeout_s: float = 20) -> None:
    """Wait until done() is true."""
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def put(*path: str | int, value: Any) -> Any:
    """Return a change that sets one field of a configuration."""

    def change(config: Config) -> None:
        here: Any = config
        for step in path[:-1]:
            here = here.setdefault(step, {}) if isinstance(here, dict) else here[step]
        here[path[-1]] = value

    return change


def mount(destination: str, type: str, source: str, *options: str, **more: Any) -> Any:
    """Return a change that adds a mount."""
    entry = {"destination": destination, "type": type, "source": source, "options": list(options), **more}
    return lambda config: config["mounts"].append(entry)


def both(*changes: Any) -> Any:
    def change(config: Config) -> None:
        for one in changes:
            one(config)

    return change


def check_field(
    runtime: Runtime, change: Callable[[Config], object], script: str, wanted: str | None
) -> None:
    """Run a script in a container with one changed field; it says what is wanted."""
    done = runtime.run(change, "sh", "-c", script)
    assert done.err == "" or done.out, done.err
    if wanted is not None:
        assert done.out.strip() == wanted
