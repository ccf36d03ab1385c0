"""config.json, the root file system: read-only, masked, devices, pivot_root or not, seen from inside."""

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.system.bundles import Config, Runtime, check_field, needs_busybox, needs_root, put

pytestmark = [needs_root, needs_busybox]


CASES = [
    pytest.param(
        put("root", "readonly", value=True), "touch /x 2>&1", "touch: /x: Read-only file system", id="ro"
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
        put("linux", "rootfsPropagation", value="shared"),
        "grep -c ' / / .* shared:' /proc/self/mountinfo; true",
        None,
        id="root propagation",
    ),
]


@pytest.mark.parametrize(("change", "script", "wanted"), CASES)
def test_field(runtime: Runtime, change: Any, script: str, wanted: str | None) -> None:
    check_field(runtime, change, script, wanted)


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
