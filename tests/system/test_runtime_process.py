"""config.json, "process": who the program is and what it may use, seen from inside a real container."""

from __future__ import annotations

import platform
from typing import Any

import pytest
from tests.system.bundles import Config, Runtime, both, check_field, needs_busybox, needs_root, put

pytestmark = [needs_root, needs_busybox]


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
        put("linux", "personality", value={"domain": "LINUX32"}),
        "uname -m",
        "i686" if platform.machine() == "x86_64" else platform.machine(),
        id="personality",
    ),
    pytest.param(put("process", "apparmorProfile", value="unconfined"), "true", "", id="apparmor unconfined"),
    pytest.param(put("annotations", value={"a.b": "c"}), "true", "", id="annotations"),
]


@pytest.mark.parametrize(("change", "script", "wanted"), CASES)
def test_field(runtime: Runtime, change: Any, script: str, wanted: str | None) -> None:
    check_field(runtime, change, script, wanted)


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
