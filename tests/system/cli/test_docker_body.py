"""The same flags make docker's client and ours ask for the same container; docker itself is the judge."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.cli.harness import sampan
from tests.system.cli.recorder import Recorder

DOCKER = "/usr/local/bin/docker" if Path("/usr/local/bin/docker").exists() else shutil.which("docker")
pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(DOCKER is None, reason="needs docker's command line client"),
]
# What docker's client sends where nothing was asked for, and a daemon takes to mean just that.
NEUTRAL = {"NetworkMode": "default", "MemorySwappiness": -1, "RestartPolicy": {"Name": "no"}}

UNORDERED = ("Env", "Binds")  # docker's client walks these through a map: another order each time


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    server = Recorder(tmp_path)
    yield server
    server.close()


def essence(value: Any, key: str = "") -> Any:
    """Return a body without its neutral values: nulls, zeros, empty things."""
    if isinstance(value, dict):
        found = {name: essence(item, name) for name, item in value.items()}
        # A flag whose neutral value differs from an absent one is kept where it was set on purpose.
        return {name: item for name, item in found.items() if item not in (None, "", 0, False, [], {}, [0, 0])
                and NEUTRAL.get(name, ...) != item}  # fmt: skip
    if isinstance(value, list):
        return sorted(value) if key in UNORDERED else [essence(item) for item in value]
    return value


CASES = {
    "nothing": "",
    "a command": "busybox echo hi",
    "terminal": "-it -h box -u 1:2 -w /tmp --domainname example.org",
    "attach": "-a stdout",
    "entry point": "--entrypoint /bin/sh",
    "empty entry point": "--entrypoint ''",
    "environment": "-e A=b -e HOME -e NOTSET --env-file FILE",
    "labels": "-l a=b -l c --label-file FILE --annotation x=y",
    "memory": "-m 64m --memory-reservation 32m --memory-swap -1 --memory-swappiness 10",
    "cpu": "--cpus 1.5 -c 512 --cpuset-cpus 0-1 --cpuset-mems 0",
    "cpu periods": "--cpu-period 50000 --cpu-quota 25000 --cpu-rt-period 9 --cpu-rt-runtime 8",
    "limits": "--pids-limit 5 --ulimit nofile=10:20 --ulimit core=0 --shm-size 1m",
    "oom": "--oom-kill-disable --oom-score-adj 5",
    "disks": (
        "--blkio-weight 100 --blkio-weight-device /dev/sda:200 --device-read-bps /dev/sda:1m "
        "--device-write-bps /dev/sda:2m --device-read-iops /dev/sda:3 --device-write-iops /dev/sda:4"
    ),
    "binds": "-v /a:/b:ro -v name:/c -v /anonymous --volumes-from x:ro --volume-driver d",
    "mounts": (
        "--mount type=bind,src=/tmp,dst=/x,ro,bind-propagation=rslave --mount "
        "type=tmpfs,dst=/y,tmpfs-size=1m,tmpfs-mode=1777 --mount "
        "src=v,dst=/z,volume-nocopy,volume-label=a=b --mount "
        "type=bind,src=/tmp,dst=/w,bind-recursive=disabled --mount dst=/anon"
    ),
    "parts of mounts": (
        "--mount type=volume,src=v,dst=/a,volume-subpath=x/y,volume-driver=d,volume-opt=k=v,volume-opt=l=w "
        "--mount type=image,src=i,dst=/b,image-subpath=etc --mount type=volume,dst=/c,readonly=false "
        "--mount type=bind,src=/tmp,dst=/d,readonly,bind-recursive=writable --mount "
        "type=bind,src=/tmp,dst=/e,readonly,bind-recursive=readonly,bind-propagation=rprivate"
    ),
    "temporary": "--tmpfs /run:size=1m --tmpfs /t --read-only",
    "devices": "--device /dev/null:/dev/n:rw --device /dev/zero --device-cgroup-rule 'c 1:3 rwm'",
    "rights": "--cap-add net_admin --cap-add CAP_SYS_TIME --cap-drop ALL --privileged --group-add audio",
    "security": (
        "--security-opt no-new-privileges --security-opt seccomp=unconfined --security-opt label=disable "
        "--security-opt label:level:s0"
    ),
    "a seccomp profile": "--security-opt seccomp=PROFILE",
    "namespaces": "--pid host --ipc host --uts host --userns host --cgroupns host",
    "names": (
        "--dns 1.1.1.1 --dns-option ndots:1 --dns-search example.org --add-host a:1.2.3.4 --add-host b=::1"
    ),
    "network none": "--network none",
    "network settings": "--network front --ip 1.2.3.4 --network-alias web --link db:db",
    "two networks": "--network name=front,alias=web,ip=1.2.3.4,gw-priority=5 --network back",
    "ports": "-p 80:80 -p 127.0.0.1:8080:81/udp -p 90 -p 8000-8001:100-101 --expose 95-96",
    "all ports": "-P --expose 90/udp",
    "sysctl and storage": "--sysctl net.x=1 --storage-opt size=1g",
    "health": (
        "--health-cmd true --health-interval 3s --health-retries 2 --health-timeout 1m30s "
        "--health-start-period 5s"
    ),
    "no health": "--no-healthcheck",
    "end": "--rm --init --stop-signal INT --stop-timeout 3",
    "restart": "--restart on-failure:3",
    "logs": "--log-driver json-file --log-opt max-size=1m",
    "runtime": "--runtime crun --cgroup-parent /p --isolation default --platform linux/amd64",
    "name": "--name web --pull never",
}


# Docker's client sends these as ours does, or knows these flags, since 28; Debian 13 has 26.
SINCE_28 = ("disks", "rights", "two networks", "parts of mounts")


def docker_version() -> int:
    """Return the major version of docker's client; 0 without one."""
    if DOCKER is None:
        return 0
    said = subprocess.run([DOCKER, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[2].partition(".")[0])


@pytest.mark.parametrize("name", CASES)
def test_both_ask_for_the_same(name: str, recorder: Recorder, tmp_path: Path) -> None:
    flags = CASES[name]
    if name in SINCE_28 and docker_version() < 28:
        pytest.skip("needs docker's client 28 or newer")
    (tmp_path / "file").write_text("# comment\nF=1\nG=two words\n")
    (tmp_path / "profile").write_text('{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [] }')
    places = {"FILE": str(tmp_path / "file"), "seccomp=PROFILE": f"seccomp={tmp_path}/profile"}
    words = [places.get(word, word) for word in shlex.split(flags)]
    words = words if "busybox" in words else [*words, "busybox"]
    done = subprocess.run(
        [str(DOCKER), "-H", recorder.host, "create", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "DOCKER_CONFIG": str(tmp_path)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    ours = sampan(recorder.host, "create", *words)
    assert ours.code == 0, ours.err
    (their_query, theirs), (our_query, mine) = recorder.asked
    assert our_query == their_query
    assert essence(mine) == essence(theirs)


@pytest.mark.parametrize(
    "flags",
    [
        ["-m", "lots"],
        ["--cpus", "x"],
        ["--ulimit", "x"],
        ["--rm", "--restart", "always"],
        ["--mount", "type=bind,src=/a"],
        ["-p", "99999"],
        ["--env-file", "/no/such/file"],
        ["--memory-swappiness", "101"],
        ["--security-opt", "x"],
        ["--add-host", "x"],
        ["--no-such-flag"],
        ["--health-interval", "3"],
        ["-a", "std"],
        ["--device", "a:b:c:d"],
        ["--blkio-weight-device", "x"],
        ["--no-healthcheck", "--health-cmd", "x"],
    ],
)
def test_both_refuse_the_same_with_the_same_code(
    flags: list[str], recorder: Recorder, tmp_path: Path
) -> None:
    done = subprocess.run(
        [str(DOCKER), "-H", recorder.host, "create", *flags, "busybox"],
        capture_output=True,
        env={**os.environ, "DOCKER_CONFIG": str(tmp_path)},
        timeout=60,
    )
    ours = sampan(recorder.host, "create", *flags, "busybox")
    assert (ours.code, done.returncode) == (125, 125)
    assert recorder.asked == []
