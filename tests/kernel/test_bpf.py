"""The device program in the kernel: taken by the verifier, attached, replaced without a gap."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.cgroup_bench import parent_path

from sampan.kernel import bpf
from sampan.kernel.cgroups import detect
from sampan.kernel.cgroups.devices import ANY, Rule
from sampan.kernel.syscall import switched_off


@pytest.fixture
def directory() -> Iterator[int]:
    tree = detect().v2
    if tree is None:
        pytest.skip("needs a v2 tree")
    folder = Path(f"{tree.mount_point}{parent_path()}-bpf")
    folder.mkdir()
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)
    folder.rmdir()


def rule(allow: bool, kind: str = "a", major: int = ANY, minor: int = ANY, access: int = 7) -> Rule:
    return Rule(allow=allow, type=kind, major=major, minor=minor, access=access)


PROGRAMS = [
    pytest.param([], id="no rule"),
    pytest.param([rule(True)], id="everything"),
    pytest.param([rule(False), rule(True, "c", 1, 3), rule(False, "b", access=4)], id="mixed"),
    pytest.param([rule(True, "c", 2**32 - 1, 2**31)], id="numbers with the highest bit"),
    pytest.param([rule(True), rule(False), rule(True), rule(False, "c", 1)], id="hidden rules"),
    pytest.param([rule(number % 3 > 0, "c", number, number) for number in range(500)], id="500 rules"),
]


@pytest.mark.parametrize("rules", PROGRAMS)
def test_verifier_takes_the_program(rules: list[Rule]) -> None:
    os.close(bpf.load_device_program(bpf.device_program(rules)))


def test_attaching_replaces_what_is_there(directory: int) -> None:
    assert bpf.attached_programs(directory) == []
    seen = []
    for _ in range(3):
        program = bpf.load_device_program(bpf.device_program([rule(True)]))
        bpf.attach_device_program(directory, program)
        os.close(program)
        (number,) = bpf.attached_programs(directory)
        seen.append(number)
    assert len(set(seen)) == 3


def test_several_programs_of_others_are_replaced_by_ours(directory: int) -> None:
    for _ in range(2):
        program = bpf.load_device_program(bpf.device_program([rule(False)]))
        bpf._attach(directory, program, flags=bpf._F_ALLOW_MULTI)
        os.close(program)
    assert len(bpf.attached_programs(directory)) == 2
    program = bpf.load_device_program(bpf.device_program([rule(True)]))
    bpf.attach_device_program(directory, program)
    os.close(program)
    assert len(bpf.attached_programs(directory)) == 1


def test_refused_program_tells_why() -> None:
    program = bpf.device_program([rule(True, "c", 1, 3)])
    with pytest.raises(OSError, match=r"the kernel refuses the device program: .*(exit|jump|last insn|R0)"):
        bpf.load_device_program(program[:-8])


def test_kernel_without_bpf_is_told_as_it_is() -> None:
    with switched_off("bpf"), pytest.raises(OSError, match="bpf: Function not implemented"):
        bpf.load_device_program(bpf.device_program([]))
