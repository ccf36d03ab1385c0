"""Every field of config.json that a Linux kernel can honour, seen from inside a real container."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.bundles import Config, Runtime, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    made = Runtime(tmp_path_factory.mktemp("rt"))
    yield made
    made.close()


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


CASES = [
    pytest.param(put("process", "cwd", value="/tmp"), "pwd", "/tmp", id="cwd"),
    pytest.param(put("process", "cwd", value="/made/for/me"), "pwd", "/made/for/me", id="cwd is made"),
    pytest.param(put("process", "env", value=["PATH=/bin", "A=b=c", "X="]), "echo $A-$X", "b=c-", id="env"),
    pytest.param(
        put("process", "user", value={"uid": 5, "gid": 7}), "id -u; id -g; id -G", "5\n7\n7", id="user"
    ),
    pytest.param(
        put("process", "user", value={"uid": 5, "gid": 7, "additionalGids": [8, 9]}),
        "id -G",
        "7 8 9",
        id="groups",
    ),
    pytest.param(
        put("process", "user", value={"uid": 0, "gid": 0, "umask": 0o27}), "umask", "0027", id="umask"
    ),
    pytest.param(lambda config: None, "umask", "0022", id="default umask"),
    pytest.param(lambda config: None, "echo $HOME", "/root", id="home of root"),
    pytest.param(
        put("process", "user", value={"uid": 1000, "gid": 1}), "echo $HOME", "/home/guest", id="home"
    ),
    pytest.param(
        put("process", "user", value={"uid": 77, "gid": 1}), "echo $HOME", "/", id="home of nobody known"
    ),
    pytest.param(put("hostname", value="boat"), "hostname", "boat", id="hostname"),
    pytest.param(put("domainname", value="sea"), "cat /proc/sys/kernel/domainname", "sea", id="domainname"),
    pytest.param(
        put("process", "rlimits", value=[{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]),
        "ulimit -Sn; ulimit -Hn",
        "50\n60",
        id="rlimits",
    ),
    pytest.param(
        put("process", "oomScoreAdj", value=500), "cat /proc/self/oom_score_adj", "500", id="oom score"
    ),
    pytest.param(
        put("process", "noNewPrivileges", value=True),
        "grep NoNew /proc/self/status",
        "NoNewPrivs:\t1",
        id="nnp",
    ),
    pytest.param(
        put("process", "noNewPrivileges", value=False),
        "grep NoNew /proc/self/status",
        "NoNewPrivs:\t0",
        id="no nnp",
    ),
    pytest.param(
        put("process", "ioPriority", value={"class": "IOPRIO_CLASS_IDLE"}),
        "ionice -p 1",
        "idle",
        id="io priority",
    ),
    pytest.param(
        put("process", "scheduler", value={"policy": "SCHED_BATCH", "nice": 5}),
        "cut -d' ' -f19,41 /proc/1/stat",
        "5 3",
        id="scheduler",
    ),
    pytest.param(
        put("root", "readonly", value=True), "touch /x 2>&1", "touch: /x: Read-only file system", id="ro"
    ),
    pytest.param(
        put("linux", "sysctl", value={"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}),
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced",
        "1\n1",
        id="sysctls",
    ),
    pytest.param(
        put("linux", "sysctl", value={"net/ipv4/conf/lo/forwarding": "1"}),
        "cat /proc/sys/net/ipv4/conf/lo/forwarding",
        "1",
        id="sysctl with slashes",
    ),
    pytest.param(lambda config: None, "wc -c < /proc/keys", "0", id="masked file"),
    pytest.param(lambda config: None, "ls /sys/firmware | wc -l", "0", id="masked directory"),
    pytest.param(
        lambda config: None,
        "echo 1 2>&1 > /proc/sys/kernel/panic || echo failed",
        "sh: can't create /proc/sys/kernel/panic: Read-only file system\nfailed",
        id="read-only path",
    ),
    pytest.param(
        put(
            "linux",
            "maskedPaths",
            value=["/etc", "/etc", "/etc/passwd", "/nowhere", "/bin/nothing/below", "/link"],
        ),
        "ls /etc | wc -l; cat /etc/passwd 2>&1",
        "0\ncat: can't open '/etc/passwd': No such file or directory",
        id="masked twice, nested, absent",
    ),
    pytest.param(
        put("linux", "readonlyPaths", value=["/tmp", "/tmp", "/tmp/absent"]),
        "touch /tmp/x 2>&1",
        "touch: /tmp/x: Read-only file system",
        id="read-only twice and absent",
    ),
    pytest.param(
        lambda config: None,
        "cat /proc/1/cmdline | head -c 2; echo; set -- /proc/[0-9]*; echo $#",  # counts no process of its own
        "sh\n1",
        id="pid namespace",
    ),
    pytest.param(lambda config: None, "ls /sys/class/net", "lo", id="network namespace"),
    pytest.param(lambda config: None, "ip -o link show lo | grep -c UP", "1", id="loopback is up"),
    pytest.param(
        lambda config: None,
        "cd /dev; ls",
        "core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero"
        if os.path.exists("/proc/kcore")
        else "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero",
        id="devices",
    ),
    pytest.param(
        put(
            "linux",
            "devices",
            value=[
                {
                    "path": "/dev/mine/fuse",
                    "type": "c",
                    "major": 10,
                    "minor": 229,
                    "fileMode": 0o640,
                    "uid": 3,
                    "gid": 4,
                }
            ],
        ),
        "stat -c '%F %a %u %g %t,%T' /dev/mine/fuse",
        "character special file 640 3 4 a,e5",
        id="another device",
    ),
    pytest.param(
        put("linux", "devices", value=[{"path": "/dev/pipe", "type": "p"}]),
        "stat -c %F /dev/pipe",
        "fifo",
        id="named pipe",
    ),
    pytest.param(
        put("linux", "personality", value={"domain": "LINUX32"}),
        "uname -m",
        "i686" if platform.machine() == "x86_64" else platform.machine(),
        id="personality",
    ),
    pytest.param(put("annotations", value={"a.b": "c"}), "true", "", id="annotations"),
    pytest.param(
        put("linux", "rootfsPropagation", value="shared"),
        "grep -c ' / / .* shared:' /proc/self/mountinfo; true",
        None,
        id="root propagation",
    ),
    pytest.param(put("process", "apparmorProfile", value="unconfined"), "true", "", id="apparmor unconfined"),
]


@pytest.mark.parametrize(("change", "script", "wanted"), CASES)
def test_field(runtime: Runtime, change: Any, script: str, wanted: str | None) -> None:
    done = runtime.run(change, "sh", "-c", script)
    assert done.err == "" or done.out, done.err
    if wanted is not None:
        assert done.out.strip() == wanted


MOUNTS = [
    pytest.param(
        ("tmpfs", "tmpfs", "size=64k", "mode=1770", "noexec"), "rw,noexec,relatime", "size=64k", id="tmpfs"
    ),
    pytest.param(
        ("tmpfs", "tmpfs", "ro", "nosuid", "nodev", "noatime"),
        "ro,nosuid,nodev,noatime",
        "",
        id="read-only tmpfs",
    ),
    pytest.param(
        ("tmpfs", "tmpfs", "ro", "rw", "noexec", "exec"), "rw,relatime", "", id="the last option wins"
    ),
    pytest.param(("tmpfs", "tmpfs", "nosymfollow"), "rw,relatime,nosymfollow", "", id="nosymfollow"),
    pytest.param(("ramfs", "ramfs"), "rw,relatime", "", id="another type"),
]


@pytest.mark.parametrize(("entry", "options", "data"), MOUNTS)
def test_mount_options(runtime: Runtime, entry: tuple[str, ...], options: str, data: str) -> None:
    done = runtime.sh("grep ' /mnt ' /proc/self/mountinfo", mount("/mnt", *entry))
    fields = done.out.split()
    assert fields[5] == options
    assert data in fields[-1]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder to bind, with a file in it."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "file").write_text("here\n")
    os.chown(folder / "file", 1234, 1234)
    return folder


def test_bind_directory_and_file(runtime: Runtime, source: Path) -> None:
    change = both(
        mount("/new/place", "bind", str(source), "bind", "ro"),
        mount("/etc/one", "none", str(source / "file"), "rbind"),
    )
    done = runtime.sh(
        "cat /new/place/file /etc/one; touch /new/place/x 2>&1 || true; echo more >> /etc/one", change
    )
    assert done.lines == ["here", "here", "touch: /new/place/x: Read-only file system"]
    assert (source / "file").read_text() == "here\nmore\n"


def test_relative_source_is_in_the_bundle(runtime: Runtime) -> None:
    bundle = runtime.bundle(mount("/mnt", "bind", "inside", "bind"), "ls", "/mnt")
    (bundle / "inside").mkdir()
    (bundle / "inside/found").touch()
    assert runtime.call("run", "-b", str(bundle), runtime.new_id()).out == "found\n"


def test_recursive_options_reach_the_mounts_below(runtime: Runtime, source: Path, submount: Path) -> None:
    plain = runtime.sh(
        "touch /mnt/below/x && echo written", mount("/mnt", "bind", str(source), "rbind", "ro")
    )
    assert plain.out == "written\n"
    deep = runtime.sh("touch /mnt/below/x 2>&1 || true", mount("/mnt", "bind", str(source), "rbind", "rro"))
    assert "Read-only" in deep.out
    shallow = runtime.sh("ls /mnt/below", mount("/mnt", "bind", str(source), "bind"))
    assert shallow.out == ""


@pytest.fixture
def submount(source: Path) -> Iterator[Path]:
    """A tmpfs below the folder to bind."""
    from sampan.kernel import mounts

    below = source / "below"
    below.mkdir()
    mounts.mount("tmpfs", str(below), "tmpfs")
    (below / "in-tmpfs").touch()
    yield below
    mounts.umount(str(below), 2)


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ("rprivate", ""),
        ("rslave", "master:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
        (None, "master:"),
    ],
)
def test_propagation(runtime: Runtime, source: Path, option: str | None, wanted: str) -> None:
    from sampan.kernel import constants, mounts

    mounts.mount(str(source), str(source), None, constants.MS_BIND)
    mounts.mount(None, str(source), None, constants.MS_SHARED)
    try:
        options = ["bind"] if option is None else ["bind", option]
        change = mount("/mnt", "bind", str(source), *options)
        if option == "rshared":
            change = both(change, put("linux", "rootfsPropagation", value="shared"))
        line = runtime.sh("grep ' /mnt ' /proc/self/mountinfo", change).out
        optional = " ".join(line.split(" - ")[0].split()[6:])
        assert wanted in optional if wanted else optional == ""
    finally:
        mounts.umount(str(source), 2)


def test_tmpfs_copy_up(runtime: Runtime) -> None:
    folder = runtime.root / "full"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/file").write_text("kept")
    os.chown(folder / "sub/file", 11, 12)
    os.chmod(folder / "sub/file", 0o4711)
    (folder / "link").symlink_to("sub/file")
    change = mount("/full", "tmpfs", "tmpfs", "tmpcopyup", "ro")
    done = runtime.sh(
        "cat /full/link; stat -c ' %u %g %a' /full/sub/file; touch /full/x 2>&1 || true", change
    )
    assert done.lines == ["kept 11 12 4711", "touch: /full/x: Read-only file system"]


def test_idmapped_bind(runtime: Runtime, source: Path) -> None:
    maps = [{"containerID": 1234, "hostID": 42, "size": 1}]
    change = mount("/mnt", "bind", str(source), "bind", uidMappings=maps, gidMappings=maps)
    done = runtime.run(change, "stat", "-c", "%u %g", "/mnt/file")
    if "cannot be idmapped" in done.err:
        pytest.skip("the file system of the test's folder has no idmapped mounts")
    assert done.out.strip() == "42 42"


CGROUP_MOUNT = mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")


def test_cgroup_mount(runtime: Runtime) -> None:
    """In the host's cgroup namespace: v1 shows the own cgroup, v2 the whole tree; both read-only."""
    on_v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    place = "/sys/fs/cgroup" + ("$(cut -d: -f3 /proc/self/cgroup)" if on_v2 else "/memory")
    done = runtime.sh(f"cat /proc/self/cgroup {place}/cgroup.procs", CGROUP_MOUNT)
    assert any(runtime.parent in line for line in done.lines)
    assert "1" in done.lines
    refused = runtime.sh(f"mkdir {place}/x 2>&1 || true", CGROUP_MOUNT)
    assert "Read-only" in refused.out


