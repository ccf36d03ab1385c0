"""The json-file form: valid JSON for any bytes, Docker's 16 KiB pieces, nothing lost at any cut."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.runtime.launcher.json_lines import MAX_LINE, Clock, LineSplitter, encode

STAMP = "2026-01-02T03:04:05.000000006Z"


def log_records(*chunks: bytes) -> list[dict[str, str]]:
    splitter = LineSplitter()
    pieces = [piece for chunk in chunks for piece in splitter.feed(chunk)]
    pieces += [rest] if (rest := splitter.finish()) else []
    text = b"".join(encode(piece, stream="stderr", stamp=STAMP) for piece in pieces)
    return [json.loads(line) for line in text.splitlines()]


def logs(*chunks: bytes) -> list[str]:
    return [record["log"] for record in log_records(*chunks)]


@pytest.mark.parametrize(
    ("data", "want"),
    [
        pytest.param(b"hi\n", ["hi\n"], id="one line"),
        pytest.param(b"a\nb", ["a\n", "b"], id="last line unfinished"),
        pytest.param(b"\n\n", ["\n", "\n"], id="empty lines"),
        pytest.param(b'q"\\n\\\n', ['q"\\n\\\n'], id="quotes, and a backslash before n"),
        pytest.param(b"\x00\x1b[0m\r\n", ["\x00\x1b[0m\r\n"], id="control characters"),
        pytest.param(b"\x7f\n\x7f\n", ["\x7f\n", "\x7f\n"], id="the first mark is in the text"),
        pytest.param("\x7f\ue000\ue001\ue002\uf8ff\nx\n".encode() + b"y", None, id="every mark is in it"),
        pytest.param("é 漢 😀\n".encode(), ["é 漢 😀\n"], id="UTF-8"),
        pytest.param(b"\xff\xfe\n", ["\ufffd\ufffd\n"], id="bytes that are no UTF-8: one each"),
        pytest.param(b"\xed\xa0\x80\xe6\xbc\n", ["\ufffd" * 5 + "\n"], id="surrogate and cut character"),
        pytest.param("a\u2028b\x85c\n".encode(), ["a\u2028b\x85c\n"], id="other line ends are no line ends"),
    ],
)
def test_records(data: bytes, want: list[str] | None) -> None:
    assert logs(data) == (want or ["\x7f\ue000\ue001\ue002\uf8ff\n", "x\n", "y"])


def test_record_carries_stream_and_time() -> None:
    assert log_records(b"x\n") == [{"log": "x\n", "stream": "stderr", "time": STAMP}]


@pytest.mark.parametrize(
    ("length", "pieces"),
    [
        pytest.param(MAX_LINE - 1, [MAX_LINE], id="just short of a full piece"),
        pytest.param(MAX_LINE, [MAX_LINE, 1], id="the newline stands alone, as in Docker"),
        pytest.param(3 * MAX_LINE + 5, [MAX_LINE, MAX_LINE, MAX_LINE, 6], id="three full pieces"),
    ],
)
def test_long_line(length: int, pieces: list[int]) -> None:
    assert [len(text) for text in logs(b"x" * length + b"\n")] == pieces


def test_piece_does_not_cut_a_character() -> None:
    text = "x" * (MAX_LINE - 1) + "é" * 10
    assert logs(text.encode() + b"\n") == ["x" * (MAX_LINE - 1), "é" * 10 + "\n"]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_at_any_cut_are_the_same_records(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    chunks = [data[a:b] for a, b in itertools.pairwise(places)]
    assert logs(*chunks) == logs(data)


@given(st.text())
def test_text_survives(text: str) -> None:
    clean = text.encode("utf-8", "replace")
    assert "".join(logs(clean)) == clean.decode()


def test_clock() -> None:
    assert Clock().render(1_767_323_045_000_000_006) == "2026-01-02T03:04:05.000000006Z"
