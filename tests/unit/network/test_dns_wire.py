"""The DNS codec: what is taken apart is right or refused; strangers' bytes raise nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.network.dns import wire

EDNS = b"\0" + struct.pack("!HHIH", wire.OPT, 1232, 0, 0)


def query(
    name: str, kind: int = wire.A, *, flags: int = wire.RD, extra: bytes = b"", number: int = 7
) -> bytes:
    header = wire.HEADER.pack(number, flags, 1, 0, 0, 1 if extra else 0)
    return header + wire.pack_name(name) + struct.pack("!HH", kind, wire.IN) + extra


def test_a_query_is_taken_apart() -> None:
    question = wire.parse_query(query("Web.Example", wire.AAAA))
    assert (question.id, question.name, question.kind, question.edns) == (7, "web.example", wire.AAAA, -1)
    assert question.size == 512


def test_edns_says_what_the_client_takes() -> None:
    question = wire.parse_query(query("web", extra=EDNS))
    assert (question.size, question.edns) == (1232, 0)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(query("web")[:11], id="half a header"),
        pytest.param(query("web")[:-1], id="question cut off"),
        pytest.param(query("web", flags=wire.QR), id="an answer"),
        pytest.param(query("web")[:4] + b"\0\2" + query("web")[6:], id="two questions"),
        pytest.param(query("web")[:12] + b"\xc0\x0c\0\1\0\1", id="name points at itself"),
        pytest.param(query("web")[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", id="label of 64 bytes"),
        pytest.param(query("web")[:12] + b"\x01a" * 128 + b"\0\0\1\0\1", id="name of 257 bytes"),
        pytest.param(query("web", extra=EDNS[:-1]), id="EDNS cut off"),
        pytest.param(query("web")[:10] + b"\0\2" + query("web")[12:] + EDNS * 2, id="two EDNS records"),
    ],
)
def test_broken_queries_are_refused(data: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.parse_query(data)


def test_a_dot_inside_a_label_is_no_border() -> None:
    data = query("web")[:12] + b"\x07a.other\0" + struct.pack("!HH", 1, 1)
    assert wire.parse_query(data).name == "a\\.other"


def test_an_answer_repeats_the_question_as_it_came() -> None:
    question = wire.parse_query(query("WeB", extra=EDNS))
    answer = wire.make_answer(question, wire.NOERROR, [(wire.A, bytes((10, 0, 0, 1)))])
    number, flags, questions, answers, _, others = wire.HEADER.unpack_from(answer)
    assert (number, questions, answers, others) == (7, 1, 1, 1)
    assert flags == wire.QR | wire.RD | wire.RA
    assert b"\x03WeB\0" in answer
    assert answer.endswith(b"\0" + struct.pack("!HHIH", wire.OPT, 4096, 0, 0))


def test_what_does_not_fit_is_left_out_and_said() -> None:
    question = wire.parse_query(query("web"))
    records = [(wire.A, bytes((10, 0, 0, last))) for last in range(100)]
    answer = wire.make_answer(question, wire.NOERROR, records, limit=512)
    _, flags, _, answers, _, _ = wire.HEADER.unpack_from(answer)
    assert len(answer) <= 512
    assert flags & wire.TC
    assert answers == (512 - 12 - 9) // 16


@pytest.mark.parametrize("text", ["a..b", ".a", "x" * 64, ".".join(["abcdefg"] * 40)])
def test_names_that_dns_cannot_say(text: str) -> None:
    with pytest.raises(ValueError, match="bytes"):
        wire.pack_name(text)


NAMES = st.lists(st.text("abcXYZ0-_", min_size=1, max_size=20), max_size=8).map(".".join)


@settings(deadline=None)  # the machine may be busy
@given(NAMES, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_names_come_back_as_keys(name: str, kind: int, number: int) -> None:
    question = wire.parse_query(query(name, kind, number=number))
    assert (question.name, question.kind, question.id) == (wire.make_key(name), kind, number)


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=600))
def test_any_bytes_are_a_query_or_malformed(data: bytes) -> None:
    try:
        question = wire.parse_query(data)
    except wire.Malformed:
        return
    assert wire.HEADER.unpack_from(wire.make_answer(question, wire.NXDOMAIN))[1] & wire.QR


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=300), st.integers(0, 40))
def test_any_answer_is_measured_or_malformed(data: bytes, cut: int) -> None:
    question = wire.parse_query(query("web"))
    good = wire.make_answer(question, wire.NOERROR, [(wire.A, b"1234")], ttl=5)
    for answer in (data, good[: len(good) - cut] + data):
        try:
            seconds, places = wire.find_ttls(answer)
        except wire.Malformed:
            continue
        assert seconds >= 0
        assert all(0 < place <= len(answer) - 4 for place in places)


def test_how_long_an_answer_may_be_kept() -> None:
    question = wire.parse_query(query("web"))
    answer = wire.make_answer(question, wire.NOERROR, [(wire.A, b"1234"), (wire.A, b"1235")], ttl=9)
    seconds, places = wire.find_ttls(answer)
    assert seconds == 9
    assert [answer[place : place + 4] for place in places] == [b"\0\0\0\x09"] * 2
    assert wire.find_ttls(wire.make_answer(question, wire.NXDOMAIN))[0] == 0


def test_no_such_name_may_be_kept_as_long_as_its_soa_says() -> None:
    question = wire.parse_query(query("web"))
    soa = b"\0\0" + struct.pack("!IIIII", 1, 2, 3, 4, 60)
    record = b"\0" + struct.pack("!HHIH", wire.SOA, wire.IN, 3600, len(soa)) + soa
    answer = bytearray(wire.make_answer(question, wire.NXDOMAIN) + record)
    answer[9] = 1
    assert wire.find_ttls(bytes(answer))[0] == 60


def test_only_the_answer_to_this_question_is_taken() -> None:
    asked = query("web")
    end = len(asked)
    answer = wire.make_answer(wire.parse_query(asked), wire.NOERROR)
    assert wire.is_answer_to(answer, asked, end)
    assert not wire.is_answer_to(b"xx" + answer[2:], asked, end)
    other = wire.make_answer(wire.parse_query(query("wob")), wire.NOERROR)
    assert not wire.is_answer_to(other, asked, end)
    assert not wire.is_answer_to(asked, asked, end)
    assert not wire.is_answer_to(answer[:11], asked, end)
