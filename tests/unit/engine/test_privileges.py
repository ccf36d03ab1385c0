from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.engine.plans import MACHINE

from sampan.engine.bundle import posture
from sampan.engine.bundle.privileges import (
    SecurityOptions,
    choose_capabilities,
    choose_paths,
    parse_security_options,
)
from sampan.errors import InvalidArgument, Unsupported
from sampan.spec import docker


def chosen(**host: object) -> set[str]:
    return set(choose_capabilities(docker.HostConfig(**host), MACHINE))  # type: ignore[arg-type]  # table below


DEFAULT = set(posture.CAPABILITIES)


@pytest.mark.parametrize(
    ("host", "want"),
    [
        pytest.param({}, DEFAULT, id="default"),
        pytest.param({"CapAdd": ["net_admin"]}, DEFAULT | {"CAP_NET_ADMIN"}, id="added, in any case"),
        pytest.param({"CapDrop": ["CAP_CHOWN"]}, DEFAULT - {"CAP_CHOWN"}, id="dropped"),
        pytest.param({"CapDrop": ["all"]}, set(), id="all dropped"),
        pytest.param({"CapDrop": ["ALL"], "CapAdd": ["KILL"]}, {"CAP_KILL"}, id="all but one"),
        pytest.param({"CapAdd": ["ALL"]}, set(MACHINE.capabilities), id="all means all we have"),
        pytest.param(
            {"CapAdd": ["ALL"], "CapDrop": ["SYS_ADMIN"]},
            set(MACHINE.capabilities) - {"CAP_SYS_ADMIN"},
            id="all - 1",
        ),
        pytest.param({"Privileged": True}, set(MACHINE.capabilities), id="privileged"),
    ],
)
def test_capabilities(host: dict[str, object], want: set[str]) -> None:
    assert chosen(**host) == want


def test_unknown_capability_is_never_all() -> None:
    with pytest.raises(InvalidArgument, match='invalid CapAdd: unknown capability: "CAP_NOSUCH"'):
        chosen(CapAdd=["nosuch"])
    with pytest.raises(InvalidArgument, match="invalid CapDrop"):
        chosen(CapDrop=["CAP_"])


def test_capability_that_the_machine_lacks() -> None:
    with pytest.raises(InvalidArgument, match="CAP_SYS_RESOURCE: sampan itself does not have it"):
        chosen(CapAdd=["SYS_RESOURCE"])


def parse(*options: str) -> SecurityOptions:
    return parse_security_options(options, machine=MACHINE, warn=lambda _text: None)


@pytest.mark.parametrize(
    ("option", "want"),
    [
        ("no-new-privileges", SecurityOptions(no_new_privileges=True)),
        ("no-new-privileges:true", SecurityOptions(no_new_privileges=True)),
        ("no-new-privileges=false", SecurityOptions()),
        ("seccomp=unconfined", SecurityOptions(seccomp="")),
        ("seccomp:unconfined", SecurityOptions(seccomp="")),
        ("seccomp=builtin", SecurityOptions()),
        ('seccomp={"defaultAction":"A=B"}', SecurityOptions(seccomp='{"defaultAction":"A=B"}')),
        ("apparmor=unconfined", SecurityOptions(apparmor="unconfined")),
        ("label=disable", SecurityOptions()),
        ("label:disable", SecurityOptions()),
        ("systempaths=unconfined", SecurityOptions(unmask=("ALL",))),
        ("mask=/a:/b", SecurityOptions(mask=("/a", "/b"))),
        ("unmask=/proc/kcore", SecurityOptions(unmask=("/proc/kcore",))),
    ],
)
def test_security_options(option: str, want: SecurityOptions) -> None:
    assert parse(option) == want


@pytest.mark.parametrize("option", ["nosuch", "no-new-privileges=maybe", "seccomp=/a/file", "apparmor=", ""])
def test_wrong_security_options(option: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(option)


def test_apparmor_needs_the_kernel() -> None:
    with pytest.raises(Unsupported, match="runs without AppArmor"):
        parse("apparmor=docker-default")


def test_selinux_label_without_selinux_is_warned_of() -> None:
    warnings: list[str] = []
    parse_security_options(["label=type:x_t"], machine=MACHINE, warn=warnings.append)
    assert "SELinux is off" in warnings[0]
    with pytest.raises(Unsupported):
        parse_security_options(
            ["label=type:x_t"], machine=replace(MACHINE, selinux=True), warn=warnings.append
        )


def test_paths() -> None:
    hot = replace(MACHINE, thermal_paths=("/sys/devices/system/cpu/cpu0/thermal_throttle",))
    masked, read_only = choose_paths(docker.HostConfig(), SecurityOptions(), hot)
    assert "/proc/kcore" in masked
    assert hot.thermal_paths[0] in masked
    assert "/proc/sys" in read_only
    assert choose_paths(docker.HostConfig(Privileged=True), SecurityOptions(), hot) == ((), ())
    assert choose_paths(docker.HostConfig(), SecurityOptions(unmask=("ALL",)), hot) == ((), ())
    own = docker.HostConfig(MaskedPaths=["/x"], ReadonlyPaths=[])
    assert choose_paths(own, SecurityOptions(mask=("/y",)), hot) == (("/x", "/y"), ())
    unmasked, _ = choose_paths(docker.HostConfig(), SecurityOptions(unmask=("/proc/kcore",)), hot)
    assert "/proc/kcore" not in unmasked
    with pytest.raises(InvalidArgument):
        choose_paths(docker.HostConfig(MaskedPaths=["/proc/../etc"]), SecurityOptions(), hot)
