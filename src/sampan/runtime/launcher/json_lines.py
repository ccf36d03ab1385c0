"""What a container writes, as lines of Docker's json-file log. Lean; pure.

`{"log":"text\\n","stream":"stdout","time":"2006-01-02T15:04:05.999999999Z"}`, one object a line. A line
of 16 KiB or more comes in pieces, of which only the last ends in a newline.
Source: moby, daemon/logger/copier.go and daemon/logger/jsonfilelog.

A whole read is turned at once: Python's cost for each line would make a talkative container slow. Newlines
are replaced by a character that is not in the text, the text is escaped as one JSON string by the C encoder,
and that character is replaced by the end of one record and the start of the next.
"""

from __future__ import annotations

import _codecs
import _json
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE = 16 * 1024
_START = '{"log":"'
_ONE_A_BYTE = "sampan-one-a-byte"
# Left alone by the encoder and rare in text: DEL first (a text of ASCII stays ASCII), then private use.
_MARKS = ("\x7f", "\ue000", "\ue001", "\ue002", "\uf8ff")

_escape = _json.encode_basestring


def _replace_each_byte(error: UnicodeError) -> tuple[str, int]:
    """Give one U+FFFD for each bad byte, as Go does; Python's own handler gives one for each sequence."""
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd" * (error.end - error.start), error.end


_codecs.register_error(_ONE_A_BYTE, _replace_each_byte)


class Clock:
    """Renders the time of a record; the calendar is worked out once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def render(self, at_ns: int) -> str:
        """Return at_ns (since 1970) as RFC 3339 with nanoseconds, in UTC."""
        second, nanoseconds = divmod(at_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{nanoseconds:09d}Z"


class LineSplitter:
    """Cuts one stream into pieces for `encode`; holds at most 16 KiB of an unfinished line."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the pieces that data completes: some whole lines, or one part of a long line."""
        data = self._rest + data if self._rest else data
        at = 0
        while True:
            end = data.rfind(b"\n", at, at + MAX_LINE) + 1
            if not end:
                if len(data) - at <= MAX_LINE:  # one byte more tells where a character ends
                    break
                end = _character_end(data, at, at + MAX_LINE)
            yield data[at:end]
            at = end
        self._rest = data[at:]

    @property
    def rest(self) -> bytes:
        """What waits for the end of its line."""
        return self._rest

    def finish(self) -> bytes:
        """Return the last line if it has no newline, at the end of the stream."""
        rest, self._rest = self._rest, b""
        return rest


def encode(piece: bytes, *, stream: str, stamp: str, attrs: str = "") -> bytes:
    """Return the log records of a piece; only its last line may lack a newline.

    stamp is from `Clock`; attrs, if there are any, a JSON object that each record carries.
    """
    text = piece.decode("utf-8", _ONE_A_BYTE)
    extra = f'"attrs":{attrs},' if attrs else ""
    end = f'","stream":"{stream}",{extra}"time":"{stamp}"}}\n'
    for mark in _MARKS:
        if mark not in text:
            between = f"\\n{end}{_START}"
            body = _escape(text.replace("\n", mark))[1:-1].replace(mark, between)
            break
    else:
        return _encode_each(text, end)
    if body.endswith(between):
        return f"{_START}{body[: -len(_START)]}".encode()
    return f"{_START}{body}{end}".encode()


def _encode_each(text: str, end: str) -> bytes:
    """Encode line by line: for a text that holds every mark."""
    lines = text.split("\n")
    records = [f"{_START}{_escape(line)[1:-1]}\\n{end}" for line in lines[:-1]]
    if lines[-1]:
        records.append(f"{_START}{_escape(lines[-1])[1:-1]}{end}")
    return "".join(records).encode()


def _character_end(data: bytes, start: int, end: int) -> int:
    """Return the last place up to end where no UTF-8 character is cut (bytes 10xxxxxx continue one).

    data has a byte at end. Text that is not UTF-8 is cut at end.
    """
    for place in range(end, max(start, end - 3), -1):
        if data[place] & 0xC0 != 0x80:
            return place
    return end
