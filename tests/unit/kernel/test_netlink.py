from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.kernel.netlink import (
    NLA_F_NESTED,
    check_answer,
    pack_attribute,
    pack_link,
    pack_message,
    pack_nested,
    unpack_attributes,
)

attributes = st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=300)), max_size=20)


@given(attributes)
def test_what_is_packed_is_unpacked_the_same(wanted: list[tuple[int, bytes]]) -> None:
    assert unpack_attributes(b"".join(pack_attribute(kind, payload) for kind, payload in wanted)) == wanted


@given(st.lists(attributes, max_size=5))
def test_nesting_keeps_its_bounds(groups: list[list[tuple[int, bytes]]]) -> None:
    packed = b"".join(
        pack_nested(number, *(pack_attribute(kind, payload) for kind, payload in group))
        for number, group in enumerate(groups)
    )
    outer = unpack_attributes(packed)
    assert [kind for kind, _ in outer] == [number | NLA_F_NESTED for number in range(len(groups))]
    assert [unpack_attributes(payload) for _, payload in outer] == groups


@given(st.integers(0, 0xFFFF), st.integers(0xFFF0, 0x20010))
def test_a_length_that_does_not_fit_16_bits_is_refused(kind: int, size: int) -> None:
    """CVE-2021-43784: a length that wraps around turns payload into further attributes."""
    if size + 4 > 0xFFFF:
        with pytest.raises(ValueError, match="do not fit"):
            pack_attribute(kind, bytes(size))
    else:
        assert unpack_attributes(pack_attribute(kind, bytes(size))) == [(kind, bytes(size))]


def test_nested_attributes_are_counted_together() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        pack_nested(1, *[pack_attribute(1, bytes(30000))] * 3)


@given(st.binary(max_size=64))
def test_any_bytes_are_unpacked_or_refused(data: bytes) -> None:
    try:
        found = unpack_attributes(data)
    except ValueError:
        return
    assert sum(len(payload) + 4 for _, payload in found) <= len(data)


@given(attributes)
def test_everything_is_aligned_to_four_bytes(wanted: list[tuple[int, bytes]]) -> None:
    for kind, payload in wanted:
        assert len(pack_attribute(kind, payload)) % 4 == 0


def test_message_header() -> None:
    message = pack_message(16, 5, pack_link(1, flags=1, change=1), sequence=7)
    assert struct.unpack("=IHHII", message[:16]) == (32, 16, 5, 7, 0)
    assert struct.unpack("=BxHiII", message[16:]) == (0, 0, 1, 1, 1)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(b"", "Bad message", id="nothing"),
        pytest.param(struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -1), "Operation not permitted", id="EPERM"),
        pytest.param(struct.pack("=IHHIIi", 20, 16, 0, 1, 0, 0), "Bad message", id="another kind"),
        pytest.param(struct.pack("=IHHII", 16, 2, 0, 1, 0), "Bad message", id="cut off"),
    ],
)
def test_answers_that_are_no_acknowledgement(answer: bytes, error: str) -> None:
    with pytest.raises(OSError, match=f"the request: {error}"):
        check_answer(answer, "the request")


def test_an_acknowledgement() -> None:
    check_answer(struct.pack("=IHHIIi", 36, 2, 0, 1, 0, 0) + bytes(16), "the request")
