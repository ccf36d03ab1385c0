"""The engines under comparison, each with roots of its own, started and stopped here.

Every engine gets the same root file system: Debian's static busybox. dockerd runs without a bridge and
without touching the firewall or `ip_forward`.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

VENV = Path(__file__).resolve().parent.parent / ".venv" / "bin"


@dataclass(frozen=True, slots=True)
class Engine:
    """A started engine: the command prefix of its client, and the processes its memory is counted by."""

    name: str
    client: tuple[str, ...]
    socket: str | None = None
    daemon_pids: Callable[[], list[int]] = field(default=list)
    container_pids: Callable[[], list[int]] = field(default=list)
    run_flags: tuple[str, ...] = ()

    def run(self, *arguments: str) -> tuple[str, ...]:
        """Return the command line of `run` with arguments for this engine."""
        return (*self.client, "run", *self.run_flags, *arguments)


def wait_for(condition: Callable[[], bool], what: str, *, timeout_s: float = 30) -> None:
    """Poll until condition holds.

    Raises:
        TimeoutError: it did not within timeout_s.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s} s for {what}")
        time.sleep(0.02)


def busybox_rootfs() -> bytes:
    """Return a tar archive with busybox and the applets the benchmarks run."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        archive.add("/bin/busybox", "bin/busybox")
        for applet in ("sh", "true", "sleep", "echo"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return out.getvalue()


def children_of(pid: int) -> list[int]:
    """Return pid and every process below it."""
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        for task in Path(f"/proc/{current}/task").glob("*/children"):
            queue += [int(child) for child in task.read_text().split()]
    return found


def pss_bytes(pids: list[int]) -> int:
    """Return the proportional set size of these processes together; vanished ones count nothing."""
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def _processes_with(text: str, root: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and root in line:
            found.append(int(entry.name))
    return found


@contextmanager
def sampan(root: Path, *, bridge: bool = False) -> Iterator[Engine]:
    """Run a sampand of this checkout and load the image `busybox`.

    bridge: containers are on the bridge without a word; for callers in a network namespace of their own.
    """
    data, run = root / "data", root / "run"
    address = f"unix://{run}/sampan.sock"
    run.mkdir(parents=True)
    with (root / "sampand.log").open("wb") as log:
        daemon = subprocess.Popen(
            [
                VENV / "sampand",
                "--data-root",
                data,
                "--run-root",
                run,
                "-H",
                address,
                f"--default-network={'bridge' if bridge else 'none'}",
            ],
            stderr=log,
        )
    client = (str(VENV / "sampan"), "-H", address)
    try:
        wait_for((run / "sampan.sock").exists, "sampand")
        wait_for(lambda: subprocess.run([*client, "version"], capture_output=True).returncode == 0, "sampand")
        subprocess.run(
            [*client, "image", "import", "-", "busybox:latest"],
            input=busybox_rootfs(),
            check=True,
            capture_output=True,
        )
        launcher = children_of(daemon.pid)[1:2]

        def shims() -> list[int]:
            return [pid for pid in children_of(launcher[0])[1:] if _comm(pid) == "sampan-shim"]

        yield Engine(
            "sampan", client, f"{run}/sampan.sock", lambda: [daemon.pid, *launcher], container_pids=shims
        )
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=30)


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@contextmanager
def dockerd(root: Path, *, bridge: bool = False) -> Iterator[Engine]:
    """Run Debian's dockerd with its own containerd and load the image `busybox`.

    bridge: with all of its network; for callers in a network namespace of their own.
    """
    root.mkdir(parents=True)
    address = f"unix://{root}/docker.sock"
    command = [
        "/usr/sbin/dockerd", "-H", address, "--data-root", root / "data", "--exec-root", root / "exec",
        "--pidfile", root / "pid", "--userland-proxy=false",
    ]  # fmt: skip
    if not bridge:
        command += ["--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false"]
        command += ["--ip-masq=false"]
    with (root / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    client = ("/usr/bin/docker", "-H", address)
    try:
        wait_for(
            lambda: subprocess.run([*client, "version"], capture_output=True).returncode == 0,
            f"dockerd (see {root}/dockerd.log)",
            timeout_s=60,
        )
        subprocess.run(
            [*client, "import", "-", "busybox:latest"],
            input=busybox_rootfs(),
            check=True,
            capture_output=True,
        )
        yield Engine(
            "docker", client, f"{root}/docker.sock", lambda: children_of(daemon.pid),
            lambda: _processes_with("containerd-shim", str(root)),
        )  # fmt: skip
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=60)


@contextmanager
def podman(root: Path) -> Iterator[Engine]:
    """Prepare podman with storage of its own (it has no daemon) and load the image `busybox`."""
    root.mkdir(parents=True)
    client = (
        "/usr/bin/podman",
        "--root", f"{root}/storage", "--runroot", f"{root}/run", "--tmpdir", f"{root}/tmp",
        "--cgroup-manager=cgroupfs", "--events-backend=file", "--runtime=/usr/sbin/runc",
    )  # fmt: skip
    subprocess.run(
        [*client, "import", "-", "busybox:latest"], input=busybox_rootfs(), check=True, capture_output=True
    )
    try:
        # Its default limits may be above this machine's hard ones, which take CAP_SYS_RESOURCE to raise.
        yield Engine(
            "podman",
            client,
            container_pids=lambda: _processes_with("conmon", str(root)),
            run_flags=("--ulimit", "nofile=10000:10000", "--ulimit", "nproc=30000:30000"),
        )
    finally:
        subprocess.run([*client, "rm", "-af", "-t", "0"], capture_output=True)


def runtime_bundle(root: Path) -> Path:
    """Make an OCI bundle that runs /bin/true in namespaces and a cgroup, as `runc spec` describes one."""
    rootfs = root / "rootfs"
    rootfs.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(busybox_rootfs())) as archive:
        for member in archive:
            _extract(archive, member, rootfs)
    subprocess.run(["/usr/sbin/runc", "spec"], cwd=root, check=True)
    config = json.loads((root / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/bin/true"]
    config["process"].pop("rlimits", None)  # raising one needs CAP_SYS_RESOURCE
    (root / "config.json").write_text(json.dumps(config))
    return root


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, rootfs: Path) -> None:
    target = rootfs / member.name
    if member.isdir():
        target.mkdir(exist_ok=True)
    elif member.issym():
        target.symlink_to(member.linkname)
    else:
        content = archive.extractfile(member)
        assert content is not None
        target.write_bytes(content.read())
        target.chmod(0o755)


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """Give a private directory and remove it whatever happens."""
    root = parent / f"sampan-bench-{os.getpid()}"
    root.mkdir(mode=0o700)
    try:
        yield root
    finally:
        # dockerd leaves a network namespace mounted, podman its store on itself
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if (mounted := line.split()[4]).startswith(f"{root}/"):
                subprocess.run(["/bin/umount", mounted], capture_output=True)
        shutil.rmtree(root, ignore_errors=True)
