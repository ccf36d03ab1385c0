"""Our built-in default profile against Docker's published one, call by call, when that document is there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.filter_machine import I386, X32_BIT, X86_64, Machine
from tests.unit.runtime.test_seccomp import DEFAULT_CAPS

from sampan.runtime.default_seccomp import default_profile
from sampan.runtime.seccomp_compile import compile_profile
from sampan.spec.runtime import LinuxSeccomp, SeccompArg, SeccompRule

SPECS = Path(os.environ.get("SAMPAN_TEST_SPECS") or Path(__file__).parents[4] / "shared/specs")
DOCUMENT = SPECS / "seccomp-default.json"
GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "s390x": "s390x", "ppc64le": "ppc64le"}
ALL_CAPS = frozenset(
    "CAP_DAC_READ_SEARCH CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_CHROOT CAP_SYS_MODULE CAP_SYS_PACCT "
    "CAP_SYS_PTRACE CAP_SYS_RAWIO CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_SYS_NICE CAP_SYSLOG "
    "CAP_BPF CAP_PERFMON".split()
)

Answers = dict[tuple[str, str], set[tuple[Any, ...]]]


def test_sizes() -> None:
    rules = default_profile(DEFAULT_CAPS, "x86_64").syscalls
    assert len(rules[0].names) == 361
    assert len(set(rules[0].names)) == 361
    assert default_profile(DEFAULT_CAPS, "x86_64").architectures == (
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X32",
    )
    assert default_profile(DEFAULT_CAPS, "aarch64").architectures == ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")


def test_unknown_machine_gets_the_native_architecture_alone() -> None:
    assert default_profile(DEFAULT_CAPS, "pdp11").architectures == ()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    if not DOCUMENT.exists():
        pytest.skip(f"needs Docker's published profile (SAMPAN_TEST_SPECS: {DOCUMENT})")
    return dict(json.loads(DOCUMENT.read_text()))


def resolve(document: dict[str, Any], caps: frozenset[str], arch: str) -> LinuxSeccomp:
    rules = []
    for raw in document["syscalls"]:
        includes, excludes = raw.get("includes", {}), raw.get("excludes", {})
        applies = (
            arch in includes.get("arches", [arch])
            and caps.issuperset(includes.get("caps", ()))
            and arch not in excludes.get("arches", ())
            and caps.isdisjoint(excludes.get("caps", ()))
        )
        if applies:
            rules.append(
                SeccompRule(
                    names=tuple(raw["names"]),
                    action=raw["action"],
                    errno_ret=raw.get("errnoRet"),
                    args=tuple(
                        SeccompArg(
                            index=arg["index"],
                            op=arg["op"],
                            value=arg["value"],
                            value_two=arg.get("valueTwo", 0),
                        )
                        for arg in raw.get("args") or ()
                    ),
                )
            )
    return LinuxSeccomp(
        default_action=document["defaultAction"],
        default_errno_ret=document["defaultErrnoRet"],
        architectures=("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32") if arch == "amd64" else (),
        syscalls=tuple(rules),
    )


@pytest.mark.parametrize(
    "caps",
    [
        pytest.param(frozenset(), id="no capability"),
        pytest.param(DEFAULT_CAPS, id="Docker's default capabilities"),
        pytest.param(DEFAULT_CAPS | {"CAP_SYS_ADMIN"}, id="with SYS_ADMIN"),
        pytest.param(ALL_CAPS, id="every capability that counts"),
    ],
)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="compiles for x86_64")
def test_compiled_filters_answer_alike(document: dict[str, Any], caps: frozenset[str]) -> None:
    ours = Machine(compile_profile(default_profile(caps, "x86_64")))
    theirs = Machine(compile_profile(resolve(document, caps, "amd64")))
    arguments = [(value,) for value in (0, 8, 38, 39, 40, 41, 0x20000, 0x20008, 0x10000000, 0xFFFFFFFF)]
    for arch, base in ((X86_64, 0), (I386, 0), (X86_64, X32_BIT)):
        for number in (*range(600), 9999):
            for args in arguments:
                call = base | number
                assert ours.ask(call, arch=arch, args=args) == theirs.ask(call, arch=arch, args=args), (
                    hex(call),
                    hex(arch),
                    args,
                )


@pytest.mark.parametrize("machine", sorted(GO_ARCHITECTURES))
@pytest.mark.parametrize("caps", [frozenset(), ALL_CAPS], ids=["no capability", "all"])
def test_rules_say_the_same_on_other_machines(
    document: dict[str, Any], machine: str, caps: frozenset[str]
) -> None:
    assert _as_sets(default_profile(caps, machine)) == _as_sets(
        resolve(document, caps, GO_ARCHITECTURES[machine])
    )


def _as_sets(profile: LinuxSeccomp) -> Answers:
    """Return the conditions keyed by call and action; () stands for none."""
    found: Answers = {}
    for rule in profile.syscalls:
        for name in rule.names:
            conditions = tuple((arg.index, arg.op, arg.value, arg.value_two) for arg in rule.args)
            found.setdefault((name, rule.action), set()).add(conditions)
    return found
