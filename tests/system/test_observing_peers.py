"""Events, stats, disk usage and facts beside those of dockerd from Debian: same commands, same shapes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from bench import engines
from tests.system.sampand import DOCKERS, Sampand, UnixConnection, busybox_tar, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox, pytest.mark.peers]

DOCKER = "/usr/bin/docker"
# Each line is a docker command; what it does to events is compared.
SCRIPT = """
create --name c1 --label tier=back --network none probe sleep 1000
start c1
exec c1 echo hi
pause c1
unpause c1
rename c1 c2
update --memory 64m --memory-swap 64m c2
top c2
kill -s USR1 c2
stop -t 0 c2
start c2
restart -t 0 c2
tag probe other:1
rmi other:1
volume create v1
volume rm v1
rm -f c2
run --rm --name oom --network none -m 8m --memory-swap 8m probe sh -c x=a;while\\x20:;do\\x20x=$x$x;done
create --name p1 --network none probe true
container prune -f
image prune -f
network prune -f
builder prune -f
"""


@dataclass
class Daemon:
    """A docker socket."""

    socket: str

    def docker(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [DOCKER, "-H", f"unix://{self.socket}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)

    def get(self, path: str, *, method: str = "GET") -> tuple[int, Any]:
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, f"/v1.41{path}")
            response = connection.getresponse()
            text = response.read()
            return response.status, [json.loads(line) for line in text.splitlines() if line.strip()]
        finally:
            connection.close()

    def run_script(self) -> list[dict[str, Any]]:
        """Run the commands and return the events."""
        self.docker("import", "-", "probe", stdin=busybox_tar())
        start = time.time()
        for line in SCRIPT.strip().splitlines():
            self.docker(*(word.replace("\\x20", " ") for word in line.split(" ")))
        status, events = self.get(f"/events?since={start:.9f}&until={time.time() + 0.01:.9f}")
        assert status == 200, events
        return list(events)


@dataclass
class Pair:
    """dockerd and ours, and what the script's events were."""

    theirs: Daemon
    ours: Daemon
    their_events: list[dict[str, Any]]
    our_events: list[dict[str, Any]]

    def both(self, path: str, *, method: str = "GET") -> tuple[tuple[int, Any], tuple[int, Any]]:
        return self.theirs.get(path, method=method), self.ours.get(path, method=method)


@pytest.fixture(scope="module")
def pair(sampand: Sampand) -> Iterator[Pair]:
    if not Path("/usr/sbin/dockerd").exists() or not Path(DOCKER).exists():
        pytest.skip("dockerd is not installed (Debian: docker.io)")
    # a short path: containerd's sockets below it are at most 108 bytes long (unix(7))
    with engines.scratch(Path("/var/tmp")) as root, engines.dockerd(root / "d") as docker:
        assert docker.socket is not None
        theirs, ours = Daemon(docker.socket), Daemon(sampand.socket)
        pair = Pair(theirs, ours, theirs.run_script(), ours.run_script())
        running = ("run", "-d", "--name", "runs", "--network", "none", "-m", "64m", "probe", "sleep", "1000")
        for daemon in (theirs, ours):
            assert daemon.docker(*running).returncode == 0
            daemon.docker("create", "--name", "new", "--network", "none", "probe", "true")
        try:
            yield pair
        finally:
            for daemon in (theirs, ours):
                daemon.docker("rm", "-f", "runs", "new")


def shape(event: dict[str, Any]) -> tuple[Any, ...]:
    """What of an event does not depend on the run."""
    attributes = event["Actor"]["Attributes"]
    keys = set(attributes) - {"execDuration"}  # since Docker 23
    extra = sorted(key for key in ("status", "id", "from") if key in event)
    return event["Type"], event["Action"].partition(":")[0], event["scope"], sorted(keys), extra


