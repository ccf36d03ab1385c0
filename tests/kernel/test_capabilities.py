from __future__ import annotations

import os
import subprocess

import pytest
from tests.kernel.harness import run_isolated

from sampan.kernel import capabilities as caps
from sampan.kernel.capabilities import CapSets
from sampan.kernel.process import keep_caps, read_status, setresgid, setresuid

CHOWN, KILL, NET_RAW, SETPCAP = 0, 5, 13, 8


def shown(name: str) -> frozenset[int]:
    """Return a set as the kernel itself shows it."""
    return caps.from_mask(int(read_status()[name], 16))


def test_sets_are_those_of_proc() -> None:
    def inside() -> None:
        sets = caps.get_caps()
        assert sets == caps.get_caps(os.getpid())
        assert (sets.effective, sets.permitted, sets.inheritable) == (
            shown("CapEff"),
            shown("CapPrm"),
            shown("CapInh"),
        )
        assert caps.get_bounding() == shown("CapBnd")
        assert caps.get_ambient() == shown("CapAmb")

    run_isolated(inside)


def test_last_capability_is_the_kernels() -> None:
    with open("/proc/sys/kernel/cap_last_cap") as file:
        assert caps.last_cap() == int(file.read())


def test_low_and_high_capabilities_are_set() -> None:
    def inside() -> None:
        some = frozenset({CHOWN, 36, 40}) & caps.get_caps().permitted
        assert CHOWN in some
        assert max(some) > 31
        caps.set_caps(CapSets(effective=frozenset({CHOWN}), permitted=some, inheritable=some))
        assert (shown("CapEff"), shown("CapPrm"), shown("CapInh")) == ({CHOWN}, some, some)
        with pytest.raises(PermissionError, match="capset"):
            caps.set_caps(CapSets(effective=some | {KILL}, permitted=some | {KILL}))

    run_isolated(inside)


def test_bounding_set_only_shrinks() -> None:
    def inside() -> None:
        caps.drop_bounding(caps.all_caps() - {CHOWN, SETPCAP})
        assert shown("CapBnd") == {CHOWN, SETPCAP}
        caps.drop_bounding(frozenset({KILL}))  # gone already
        assert shown("CapBnd") == {CHOWN, SETPCAP}
        caps.set_caps(CapSets(effective=frozenset({CHOWN}), permitted=frozenset({CHOWN})))
        with pytest.raises(PermissionError, match="prctl"):
            caps.drop_bounding(frozenset({CHOWN}))

    run_isolated(inside)


def test_ambient_set_is_replaced_and_needs_the_inheritable_one() -> None:
    def inside() -> None:
        held = caps.get_caps()
        with pytest.raises(PermissionError, match="prctl"):
            caps.set_ambient(frozenset({CHOWN}))
        caps.set_caps(
            CapSets(effective=held.effective, permitted=held.permitted, inheritable=frozenset({CHOWN, KILL}))
        )
        caps.set_ambient(frozenset({CHOWN}))
        assert shown("CapAmb") == {CHOWN}
        caps.set_ambient(frozenset({KILL}))
        assert shown("CapAmb") == {KILL}
        caps.set_ambient(frozenset())
        assert shown("CapAmb") == set()

    run_isolated(inside)


def test_a_user_keeps_what_was_asked_for_over_setuid_and_exec() -> None:
    """The whole sequence of a container with a user and an ambient capability."""

    def inside() -> list[str]:
        wanted = frozenset({NET_RAW})
        caps.drop_bounding(caps.all_caps() - wanted)
        keep_caps(True)
        setresgid(1000, 1000, 1000)
        setresuid(1000, 1000, 1000)
        assert shown("CapEff") == set()
        caps.set_caps(CapSets(effective=wanted, permitted=wanted, inheritable=wanted))
        caps.set_ambient(wanted)
        text = subprocess.run(
            ["/bin/cat", "/proc/self/status"], capture_output=True, text=True, check=True
        ).stdout
        return [line.split()[1] for line in text.splitlines() if line.startswith("Cap")]

    assert run_isolated(inside) == [f"{1 << NET_RAW:016x}"] * 5


def test_a_user_keeps_nothing_otherwise() -> None:
    def inside() -> None:
        setresuid(1000, 1000, 1000)
        assert shown("CapPrm") == shown("CapEff") == set()

    run_isolated(inside)
