"""What a container is given by default, seen from inside, beside what dockerd from Debian gives.

Source of the differences that are meant: docs/conformance.md, "Default posture".
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from bench import engines
from tests.system.sampand import Sampand, busybox_tar, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox, pytest.mark.peers]

SECTIONS = {
    "status": "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status",
    "mounts": "cat /proc/self/mountinfo",
    "devices": "ls -l /dev",
    "limits": "cat /proc/self/limits",
    "sysctls": "cd /proc/sys/net/ipv4; cat ping_group_range ip_unprivileged_port_start",
    "identity": "id; umask; cat /proc/self/oom_score_adj",
    "environment": "env | grep -v ^HOSTNAME",
    "descriptors": "ls -l /proc/self/fd | sed 's/.* //; s/:.*//'",
    "processes": "set -- /proc/[0-9]*; echo $#",  # by the shell: a pipe's own processes come and go
}
MARK = "=== "


def probe(command: tuple[str, ...]) -> dict[str, list[str]]:
    """Run every section in one container; return its lines, keyed by the section's name."""
    script = "; ".join(f"echo '{MARK}{name}'; ({text})" for name, text in SECTIONS.items())
    done = subprocess.run([*command, "sh", "-c", script], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            found[line.removeprefix(MARK)] = section = []
        else:
            section.append(line)
    return found


@pytest.fixture(scope="module")
def postures(sampand: Sampand) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """(docker's, sampan's)."""
    if not Path("/usr/sbin/dockerd").exists():
        pytest.skip("dockerd is not installed (Debian: docker.io)")
    arguments = ("run", "--rm", "--network", "none", "probe")
    ours_client = ("/usr/bin/docker", "-H", sampand.host)
    with engines.scratch(Path("/var/tmp")) as root, engines.dockerd(root / "docker") as docker:
        for client in (ours_client, docker.client):
            command = [*client, "import", "-", "probe"]
            subprocess.run(command, input=busybox_tar(), check=True, capture_output=True)
        theirs = probe((*docker.client, *arguments))
    ours = probe((*ours_client, *arguments))
    return theirs, ours


Postures = tuple[dict[str, list[str]], dict[str, list[str]]]


@pytest.mark.parametrize(
    "section", ["status", "sysctls", "identity", "environment", "descriptors", "processes"]
)
def test_equal(postures: Postures, section: str) -> None:
    theirs, ours = postures
    assert ours[section] == theirs[section]


def test_same_device_nodes(postures: Postures) -> None:
    def nodes(lines: list[str]) -> set[tuple[str, ...]]:
        rows = [line.split() for line in lines]
        return {(row[0], row[4], row[5], row[-1]) for row in rows if row[0][0] in "cb"}

    theirs, ours = postures
    assert nodes(ours["devices"]) == nodes(theirs["devices"])


def test_limits_differ_in_core_dumps_only(postures: Postures) -> None:
    theirs, ours = postures
    different = {line for line in {*theirs["limits"]} ^ {*ours["limits"]} if "core file size" not in line}
    assert different == set()


def _mounts(lines: list[str]) -> dict[str, tuple[str, frozenset[str], str]]:
    """Return (file system, options of the mount, root within it) by mount point."""
    found = {}
    for line in lines:
        fields, _, tail = line.partition(" - ")
        words = fields.split()
        found[words[4]] = (tail.split()[0], frozenset(words[5].split(",")), words[3])
    return found


def test_mounts(postures: Postures) -> None:
    theirs, ours = (_mounts(posture["mounts"]) for posture in postures)
    assert theirs.keys() - ours.keys() == set()
    # More is masked than by the older engine; nothing else is added.
    assert all(
        path.startswith(("/proc/", "/sys/")) and ({"ro"} & options or root == "/null")
        for path, (_, options, root) in ours.items()
        if path not in theirs
    )
    weaker = {
        path: (ours[path], theirs[path])
        for path in theirs
        if not theirs[path][1] - {"rw", "relatime"} <= ours[path][1] or ours[path][0] != theirs[path][0]
        if ours[path][2] != "/null"  # a masked file: the host's null device instead of the container's
    }
    assert weaker == {}


def test_a_masked_file_cannot_change_the_host_s_null_device(sampand: Sampand) -> None:
    before = Path("/dev/null").stat()
    script = "chmod 600 /proc/keys; chown 1:1 /proc/timer_list; echo x > /proc/keys && wc -c < /proc/keys"
    command = ["/usr/bin/docker", "-H", sampand.host, "run", "--rm", "--network", "none", "busybox"]
    done = subprocess.run([*command, "sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
    assert done.stderr.count("Read-only file system") == 2
    after = Path("/dev/null").stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