def without_networks(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what comes with networks (dockerd tells them for `none` too) and volumes made twice."""
    return [one for one in events if (one["Type"], one["Action"]) not in _NETWORK]


def stops_in_order(shapes: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Put `die` before the `stop` beside it: dockerd tells them in two threads, in either order."""
    ordered = list(shapes)
    for number, (first, second) in enumerate(pairwise(shapes)):
        if (first[1], second[1]) == ("stop", "die"):
            ordered[number : number + 2] = [second, first]
    return ordered


_NETWORK = (("network", "connect"), ("network", "disconnect"))


def test_events_are_the_same(pair: Pair) -> None:
    theirs = stops_in_order([shape(event) for event in without_networks(pair.their_events)])
    ours = [shape(event) for event in without_networks(pair.our_events)]
    assert ours == [one for one in theirs if one[0] != "volume" or one in ours]


def test_values_of_event_attributes(pair: Pair) -> None:
    def values(events: list[dict[str, Any]], action: str, key: str) -> list[str]:
        return [one["Actor"]["Attributes"].get(key, "") for one in events if one["Action"] == action]

    for action, key in (
        ("kill", "signal"),
        ("die", "exitCode"),
        ("rename", "oldName"),
        ("create", "tier"),
        ("exec_die", "exitCode"),
        ("tag", "name"),
    ):
        assert values(pair.our_events, action, key) == values(pair.their_events, action, key), (action, key)


def keys_of(value: Any, path: str = "") -> set[str]:
    """Return the paths of all keys; members of lists and maps by name are one."""
    if isinstance(value, dict):
        return {f"{path}.{key}" for key in value} | {
            one for key, inner in value.items() for one in keys_of(inner, f"{path}.{key}")
        }
    if isinstance(value, list) and value:
        return keys_of(value[0], f"{path}[]")
    return set()


ONE_SHOT_MAY_LACK = {"stream=0&one-shot=1": {".name", ".id"}}


@pytest.mark.parametrize("query", ["stream=0&one-shot=1", "stream=0"])
def test_stats_have_the_same_fields(pair: Pair, query: str) -> None:
    (_, (theirs,)), (_, (ours,)) = pair.both(f"/containers/runs/stats?{query}")
    kernel = (".memory_stats.stats.", ".blkio_stats.")  # more lines, and whether the disk was used
    left = {one for one in keys_of(theirs) - keys_of(ours) if not one.startswith(kernel)}
    new = {one for one in keys_of(ours) - keys_of(theirs) if not one.startswith(kernel)}
    assert left == set()
    # Ours has a limit of processes by default; Docker 26 leaves name and id out of a single answer.
    assert new - ONE_SHOT_MAY_LACK.get(query, set()) == {".pids_stats.limit"}
    assert theirs["memory_stats"]["limit"] == ours["memory_stats"]["limit"] == 64 << 20
    if query == "stream=0":
        assert ours["precpu_stats"].keys() == theirs["precpu_stats"].keys()


def test_stats_of_what_does_not_run(pair: Pair) -> None:
    (_, (theirs,)), (_, (ours,)) = pair.both("/containers/new/stats?stream=0")
    assert {**theirs, "id": ""} == {**ours, "id": ""}


def test_disk_usage_has_the_same_fields(pair: Pair) -> None:
    (_, (theirs,)), (_, (ours,)) = pair.both("/system/df")
    assert theirs.keys() - ours.keys() <= {"BuilderSize"}  # gone since API 1.42
    names = {one["RepoTags"][0]: one for one in ours["Images"] if one["RepoTags"]}
    probe = next(one for one in theirs["Images"] if "probe:latest" in (one["RepoTags"] or ()))
    assert probe.keys() - names["probe:latest"].keys() == set()
    for key in ("Size", "VirtualSize", "Containers"):
        assert names["probe:latest"][key] == probe[key], key


OLD_INFO = {
    ".BridgeNfIp6tables", ".BridgeNfIptables", ".ContainerdCommit.Expected", ".InitCommit.Expected",
    ".KernelMemory", ".KernelMemoryTCP", ".RuncCommit.Expected",
    ".RegistryConfig.AllowNondistributableArtifactsCIDRs",
    ".RegistryConfig.AllowNondistributableArtifactsHostnames",
}  # fmt: skip


def test_info_has_the_same_fields(pair: Pair) -> None:
    (_, (theirs,)), (_, (ours,)) = pair.both("/info")
    gone = {one for one in keys_of(theirs) - keys_of(ours) if not one.startswith(".Runtimes.")}
    assert gone - OLD_INFO == set()
    same = ("NCPU", "MemTotal", "KernelVersion", "OperatingSystem", "OSVersion", "OSType", "Architecture")
    same += (
        "MemoryLimit",
        "SwapLimit",
        "CpuCfsQuota",
        "CPUSet",
        "PidsLimit",
        "CgroupDriver",
        "CgroupVersion",
    )
    same += ("OomKillDisable", "Name", "Driver", "Swarm", "Isolation", "IndexServerAddress")
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}


@pytest.mark.parametrize("cli", [path for path in DOCKERS.values() if Path(path).exists()])
def test_docker_info_and_version_print(pair: Pair, cli: str) -> None:
    for command in ("info", "version"):
        shown = subprocess.run(
            [cli, "-H", f"unix://{pair.ours.socket}", command], capture_output=True, text=True, check=False
        )
        assert shown.returncode == 0, shown.stderr
        assert "panic" not in shown.stderr
        assert "<nil>" not in shown.stdout
    for line in (" Storage Driver: overlay2", " Swarm: inactive", "  seccomp", " Live Restore Enabled: true"):
        assert (
            line
            in subprocess.run(
                [cli, "-H", f"unix://{pair.ours.socket}", "info"], capture_output=True, text=True, check=False
            ).stdout
        )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", f"/{noun}") for noun in "swarm nodes services tasks secrets configs".split()),
        *(("GET", f"/{noun}/x") for noun in "nodes services tasks secrets configs".split()),
        *(("DELETE", f"/{noun}/x") for noun in "nodes services secrets configs".split()),
        ("GET", "/swarm/unlockkey"),
        ("GET", "/services/x/logs?stdout=1"),
        ("GET", "/tasks/x/logs?stdout=1"),
        ("POST", "/swarm/leave"),
        ("GET", "/plugins"),
        ("GET", "/containers/nothing/stats"),
        ("GET", "/containers/runs/stats?one-shot=1"),
        ("GET", f"/containers/runs/top?ps_args={quote('-o comm')}"),
    ],
)
def test_answers_are_the_same(pair: Pair, method: str, path: str) -> None:
    theirs, ours = pair.both(path, method=method)
    assert ours == theirs


def test_ps_and_top_print_the_same(pair: Pair) -> None:
    theirs, ours = (daemon.docker("top", "runs", "-eo", "pid,args") for daemon in (pair.theirs, pair.ours))
    assert [line.split()[1:] for line in ours.stdout.decode().splitlines()] == [
        line.split()[1:] for line in theirs.stdout.decode().splitlines()
    ]
    assert os.path.exists(pair.ours.socket)
