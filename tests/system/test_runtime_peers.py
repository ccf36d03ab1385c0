"""Other engines run containers on `sampan-runtime`, and other runtimes run the same bundles."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench import engines
from tests.system.bundles import Config, Runtime, needs_busybox, needs_root, poll

pytestmark = [needs_root, needs_busybox, pytest.mark.peers]

COMMAND = Path(__file__).parents[2] / ".venv/bin/sampan-runtime"


def needs(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: {package})")
    if not COMMAND.exists():
        pytest.skip("tools/setup has not installed sampan-runtime")


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def podman() -> Iterator[Run]:
    """podman with stores of its own, our runtime, and the image `probe`."""
    needs("podman", "podman")
    with engines.scratch(Path("/var/tmp")) as folder:  # podman takes 50 characters at most
        runtime = Runtime(folder)
        subprocess.run(["tar", "-C", str(runtime.root), "-cf", str(folder / "root.tar"), "."], check=True)

        def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
            common = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "run")]
            more = ["--cgroup-manager=cgroupfs", "--runtime", str(COMMAND), "--events-backend=file"]
            words = (*common, *more, *words)
            return subprocess.run(
                words, input=stdin, capture_output=True, text=True, timeout=120, check=False
            )

        done = run("import", str(folder / "root.tar"), "probe")
        assert done.returncode == 0, done.stderr
        yield run
        run("rm", "--all", "--force", "--time", "0")
        run("rmi", "--all", "--force")
        runtime.close()


NETLESS = ("--rm", "--network", "none")


@pytest.mark.parametrize(
    ("options", "command", "wanted"),
    [
        pytest.param((), ("echo", "hi"), "hi", id="plain"),
        pytest.param(("--user", "5:6", "--cap-drop", "all"), ("id", "-u"), "5", id="user"),
        pytest.param(("--read-only", "--tmpfs", "/x"), ("touch", "/x/y"), "", id="read-only"),
        pytest.param(("--memory", "50m", "--pids-limit", "33"), ("true",), "", id="limits"),
        pytest.param(("--privileged",), ("sh", "-c", "ls /dev | grep -c vda"), None, id="privileged"),
        pytest.param(
            ("--uidmap", "0:100000:1000"),
            ("cut", "-c1-22", "/proc/self/uid_map"),
            "0     100000",
            id="userns",
        ),
        pytest.param(
            ("--hostname", "boat", "-e", "A=b", "-w", "/tmp"),
            ("sh", "-c", "hostname; pwd; echo $A"),
            "boat\n/tmp\nb",
            id="names",
        ),
        pytest.param(
            ("--security-opt", "seccomp=unconfined"),
            ("grep", "Seccomp:", "/proc/self/status"),
            "Seccomp:\t0",
            id="no filter",
        ),
        pytest.param((), ("grep", "Seccomp:", "/proc/self/status"), "Seccomp:\t2", id="filter"),
        pytest.param(("-t",), ("stat", "-c", "%F", "/dev/console"), "character special file", id="terminal"),
        pytest.param(("-i",), ("cat",), "typed", id="stdin"),
    ],
)
def test_podman_run(
    podman: Run, options: tuple[str, ...], command: tuple[str, ...], wanted: str | None
) -> None:
    done = podman("run", *NETLESS, *options, "probe", *command, stdin="typed")
    assert done.returncode in (0, 1) if wanted is None else done.returncode == 0, done.stderr
    if wanted is not None:
        assert done.stdout.strip() == wanted


@pytest.mark.parametrize(("command", "code"), [("nosuch", 127), ("/etc/passwd", 126), ("false", 1)])
def test_podman_exit_codes(podman: Run, command: str, code: int) -> None:
    assert podman("run", *NETLESS, "probe", command).returncode == code


def test_podman_life(podman: Run) -> None:
    script = 'echo start; trap "echo bye; exit 3" TERM; while :; do sleep 0.1; done'
    done = podman("run", "-d", "--name", "life", "--network", "none", "probe", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert podman("exec", "life", "sh", "-c", "exit 4").returncode == 4
    assert podman("pause", "life").returncode == 0
    assert podman("inspect", "life", "--format", "{{.State.Status}}").stdout.strip() == "paused"
    assert podman("unpause", "life").returncode == 0
    assert "sleep 0.1" in podman("top", "life").stdout
    assert podman("stats", "--no-stream", "life").returncode == 0
    assert podman("stop", "life").returncode == 0
    assert podman("inspect", "life", "--format", "{{.State.ExitCode}}").stdout.strip() == "3"
    assert podman("logs", "life").stdout == "start\nbye\n"
    assert podman("rm", "life").returncode == 0


@pytest.fixture(scope="module")
def ctr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Path]]:
    """A containerd of its own: (ctr, a root file system)."""
    needs("containerd", "containerd")
    folder = tmp_path_factory.mktemp("cd")
    runtime = Runtime(folder)
    config = f'version = 2\nroot = "{folder}/data"\nstate = "{folder}/run"\n'
    config += f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{folder}/sock"\n'
    (folder / "config.toml").write_text(config)
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(["containerd", "-c", str(folder / "config.toml")], stdout=log, stderr=log)

    def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        words = ("ctr", "--address", str(folder / "sock"), *words)
        return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    poll(lambda: run("version").returncode == 0)
    yield run, runtime.root
    daemon.terminate()
    daemon.wait(20)
    runtime.close()


def test_containerd_run(ctr: tuple[Run, Path]) -> None:
    run, root = ctr
    ours = ("--runc-binary", str(COMMAND), "--rootfs", str(root))
    done = run("run", "--rm", *ours, "one", "sh", "-c", "echo hi; hostname; exit 5")
    assert done.stdout.splitlines()[0] == "hi"
    assert done.returncode == 5
    done = run("run", "--rm", *ours, "two", "nosuch")
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stderr


def test_containerd_task(ctr: tuple[Run, Path]) -> None:
    run, root = ctr
    assert (
        run(
            "run", "-d", "--runc-binary", str(COMMAND), "--rootfs", str(root), "task", "sleep", "1000"
        ).returncode
        == 0
    )
    assert run("task", "exec", "--exec-id", "e", "task", "echo", "inside").stdout == "inside\n"
    assert run("task", "pause", "task").returncode == 0
    assert "PAUSED" in run("task", "ls").stdout
    assert run("task", "resume", "task").returncode == 0
    assert "task" in run("task", "ps", "task").stdout or run("task", "ps", "task").returncode == 0
    assert run("task", "kill", "-s", "SIGKILL", "task").returncode == 0
    poll(lambda: "STOPPED" in run("task", "ls").stdout)
    run("task", "rm", "task")
    assert run("container", "rm", "task").returncode == 0


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    made = Runtime(tmp_path_factory.mktemp("same"))
    yield made
    made.close()


PROBE = (
    "id; umask; pwd; hostname; env | sort; grep -E '^(Cap|NoNew|Seccomp:|Groups)' /proc/self/status; "
    "cut -d' ' -f5,6 /proc/self/mountinfo | sort; ls -l /dev | sed 's/ [A-Z][a-z][a-z] .*:.. / /'; "
    "cat /proc/self/oom_score_adj; ls /proc/self/fd; cat /proc/self/cgroup | sort"
)
# What differs on purpose (docs/conformance.md): masks are stricter than runc's.
MASKED = ("/proc/keys ", "/proc/kcore ", "/proc/timer_list ", "/proc/acpi ", "/sys/firmware ")


@pytest.mark.parametrize("other", ["runc", "crun"])
def test_same_bundle_same_view(ours: Runtime, other: str) -> None:
    needs(other, other)

    def change(config: Config) -> None:
        config["ociVersion"] = "1.0.2"  # crun 1.8 knows no later one
        config["process"]["user"] = {"uid": 0, "gid": 0, "additionalGids": [0, 10]}

    bundle = ours.bundle(change, "sh", "-c", PROBE)
    mine = ours.call("run", "-b", str(bundle), ours.new_id())
    theirs = subprocess.run(
        [
            other,
            "--root",
            str(ours.folder / other),
            "run",
            "-b",
            str(bundle),
            f"sampan-{other}-{os.getpid()}",
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if other == "crun" and theirs.returncode and "cgroup" in theirs.stderr:
        pytest.skip("crun refuses this machine's hybrid cgroups")
    assert theirs.returncode == 0, theirs.stderr

    def comparable(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith(MASKED)]

    assert comparable(mine.out) == comparable(theirs.stdout)
