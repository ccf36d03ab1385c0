"""What a hostile image or process tries; the numbers are those of docs/conformance.md, "Attacks"."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.bundles import Config, Runtime, needs_busybox, needs_root, poll

pytestmark = [needs_root, needs_busybox]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime with a root of its own, to be spoilt."""
    made = Runtime(tmp_path / "own")
    yield made
    made.close()


def bind(source: Path, destination: str, *options: str) -> Any:
    entry = {"destination": destination, "type": "bind", "source": str(source), "options": ["bind", *options]}
    return lambda config: config["mounts"].append(entry)


def allow_everything(config: Config) -> None:
    names = [
        "CAP_SYS_ADMIN",
        "CAP_SYS_PTRACE",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_MKNOD",
        "CAP_CHOWN",
    ]
    for name in ("bounding", "effective", "permitted"):
        config["process"]["capabilities"][name] = names


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_1_interpreter_cannot_be_written(runtime: Runtime) -> None:
    """CVE-2019-5736: exec of `#!/proc/self/exe` runs our interpreter; a loop tries to open it for writing."""
    python = os.path.realpath(runtime.program[0])
    before = digest(python)
    (runtime.root / "evil").write_text("#!/proc/self/exe\n")
    (runtime.root / "evil").chmod(0o755)
    loop = (
        "while :; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) continue;; esac; "
        "e=$(readlink $p/exe); case $e in *python*) echo seen $e; "
        "if ( exec 9>>$p/exe ) 2>/dev/null; then echo WRITTEN; fi;; esac; done; done"
    )
    id = runtime.start(allow_everything, "sh", "-c", loop)
    for _ in range(15):
        runtime.exec(id, "/evil")
        runtime.exec(id, "true")
    output = (runtime.folder / f"{id}.out").read_text()
    runtime.call("delete", "-f", id)
    (runtime.root / "evil").unlink()
    assert "WRITTEN" not in output
    assert digest(python) == before


@pytest.mark.parametrize(("protected", "wanted"), [(True, errno.EROFS), (False, 0)])
def test_1_our_file_cannot_be_opened_for_writing_after_our_end(
    tmp_path: Path, protected: bool, wanted: int
) -> None:
    """What a container kept of /proc/<pid>/exe is on a read-only mount. While we run, ETXTBSY guards it."""
    python = tmp_path / "python"
    shutil.copy(os.path.realpath("/usr/bin/python3"), python)
    script = (
        "import sys, os; sys.path[:0] = [sys.argv[1]]\n"
        "from sampan.runtime import own_program\n"
        "if sys.argv[2] == 'True': own_program.protect()\n"
        "print(flush=True); sys.stdin.read()\n"
    )
    source = str(Path(__file__).parents[2] / "src")
    words = [str(python), "-IS", "-c", script, source, str(protected)]
    environment = {"PYTHONHOME": "/usr"}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as running:
        assert running.stdout is not None
        running.stdout.readline()
        kept = os.open(f"/proc/{running.pid}/exe", os.O_PATH)
        running.communicate(b"")
    try:
        os.close(os.open(f"/proc/self/fd/{kept}", os.O_WRONLY))
        found = 0
    except OSError as exc:
        found = exc.errno or -1
    os.close(kept)
    assert found == wanted