def test_cgroup_namespace(runtime: Runtime) -> None:
    change = both(CGROUP_MOUNT, lambda config: config["linux"]["namespaces"].append({"type": "cgroup"}))
    done = runtime.sh(
        "cat /proc/self/cgroup; find /sys/fs/cgroup -name cgroup.procs | head -n 1 | xargs cat", change
    )
    assert runtime.parent not in done.out
    assert all(line.endswith(":/") for line in done.lines if ":" in line)
    assert "1" in done.lines


def test_limits_are_written(runtime: Runtime) -> None:
    resources = {"memory": {"limit": 64 << 20}, "pids": {"limit": 30}, "cpu": {"shares": 512}}
    id = runtime.start(put("linux", "resources", value=resources))
    places = " ".join(runtime.container_cgroups())
    values = {
        name: Path(folder, name).read_text().strip()
        for folder in places.split()
        for name in ("memory.limit_in_bytes", "memory.max", "pids.max")
        if Path(folder, name).exists()
    }
    assert values.pop("pids.max") == "30"
    assert set(values.values()) == {str(64 << 20)}
    runtime.call("delete", "--force", id)


def test_namespaces_are_joined_by_path(runtime: Runtime) -> None:
    first = runtime.start()
    pid = runtime.state(first)["pid"]

    def join(config: Config) -> None:
        config["linux"]["namespaces"] = [
            {"type": kind, "path": f"/proc/{pid}/ns/{short}"}
            for kind, short in (("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"))
        ] + [{"type": "mount"}]
        del config["hostname"]

    done = runtime.sh(
        "ps | grep -c '[s]leep 1000'; for n in pid net ipc uts; do readlink /proc/self/ns/$n; done", join
    )
    theirs = [os.readlink(f"/proc/{pid}/ns/{short}") for short in ("pid", "net", "ipc", "uts")]
    assert done.lines[0] == "1"
    assert done.lines[1:] == theirs
    runtime.call("delete", "--force", first)


MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def with_user_namespace(config: Config) -> None:
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = MAPS
    os.chmod(Path(config["root"]["path"]).parent, 0o700)  # not even search permission on the way to the root


def test_user_namespace(runtime: Runtime) -> None:
    done = runtime.sh(
        "id -u; cat /proc/self/uid_map | tr -s ' '; stat -c %u /bin/busybox; ls -l /dev/null",
        with_user_namespace,
    )
    assert done.lines[0] == "0"
    assert done.lines[1].split() == ["0", "100000", "65536"]
    assert done.lines[2] == "65534"
    assert done.lines[3].startswith("crw-rw-rw-")


def test_user_namespace_beside_a_joined_network(runtime: Runtime) -> None:
    first = runtime.start()
    pid = runtime.state(first)["pid"]

    def change(config: Config) -> None:
        with_user_namespace(config)
        config["linux"]["namespaces"][1] = {"type": "network", "path": f"/proc/{pid}/ns/net"}
        config["mounts"] = [entry for entry in config["mounts"] if entry["type"] != "sysfs"]

    done = runtime.sh("readlink /proc/self/ns/net; id -u", change)
    assert done.lines == [os.readlink(f"/proc/{pid}/ns/net"), "0"]
    runtime.call("delete", "--force", first)


def test_user_namespace_is_joined(runtime: Runtime) -> None:
    first = runtime.start(with_user_namespace)
    pid = runtime.state(first)["pid"]

    def change(config: Config) -> None:
        config["linux"]["namespaces"].append({"type": "user", "path": f"/proc/{pid}/ns/user"})

    done = runtime.sh("readlink /proc/self/ns/user; id -u; hostname", change)
    assert done.lines == [os.readlink(f"/proc/{pid}/ns/user"), "0", "probe"]
    inside = runtime.exec(first, "sh", "-c", "id -u; readlink /proc/self/ns/user")
    assert inside.lines == ["0", os.readlink(f"/proc/{pid}/ns/user")]
    runtime.call("delete", "--force", first)


