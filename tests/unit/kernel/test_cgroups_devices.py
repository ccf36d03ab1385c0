"""Device rules: the BPF program and the v1 exceptions both mean what the documentation says."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.kernel.device_machine import allowed_by_rules, allowed_by_v1, run_program

from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel.bpf import device_program
from sampan.kernel.cgroups.devices import ANY, Rule, fold, parse_rules, v1_writes
from sampan.spec.runtime import LinuxDeviceCgroup

NUMBERS = st.sampled_from([ANY, 0, 1, 3, 2**32 - 1])
RULES = st.lists(
    st.builds(
        Rule,
        allow=st.booleans(),
        type=st.sampled_from("abc"),
        major=NUMBERS,
        minor=NUMBERS,
        access=st.integers(1, 7),
    ),
    max_size=8,
)
DENY_ALL = LinuxDeviceCgroup(allow=False)


def rule(
    allow: bool, kind: str = "a", major: int = ANY, minor: int = ANY, access: str = "rwm"
) -> LinuxDeviceCgroup:
    return LinuxDeviceCgroup(allow=allow, type=kind, major=major, minor=minor, access=access)


def probes() -> list[tuple[str, int, int, int]]:
    numbers = (0, 1, 2, 3, 2**32 - 1)
    return [
        (k, major, minor, access)
        for k in "bc"
        for major in numbers
        for minor in numbers
        for access in range(1, 8)
    ]


@given(RULES)
def test_program_decides_as_the_rules_say(rules: list[Rule]) -> None:
    program = device_program(rules)
    for probe in probes():
        assert bool(run_program(program, *probe)) == allowed_by_rules(rules, *probe), probe


@given(RULES)
def test_v1_exceptions_decide_as_the_rules_say_for_single_accesses(rules: list[Rule]) -> None:
    try:
        default, exceptions = fold(rules)
    except Unsupported:
        assume(False)
    for probe in probes():
        if probe[3] in (1, 2, 4):
            assert allowed_by_v1(default, exceptions, *probe) == allowed_by_rules(rules, *probe), probe


@given(RULES, RULES)
def test_v1_writes_lead_from_one_list_to_the_other(before: list[Rule], after: list[Rule]) -> None:
    try:
        default, exceptions = fold(before)
        wanted = fold(after)
    except Unsupported:
        assume(False)
    shown = "a *:* rwm\n" if default else _show(exceptions)
    state = (True, {}) if default else (False, dict(exceptions))
    writes = [(file, line) for file, lines in v1_writes(shown, after) for line in lines]
    for file, line in writes:
        state = _kernel_write(state, file, line)
    assert state == wanted


def _show(exceptions: dict[tuple[str, int, int], int]) -> str:
    lines = []
    for (kind, *numbers), access in exceptions.items():
        major, minor = ("*" if number == ANY else str(number) for number in numbers)
        letters = "".join(letter for letter, bit in (("r", 2), ("w", 4), ("m", 1)) if access & bit)
        lines.append(f"{kind} {major}:{minor} {letters}\n")
    return "".join(lines)


def _kernel_write(
    state: tuple[bool, dict[tuple[str, int, int], int]], file: str, line: str
) -> tuple[bool, dict[tuple[str, int, int], int]]:
    """Do what a write to devices.allow or devices.deny does to the list (security/device_cgroup.c)."""
    default, exceptions = state
    allow = file == "devices.allow"
    if line == "a":
        return allow, {}
    kind, numbers, letters = line.split()
    major, minor = (ANY if part == "*" else int(part) for part in numbers.split(":"))
    node = (kind, major, minor)
    bits = sum({"r": 2, "w": 4, "m": 1}[letter] for letter in letters)
    left = exceptions.get(node, 0) | bits if allow != default else exceptions.get(node, 0) & ~bits
    exceptions = {other: access for other, access in exceptions.items() if other != node}
    if left:
        exceptions[node] = left
    return default, exceptions


def test_without_rules_everything_is_denied() -> None:
    program = device_program([])
    assert not any(run_program(program, *probe) for probe in probes())
    assert fold([]) == (False, {})


def test_a_rule_for_everything_hides_those_before_it() -> None:
    rules = parse_rules([rule(True, "c", 1, 3), DENY_ALL, rule(True, "c", 1, 5)])
    assert len(rules) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param(rule(True, "x"), r"devices\[0\].type: 'x'", id="type"),
        pytest.param(rule(True, "c", -2), r"devices\[0\].major: -2", id="negative major"),
        pytest.param(rule(True, "c", 1, 2**32), r"devices\[0\].minor: 4294967296", id="minor over 32 bits"),
        pytest.param(rule(True, "c", access="rx"), r"devices\[0\].access: 'rx'", id="unknown access"),
        pytest.param(rule(True, "c", access=""), r"devices\[0\].access: empty", id="no access"),
    ],
)
def test_wrong_rule_is_refused(wrong: LinuxDeviceCgroup, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_rules([wrong])


def test_v1_refuses_a_hole_in_a_range() -> None:
    rules = parse_rules([DENY_ALL, rule(True, "c", 1), rule(False, "c", 1, 3)])
    with pytest.raises(Unsupported, match=r"cannot deny c 1:3 within c 1:\*"):
        fold(rules)
    assert not run_program(device_program(rules), "c", 1, 3, 2)
    assert run_program(device_program(rules), "c", 1, 5, 2)


def test_too_many_rules_are_refused() -> None:
    rules = parse_rules([rule(True, "c", number, 0) for number in range(2000)])
    with pytest.raises(OSError, match="2000 device rules do not fit"):
        device_program(rules)
