"""config.json as a whole: golden files, and the OCI schema as judge."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.engine.plans import MIB, V2_MACHINE, make_plan

from sampan.engine.bundle.config import make_bundle
from sampan.engine.bundle.plan import BundlePlan, DeviceNode, Joins
from sampan.engine.files.users import User
from sampan.spec import docker
from sampan.spec.config import parse_config

GOLDEN = Path(__file__).parent / "golden"

PLANS = {
    "plain": make_plan(),
    "tty-user-v2": make_plan(
        config=docker.Config(
            Entrypoint=["/bin/app"],
            Cmd=["--serve"],
            Env=["A=1", "PATH=/bin"],
            Tty=True,
            WorkingDir="/srv/",
            Hostname="web",
            Domainname="example.test",
            Image="app",
        ),
        host=docker.HostConfig(ConsoleSize=[24, 80], NetworkMode="none"),
        machine=V2_MACHINE,
        user=User(uid=1000, gid=1000, groups=(1000, 20), home="/home/app"),
    ),
    "limits-and-mounts": make_plan(
        host=docker.HostConfig(
            Memory=64 * MIB,
            NanoCpus=1_500_000_000,
            CpuShares=512,
            CpusetCpus="0-1",
            PidsLimit=100,
            Binds=["/srv/data:/data:ro", "/srv/shared:/data/inner:shared"],
            Mounts=[
                docker.Mount(
                    Type="tmpfs",
                    Target="/cache",
                    TmpfsOptions=docker.TmpfsOptions(SizeBytes=MIB, Mode=0o1777),
                ),
                docker.Mount(Type="bind", Source="/etc/os-release", Target="/etc/os-release", ReadOnly=True),
            ],
            Tmpfs={"/run": "size=64k,exec"},
            ReadonlyRootfs=True,
            ShmSize=MIB,
            Ulimits=[docker.Ulimit(Name="nofile", Soft=100, Hard=200)],
            Sysctls={"net.ipv4.ip_forward": "1"},
            OomScoreAdj=500,
            CapAdd=["net_admin"],
            CapDrop=["CAP_CHOWN"],
            SecurityOpt=["no-new-privileges", "mask=/proc/version"],
            Annotations={"a": "b"},
        ),
    ),
    "privileged-host": make_plan(
        host=docker.HostConfig(
            Privileged=True,
            NetworkMode="host",
            PidMode="host",
            IpcMode="host",
            UTSMode="host",
            CgroupnsMode="host",
        ),
        devices=(
            DeviceNode(path="/dev/kmsg", kind="c", major=1, minor=11, mode=0o600, uid=0, gid=0, access=""),
        ),
    ),
    "joined": make_plan(
        host=docker.HostConfig(
            NetworkMode="container:other",
            PidMode="container:other",
            SecurityOpt=["seccomp=unconfined", "apparmor=unconfined"],
            Devices=[docker.DeviceMapping(PathOnHost="/dev/fuse")],
            DeviceCgroupRules=["c 10:* rw"],
        ),
        joins=Joins(network="/proc/1/fd/7", pid="/proc/1/fd/8"),
        devices=(
            DeviceNode(
                path="/dev/fuse", kind="c", major=10, minor=229, mode=0o666, uid=0, gid=0, access="rw"
            ),
        ),
    ),
}


def document_of(plan: BundlePlan) -> dict[str, Any]:
    return json.loads(msgspec.json.encode(make_bundle(plan).document))


@pytest.mark.parametrize("name", PLANS)
def test_golden(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole document, as it was reviewed. `SAMPAN_GOLDEN=write pytest …` writes the files anew."""
    monkeypatch.setattr("socket.gethostname", lambda: "the-host")
    document = document_of(PLANS[name])
    document["linux"].pop("seccomp", None)  # large, and tested for itself
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    path = GOLDEN / f"{name}.json"
    if os.environ.get("SAMPAN_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", PLANS)
def test_runtime_accepts(name: str) -> None:
    parse_config(document_of(PLANS[name]))


def test_default_has_seccomp_and_privileged_not() -> None:
    assert document_of(PLANS["plain"])["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert "seccomp" not in document_of(PLANS["privileged-host"])["linux"]
    assert "seccomp" not in document_of(PLANS["joined"])["linux"]


def test_other_user_than_root_has_no_effective_capabilities() -> None:
    sets = document_of(PLANS["tty-user-v2"])["process"]["capabilities"]
    assert "CAP_CHOWN" in sets["bounding"]
    assert not sets.get("effective")
    assert not sets.get("permitted")
    assert not sets.get("inheritable")
    assert not sets.get("ambient")


def test_root_has_no_inheritable_or_ambient_capabilities() -> None:
    """CVE-2022-24769."""
    sets = document_of(PLANS["plain"])["process"]["capabilities"]
    assert len(sets["effective"]) == 14
    assert not sets.get("inheritable")
    assert not sets.get("ambient")


def test_custom_seccomp_profile_is_resolved() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
        ],
    }
    plan = make_plan(host=docker.HostConfig(SecurityOpt=[f"seccomp={json.dumps(profile)}"]))
    seccomp = document_of(plan)["linux"]["seccomp"]
    assert [rule["names"] for rule in seccomp["syscalls"]] == [["read"], ["ptrace"]]
    assert seccomp["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]


def test_warnings_name_what_was_lowered() -> None:
    plan = make_plan(host=docker.HostConfig(Ulimits=[docker.Ulimit(Name="nofile", Soft=50_000, Hard=50_000)]))
    (warning,) = make_bundle(plan).warnings
    assert "RLIMIT_NOFILE is lowered to 20000" in warning