@pytest.mark.parametrize("number", range(3, 40))
def test_2_cwd_in_a_leaked_descriptor(runtime: Runtime, number: int) -> None:
    """CVE-2024-21626: descriptor `number` is a directory of the host, leaked by the caller."""
    bundle = runtime.bundle(lambda config: config["process"].update(cwd=f"/proc/self/fd/{number}"), "ls")
    leak = f'exec {number}</; exec "$@"'
    command = runtime.command("run", "-b", str(bundle), runtime.new_id())
    done = subprocess.run(
        ["/bin/bash", "-c", leak, "x", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "home" not in done.stdout


@pytest.mark.parametrize("number", [3, 5, 7, 9, 11])
def test_2_exec_cwd_and_links(runtime: Runtime, number: int) -> None:
    id = runtime.start()
    link = runtime.root / "door"
    link.unlink(missing_ok=True)
    link.symlink_to(f"/proc/self/fd/{number}")
    for cwd in (f"/proc/self/fd/{number}", "/door", f"/proc/self/fd/{number}/../../.."):
        command = runtime.command("exec", "--cwd", cwd, id, "ls")
        done = subprocess.run(
            ["/bin/bash", "-c", f'exec {number}</; exec "$@"', "x", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 255, done.stdout
    done = runtime.exec(id, f"/proc/self/fd/{number}/bin/sh", "-c", "ls")
    assert done.code == 255
    runtime.call("delete", "-f", id)


def test_2_no_descriptor_but_stdio(runtime: Runtime) -> None:
    bundle = runtime.bundle(None, "ls", "/proc/self/fd")
    command = runtime.command("run", "-b", str(bundle), runtime.new_id())
    done = subprocess.run(
        ["/bin/bash", "-c", 'exec 7</ 60</etc; exec "$@"', "x", *command],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0", "1", "2", "3"]  # 3 is ls's own


def test_3_a_joiner_is_closed_to_the_container(runtime: Runtime) -> None:
    """CVE-2016-9962: with CAP_SYS_PTRACE, a loop reads descriptors and memory of whoever joins."""

    def change(config: Config) -> None:
        config["process"]["args"] = [
            "sh",
            "-c",
            "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || ls -l $p/fd 2>/dev/null; done; done",
        ]

    id = runtime.start(change)
    for _ in range(15):
        runtime.exec(id, "true")
    text = (runtime.folder / f"{id}.out").read_text()
    runtime.call("delete", "-f", id)
    targets = {line.split(" -> ")[1] for line in text.splitlines() if " -> " in line}
    host = {
        target
        for target in targets
        if target.startswith("/") and not target.startswith(("/dev", "/proc", "/tmp/pytest"))
    }
    assert not host


def test_4_mounts_stay_in_the_root_while_a_link_is_swapped(own: Runtime, tmp_path: Path) -> None:
    """CVE-2021-30465: another process swaps a directory of a shared volume for a link to /."""
    volume = tmp_path / "volume"
    (volume / "dir").mkdir(parents=True)
    (volume / "link").symlink_to("/")
    (tmp_path / "secret").mkdir()
    swapper = subprocess.Popen([sys.executable, "-c", _SWAPPER, str(volume / "dir"), str(volume / "link")])
    before = _mounts_of(tmp_path)
    try:
        for _ in range(60):
            done = own.run(_two_mounts(volume), "sh", "-c", "ls /vol/dir/sub >/dev/null 2>&1; ls /")
            if done.code == 0:
                assert "pytest-of-root" not in done.out
            assert _mounts_of(tmp_path) == before
    finally:
        swapper.kill()
        swapper.wait()
    assert not Path("/sub").exists()


def _mounts_of(folder: Path) -> set[str]:
    """Return the host's mounts that lie below / by way of the volume, or name the test's folder."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line for line in lines if str(folder) in line or line.split()[4] == "/sub"}


_SWAPPER = """
import ctypes, sys
libc = ctypes.CDLL(None)
one, two = (path.encode() for path in sys.argv[1:])
while True:
    libc.renameat2(-100, one, -100, two, 2)
"""


def _two_mounts(volume: Path) -> Any:
    def change(config: Config) -> None:
        config["mounts"].append(
            {"destination": "/vol", "type": "bind", "source": str(volume), "options": ["rbind"]}
        )
        config["mounts"].append(
            {"destination": "/vol/dir/sub", "type": "tmpfs", "source": "x", "options": ["size=4k"]}
        )

    return change


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_6_proc_or_sys_as_a_link(own: Runtime, name: str) -> None:
    """CVE-2019-19921, CVE-2023-27561."""
    (own.root / name).rmdir()
    (own.root / "elsewhere").mkdir()
    (own.root / name).symlink_to("/elsewhere")
    done = own.run()
    assert done.code == 1
    assert "ordinary directory" in done.err


@pytest.mark.parametrize("place", ["/proc", "/proc/self/attr", "/proc/sys/kernel", "/proc/sysrq-trigger"])
def test_7_volume_over_proc(runtime: Runtime, tmp_path: Path, place: str) -> None:
    """CVE-2019-16884."""
    done = runtime.run(bind(tmp_path, place))
    assert done.code == 1
    assert "/proc" in done.err


def test_7_through_a_link_in_the_image(own: Runtime, tmp_path: Path) -> None:
    (own.root / "data").symlink_to("/proc/sys")
    done = own.run(bind(tmp_path, "/data"))
    assert done.code == 1
    assert "inside a procfs" in done.err


def test_8_masks_do_not_use_the_container_s_null(own: Runtime) -> None:
    """CVE-2025-31133: /dev/null of the image is a link to the file to be masked."""

    def change(config: Config) -> None:
        config["mounts"] = [
            entry for entry in config["mounts"] if not entry["destination"].startswith("/dev")
        ]

    (own.root / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    done = own.run(
        change, "sh", "-c", "wc -c < /proc/keys; stat -c %t,%T /proc/keys; stat -Lc '%F %t,%T' /dev/null"
    )
    assert done.lines == ["0", "1,3", "character special file 1,3"]


def test_8_chmod_of_a_masked_file_does_not_reach_the_host(runtime: Runtime) -> None:
    before = os.stat("/dev/null").st_mode
    runtime.run(allow_everything, "sh", "-c", "chmod 0 /proc/keys; chown 5 /proc/keys")
    assert os.stat("/dev/null").st_mode == before
    assert os.stat("/dev/null").st_uid == 0


def test_9_console_as_a_link(own: Runtime, tmp_path: Path) -> None:
    """CVE-2025-52565: /dev/console of the image leads out of the root."""
    target = tmp_path / "host-file"

    def change(config: Config) -> None:
        config["mounts"] = [
            entry for entry in config["mounts"] if entry["destination"] in ("/proc", "/dev/pts")
        ]
        config["process"]["terminal"] = True

    (own.root / "dev/pts").mkdir()
    (own.root / "dev/console").symlink_to(target)
    own.run(change, "true")
    assert not target.exists()


def test_10_dev_as_a_link_to_a_folder_of_the_host(own: Runtime, tmp_path: Path) -> None:
    """CVE-2026-41579: the folder is not filled, and its ptmx not deleted."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "ptmx").touch()
    (own.root / "dev").rmdir()
    (own.root / "dev").symlink_to(victim)

    def change(config: Config) -> None:
        config["mounts"] = [
            entry for entry in config["mounts"] if not entry["destination"].startswith("/dev")
        ]

    own.run(change)
    assert os.listdir(victim) == ["ptmx"]


def test_11_mount_points_are_not_made_outside(own: Runtime, tmp_path: Path) -> None:
    """CVE-2024-45310: links to the host on the way to a mount point."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (own.root / "a").symlink_to(outside)
    (own.root / "b").symlink_to("../../../../../../../.." + str(outside))
    source = tmp_path / "file"
    source.touch()
    for place in ("/a/x/y", "/b/x/y", f"/../../..{outside}/z"):
        own.run(bind(source, place))
        own.run(bind(tmp_path, place))
    assert os.listdir(outside) == []


@pytest.mark.parametrize("rules", [None, [], [{"allow": False, "access": "rwm"}]])
def test_13_devices_are_denied(runtime: Runtime, rules: Any) -> None:
    """GHSA-g54h-m393-cpwq: also without any rule."""

    def change(config: Config) -> None:
        allow_everything(config)
        config["linux"]["resources"] = {} if rules is None else {"devices": rules}

    script = (
        "mknod /dev/mem c 1 1; mknod /dev/disk b 254 0; "
        "for d in mem disk; do head -c 1 /dev/$d 2>&1; done; head -c 1 /dev/zero | wc -c"
    )
    done = runtime.run(change, "sh", "-c", script)
    assert done.lines == [f"head: /dev/{name}: Operation not permitted" for name in ("mem", "disk")] + ["1"]


def test_13_an_allowed_device(runtime: Runtime) -> None:
    def change(config: Config) -> None:
        allow_everything(config)
        rules = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "w"},
        ]
        config["linux"]["resources"]["devices"] = rules
        config["linux"]["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]

    done = runtime.run(change, "sh", "-c", ": > /dev/kmsg && echo open; : < /dev/kmsg || true")
    assert done.lines == ["open"]
    assert "Operation not permitted" in done.err


def test_14_nothing_is_inheritable_or_ambient(runtime: Runtime) -> None:
    id = runtime.start()
    for options in ((), ("--cap", "CAP_NET_ADMIN"), ("--user", "7")):
        done = runtime.exec(id, "sh", "-c", "grep -E 'CapInh|CapAmb' /proc/self/status", options=options)
        assert [line.split()[1] for line in done.lines] == ["0" * 16] * 2
    runtime.call("delete", "-f", id)


def test_15_another_user_has_no_capabilities(runtime: Runtime) -> None:
    done = runtime.sh(
        "grep -E 'CapPrm|CapEff' /proc/self/status",
        lambda config: config["process"].update(user={"uid": 5, "gid": 5}),
    )
    assert [line.split()[1] for line in done.lines] == ["0" * 16] * 2


def test_15_capabilities_of_a_file_under_no_new_privileges(own: Runtime) -> None:
    (own.root / "capable").mkdir()
    program = own.root / "capable/busybox"
    program.write_bytes((own.root / "bin/busybox").read_bytes())
    program.chmod(0o755)
    # struct vfs_ns_cap_data version 2, effective: CAP_CHOWN
    os.setxattr(program, "security.capability", bytes.fromhex("0100000201000000000000000000000000000000"))

    def change(config: Config) -> None:
        config["process"]["user"] = {"uid": 5, "gid": 5}

    def permitted() -> str:
        return own.run(
            change, "/capable/busybox", "sh", "-c", "exec /capable/busybox grep CapEff /proc/self/status"
        ).out.split()[1]

    assert int(permitted(), 16) == 0
    own.config["process"]["noNewPrivileges"] = False
    assert int(permitted(), 16) == 1


def test_16_the_primary_group_cannot_be_dropped(runtime: Runtime) -> None:
    """CVE-2022-2990: a file that denies the group would be readable by its user after a setgid trick."""
    done = runtime.sh(
        "id -G", lambda config: config["process"].update(user={"uid": 9, "gid": 9, "additionalGids": [5]})
    )
    assert done.out == "9 5\n"


def test_20_cgroup_files_are_read_only_in_the_host_namespace(runtime: Runtime) -> None:
    """CVE-2022-0492, CVE-2023-25809: no release_agent, no writable view of the host's tree.

    v1 shows the container's own cgroups only; v2, without a cgroup namespace, the host's names, as Docker.
    """

    def change(config: Config) -> None:
        config["mounts"].append(
            {
                "destination": "/sys/fs/cgroup",
                "type": "cgroup",
                "source": "cgroup",
                "options": ["ro", "nosuid", "noexec", "nodev"],
            }
        )

    others = "" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "-o -name sampan-test*"
    done = runtime.sh(
        f"find / -xdev -name release_agent; find /sys/fs/cgroup -name release_agent {others}; "
        "for d in $(find /sys/fs/cgroup -type d | head -n 20); do "
        "mkdir $d/x 2>/dev/null && echo $d; done; true",
        change,
    )
    assert done.out == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel.core_pattern", "|/evil"),
        ("kernel/core_pattern", "|/evil"),
        ("net.ipv4.ip_forward", "1\n1"),
        ("net/../kernel/core_pattern", "x"),
        ("kernel.shm_rmid_forced+net.ipv4.x", "1"),
        ("fs.file-max", "3"),
        ("vm.swappiness", "1"),
    ],
)
def test_21_sysctls_of_the_host(runtime: Runtime, name: str, value: str) -> None:
    """CVE-2022-0811."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    done = runtime.run(lambda config: config["linux"].update(sysctl={name: value}))
    assert done.code == 1
    assert "linux.sysctl" in done.err
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


@pytest.mark.parametrize(("kind", "sysctl"), [("network", "net.ipv4.ip_forward"), ("ipc", "kernel.msgmax")])
def test_21_sysctls_of_a_shared_namespace(runtime: Runtime, kind: str, sysctl: str) -> None:
    short = {"network": "net"}.get(kind, kind)
    for path in (None, f"/proc/self/ns/{short}", f"/proc/{os.getpid()}/ns/{short}"):

        def change(config: Config, path: str | None = path) -> None:
            rest = [entry for entry in config["linux"]["namespaces"] if entry["type"] != kind]
            config["linux"]["namespaces"] = rest + ([] if path is None else [{"type": kind, "path": path}])
            config["linux"]["sysctl"] = {sysctl: "1"}

        done = runtime.run(change)
        assert done.code == 1
        assert f"shares the host's {kind} namespace" in done.err


def test_47_a_stranger_with_the_same_pid_is_not_touched(runtime: Runtime) -> None:
    """State says a pid that another process has now: its start time is not the recorded one."""
    stranger = subprocess.Popen(["/bin/sleep", "1000"])
    id = runtime.start()
    file = runtime.folder / "state" / id / "init.pid"
    real = file.read_text()
    file.write_text(f"{stranger.pid} {real.split()[1]}")
    try:
        assert runtime.state(id)["status"] == "stopped"
        assert runtime.call("kill", id, "KILL").code == 1
        assert runtime.exec(id, "true").code == 255
        assert stranger.poll() is None
    finally:
        file.write_text(real)
        runtime.call("delete", "-f", id)
        assert stranger.poll() is None
        stranger.kill()
        stranger.wait()


def test_kill_minus_nine_of_the_creator_leaves_nothing_running(runtime: Runtime) -> None:
    """The creator is killed at many moments; what is left can always be deleted, and nothing of it runs."""
    for delay_ms in range(20, 120, 7):
        id = runtime.new_id()
        bundle = runtime.bundle(None, "sleep", "4321")
        creator = subprocess.Popen(
            runtime.command("create", "-b", str(bundle), id),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            creator.wait(delay_ms / 1000)
        except subprocess.TimeoutExpired:
            creator.kill()
            creator.wait()
        done = runtime.call("delete", "--force", id)
        assert done.code == 0, done.err
    assert runtime.container_cgroups() == []
    poll(
        lambda: (
            "sleep 4321"
            not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        )
    )


def test_28_no_abstract_socket(runtime: Runtime) -> None:
    """CVE-2020-15257."""
    id = runtime.start()
    sockets = Path("/proc/net/unix").read_text()
    assert not [line for line in sockets.splitlines() if "sampan" in line and "@" in line.split()[-1]]
    runtime.call("delete", "-f", id)


CHROOT = """
mount --rbind / "$1" && mount --make-rprivate / && shift || exit 9
exec chroot "$@"
"""


def in_chroot(place: Path, *command: str) -> tuple[int, str]:
    """Run a command in a chroot that shows the same files, in a mount namespace of its own."""
    words = ["unshare", "--mount", "sh", "-ec", CHROOT, "sh", str(place), str(place), *command]
    with tempfile.TemporaryFile() as out:  # and no pipe: a container in the background holds it open
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60, check=False
        )
        out.seek(0)
        return done.returncode, out.read().decode()


def test_runtime_in_a_chroot_leaves_no_way_to_the_host(own: Runtime, tmp_path: Path) -> None:
    """pivot_root(2) moves the caller's root; the namespace's own, where setns(2) leads, must follow."""
    place = tmp_path / "place"
    place.mkdir()
    id, bundle = own.new_id(), own.bundle(None, "sleep", "1000")
    assert in_chroot(place, *own.command("run", "--detach", "-b", str(bundle), id)) == (0, "")
    wanted = sorted(os.listdir(own.root))
    assert own.exec(id, "ls", "/").lines == wanted
    code, inside = in_chroot(place, *own.command("exec", id, "ls", "/"))
    assert (code, inside.splitlines()) == (0, wanted)
    pid = str(own.state(id)["pid"])
    entered = subprocess.run(
        ["nsenter", "--mount", "--target", pid, "/bin/busybox", "ls", "/"], capture_output=True, text=True
    )
    assert entered.stdout.splitlines() == wanted
    mounts = Path(f"/proc/{pid}/mountinfo").read_text()
    assert str(place) not in mounts


def test_no_pivot_in_a_chroot_is_refused(own: Runtime, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    bundle = own.bundle(None, "true")
    code, said = in_chroot(place, *own.command("run", "--no-pivot", "-b", str(bundle), own.new_id()))
    assert code == 1
    assert "cannot start without pivot_root from inside a chroot" in said
