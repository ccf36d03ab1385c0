"""The sequence is found at any cut; a broken one is passed on as typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.runtime.launcher.detach_keys import DetachKeys

CTRL_PQ = b"\x10\x11"


def feed_all(keys: bytes, *reads: bytes) -> tuple[bytes, bool]:
    parser = DetachKeys(keys)
    passed = b""
    for read in reads:
        more, detached = parser.feed(read)
        passed += more
        if detached:
            return passed, True
    return passed + parser.finish(), False


@pytest.mark.parametrize(
    ("reads", "want"),
    [
        pytest.param((b"ls\n",), (b"ls\n", False), id="no key of it"),
        pytest.param((b"ls\x10\x11more",), (b"ls", True), id="in one read"),
        pytest.param((b"\x10", b"\x11"), (b"", True), id="in two reads"),
        pytest.param((b"\x10", b"x"), (b"\x10x", False), id="broken off"),
        pytest.param((b"\x10\x10", b"\x11"), (b"\x10", True), id="starts anew inside a broken one"),
        pytest.param((b"a\x10",), (b"a\x10", False), id="held at the end of input"),
        pytest.param((b"\x11\x10",), (b"\x11\x10", False), id="wrong order"),
    ],
)
def test_ctrl_p_ctrl_q(reads: tuple[bytes, ...], want: tuple[bytes, bool]) -> None:
    assert feed_all(CTRL_PQ, *reads) == want


def test_no_sequence_passes_everything() -> None:
    assert feed_all(b"", CTRL_PQ) == (CTRL_PQ, False)


def test_first_key_is_held_back() -> None:
    assert DetachKeys(CTRL_PQ).feed(b"a\x10") == (b"a", False)


@given(
    st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=12), st.sampled_from([b"ab", b"aab", b"aba", b"c"])
)
def test_cuts_do_not_matter(reads: list[bytes], keys: bytes) -> None:
    assert feed_all(keys, *reads) == feed_all(keys, b"".join(reads))