def test_time_namespace(runtime: Runtime) -> None:
    def change(config: Config) -> None:
        config["linux"]["namespaces"].append({"type": "time"})
        config["linux"]["timeOffsets"] = {"monotonic": {"secs": 1000000}, "boottime": {"secs": 1000000}}

    up = float(runtime.sh("cut -d' ' -f1 /proc/uptime", change).out)
    assert up > 1000000


def test_no_mount_namespace_is_a_chroot(runtime: Runtime) -> None:
    def change(config: Config) -> None:
        config["linux"] = {"namespaces": [{"type": "pid"}], "cgroupsPath": config["linux"]["cgroupsPath"]}
        config["mounts"] = []
        del config["hostname"]

    done = runtime.sh("ls / | head -n 1; echo $$", change)
    assert done.lines == ["bin", "1"]


def test_no_pivot(runtime: Runtime) -> None:
    bundle = runtime.bundle(None, "sh", "-c", "ls /; ls /proc/1/status")
    done = runtime.call("run", "--no-pivot", "-b", str(bundle), runtime.new_id())
    assert "etc" in done.lines
    assert done.lines[-1] == "/proc/1/status"


def test_capability_sets(runtime: Runtime) -> None:
    def change(config: Config) -> None:
        config["process"]["capabilities"] = {
            "bounding": ["CAP_CHOWN", "CAP_KILL"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_CHOWN", "CAP_KILL"],
            "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        }
        config["process"]["user"] = {"uid": 5, "gid": 5}

    lines = dict(line.split() for line in runtime.sh("grep ^Cap /proc/self/status", change).lines)
    kill = "0000000000000020"
    both_caps = "0000000000000021"
    assert lines == {"CapInh:": kill, "CapPrm:": kill, "CapEff:": kill, "CapBnd:": both_caps, "CapAmb:": kill}


def test_seccomp_without_and_with_no_new_privileges(runtime: Runtime) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    for nnp in (True, False):
        change = both(put("linux", "seccomp", value=profile), put("process", "noNewPrivileges", value=nnp))
        done = runtime.sh("grep Seccomp: /proc/self/status; mkdir /tmp/x 2>&1 || true", change)
        assert done.lines == [
            "Seccomp:\t2",
            "mkdir: can't create directory '/tmp/x': Operation not supported",
        ] or (done.lines[0] == "Seccomp:\t2" and "not supported" in done.lines[1])


def test_hooks_run_in_order_with_the_state_on_stdin(runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()

    def hook(name: str, inside: bool = False) -> dict[str, Any]:
        shell = "/bin/sh" if inside else "/usr/bin/sh"
        script = f'read -r state; echo "{name} $state" >> "$LOG"; readlink /proc/self/ns/mnt >> "$LOG"'
        place = "/log/all" if inside else str(log / "all")
        return {"path": shell, "args": ["sh", "-c", script], "env": [f"LOG={place}", "PATH=/usr/bin:/bin"]}

    def change(config: Config) -> None:
        config["mounts"].append(
            {"destination": "/log", "type": "bind", "source": str(log), "options": ["bind"]}
        )
        config["hooks"] = {
            "prestart": [hook("prestart")],
            "createRuntime": [hook("createRuntime")],
            "createContainer": [hook("createContainer")],
            "startContainer": [hook("startContainer", inside=True)],
            "poststart": [hook("poststart")],
            "poststop": [hook("poststop")],
        }

    done = runtime.sh("echo main >> /log/all", change)
    assert done.code == 0
    lines = (log / "all").read_text().splitlines()
    host = os.readlink("/proc/self/ns/mnt")
    names = [line.split()[0] for line in lines if "{" in line]
    assert names == [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ]
    namespaces = dict(zip(names, [line for line in lines if line.startswith("mnt:")], strict=True))
    assert {name for name, where in namespaces.items() if where == host} == {
        "prestart",
        "createRuntime",
        "poststart",
        "poststop",
    }
    states = {line.split()[0]: json.loads(line.split(" ", 1)[1]) for line in lines if "{" in line}
    assert states["createRuntime"]["status"] == "creating"
    assert states["createRuntime"]["pid"] > 1
    assert states["startContainer"]["pid"] == 1
    assert states["poststop"]["status"] == "stopped"


@pytest.mark.parametrize(
    "name", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"]
)
def test_failing_hook_stops_the_container(runtime: Runtime, name: str, tmp_path: Path) -> None:
    shell = "/bin/sh" if name == "startContainer" else "/usr/bin/sh"
    bad = {"path": shell, "args": ["sh", "-c", "echo no luck >&2; exit 3"]}
    cleanup = {"path": "/usr/bin/touch", "args": ["touch", str(tmp_path / "cleaned")]}
    change = put("hooks", value={name: [bad], "poststop": [cleanup]})
    before = runtime.container_cgroups()
    done = runtime.run(change, "sleep", "1000")
    assert done.code == 1
    assert f"hooks.{name}[0]" in done.err
    assert "ended with code 3: no luck" in done.err
    assert (tmp_path / "cleaned").exists()
    assert runtime.container_cgroups() == before


def test_hook_timeout(runtime: Runtime) -> None:
    slow = {"path": "/usr/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}
    done = runtime.run(put("hooks", value={"createRuntime": [slow]}))
    assert "took longer than 1 s" in done.err


BAD = [
    pytest.param(
        put("process", "args", value=["nosuch"]),
        'exec: "nosuch": executable file not found in $PATH',
        id="name",
    ),
    pytest.param(
        put("process", "args", value=["/no/such"]),
        'exec: "/no/such": stat /no/such: no such file or directory',
        id="path",
    ),
    pytest.param(
        put("process", "args", value=["/etc/passwd"]), 'exec: "/etc/passwd": permission denied', id="no x bit"
    ),
    pytest.param(put("process", "args", value=["/etc"]), 'exec: "/etc": is a directory', id="directory"),
    pytest.param(put("process", "args", value=[]), "process.args: must name a program", id="no args"),
    pytest.param(
        put("process", "cwd", value="tmp"), "process.cwd: must be an absolute path", id="relative cwd"
    ),
    pytest.param(put("process", "cwd", value="/etc/passwd"), "/etc/passwd", id="cwd is a file"),
    pytest.param(
        put("process", "capabilities", "bounding", value=["CAP_FLY"]),
        "unknown capability 'CAP_FLY'",
        id="capability",
    ),
    pytest.param(
        put("process", "rlimits", value=[{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
        "no limit 'RLIMIT_X'",
        id="limit",
    ),
    pytest.param(
        put("process", "env", value=["NOVALUE"]), "process.env[0]: 'NOVALUE' is not NAME=value", id="env"
    ),
    pytest.param(put("root", "path", value="/no/such/root"), "root.path", id="root"),
    pytest.param(
        put("linux", "sysctl", value={"kernel.core_pattern": "|/x"}),
        "belongs to no namespace",
        id="sysctl of the host",
    ),
    pytest.param(
        put("linux", "sysctl", value={"net.ipv4.nothing": "1"}),
        "linux.sysctl.net.ipv4.nothing",
        id="no such sysctl",
    ),
    pytest.param(
        mount("/mnt", "bind", "/no/such/source", "bind"),
        "'/no/such/source' of /mnt does not exist",
        id="source",
    ),
    pytest.param(
        mount("/mnt", "bind", "/tmp", "bind", "size=3"),
        "mounts[6].options: a bind mount cannot have 'size=3'",
        id="option",
    ),
    pytest.param(mount("/mnt", "nosuchfs", "x"), "nosuchfs", id="file system"),
    pytest.param(mount("/mnt", "tmpfs", "x", "size=banana"), "size", id="file system option"),
    pytest.param(mount("/proc/sys", "tmpfs", "x"), "inside a procfs", id="mount in proc"),
    pytest.param(mount("/proc", "bind", "/tmp", "bind"), "/proc", id="volume over proc"),
    pytest.param(put("linux", "mountLabel", value="x"), "linux.mountLabel", id="mount label"),
    pytest.param(put("linux", "intelRdt", value={"closID": "x"}), "linux.intelRdt", id="intel rdt"),
    pytest.param(put("process", "selinuxLabel", value="a:b:c"), "process.selinuxLabel", id="selinux"),
    pytest.param(
        put("linux", "resources", value={"memory": {"limit": "1"}}),
        "linux.resources.memory.limit: must be a whole number",
        id="type",
    ),
    pytest.param(
        put("linux", "namespaces", value=[{"type": "mount"}, {"type": "net"}]),
        "linux.namespaces[1].type",
        id="namespace",
    ),
    pytest.param(put("ociVersion", value="2.0"), "ociVersion", id="version"),
    pytest.param(
        put("linux", "seccomp", value={"defaultAction": "SCMP_ACT_MAYBE"}),
        "linux.seccomp.defaultAction",
        id="seccomp",
    ),
    pytest.param(put("hostname", value="x" * 65), "hostname", id="long hostname"),
    pytest.param(put("linux", "cgroupsPath", value="/sampan/../../etc"), "cgroup path", id="cgroup path"),
    pytest.param(
        put("linux", "resources", value={"cpu": {"cpus": "0-9223372036854775807"}}),
        "cpus",
        id="CVE-2018-20699",
    ),
]


@pytest.mark.parametrize(("change", "text"), BAD)
def test_wrong_bundle_is_named_and_leaves_nothing(runtime: Runtime, change: Any, text: str) -> None:
    before = left_behind(runtime)
    done = runtime.run(change)
    assert done.code == 1
    assert text in done.err
    assert len(done.err.splitlines()) <= 2
    assert left_behind(runtime) == before


def left_behind(runtime: Runtime) -> tuple[list[str], list[str]]:
    state = runtime.folder / "state"
    return runtime.container_cgroups(), sorted(os.listdir(state)) if state.exists() else []
