"""Numbers, names and checksums of single headers; pax records; names cleaned as text."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import InvalidArgument
from sampan.store.archive import headers, pax
from sampan.store.archive.headers import parse_header, parse_number
from sampan.store.archive.limits import Limits
from sampan.store.archive.names import clean_name
from sampan.store.archive.reader import TarReader


def header(**fields: object) -> bytes:
    info = tarfile.TarInfo("name")
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def with_checksum(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (b"0000644\0", 0o644),
        (b"    644 ", 0o644),
        (b"\0" * 8, 0),
        (b"        ", 0),
        (b"\x80\0\0\0\0\0\0\x05", 5),
        (b"\x80" + b"\0" * 3 + b"\xff" * 8, 2**64 - 1),
        (b"\xff" * 12, -1),
        (b"\xff" * 11 + b"\xf6", -10),
    ],
)
def test_numbers(raw: bytes, want: int) -> None:
    assert parse_number(raw, "number") == want


@pytest.mark.parametrize(
    "raw",
    [b"0000009\0", b"-000001\0", b"+000001\0", b"0x00001\0", b"00_0001\0", b"1 2 3 4\0", b"0\xd9\xa1\0"],
)
def test_no_numbers(raw: bytes) -> None:
    """What int() would take, and more."""
    with pytest.raises(InvalidArgument, match="is no octal number"):
        parse_number(raw, "number")


def test_fields_of_a_header() -> None:
    entry = parse_header(header(mode=0o4755, uid=3_000_000, gid=7, size=10 << 30, mtime=1234))
    assert (entry.name, entry.kind, entry.mode) == (b"name", headers.REGULAR, 0o4755)
    assert (entry.uid, entry.gid, entry.size, entry.mtime_ns) == (3_000_000, 7, 10 << 30, 1234 * 10**9)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (slice(124, 136), b"\xff" * 12, "size -1 is out of range"),
        (slice(124, 136), b"\x80" + b"\x7f" * 11, "size .* is out of range"),
        (slice(108, 116), b"\xff" * 8, "uid -1 is out of range"),
        (slice(108, 116), b"\x80\0\0\0\xff\xff\xff\xff", "uid 4294967295 is out of range"),
        (slice(136, 148), b"\x80" + b"\x7f" * 11, "time .* is out of range"),
    ],
)
def test_numbers_out_of_range(at: slice, value: bytes, message: str) -> None:
    block = bytearray(header())
    block[at] = value
    with pytest.raises(InvalidArgument, match=message):
        parse_header(with_checksum(block))


def test_a_wrong_checksum_is_found_anywhere() -> None:
    block = header()
    for position in (0, 100, 257, 500):
        damaged = bytearray(block)
        damaged[position] ^= 1
        with pytest.raises(InvalidArgument, match="checksum is wrong"):
            parse_header(bytes(damaged))


def test_checksums_of_signed_bytes_are_taken() -> None:
    block = bytearray(header())
    block[0:4] = b"\xe4\xf6\xfcx"
    block[148:156] = b" " * 8
    signed = sum(byte - 256 if byte > 127 else byte for byte in block)
    block[148:156] = b"%06o\0 " % signed
    assert parse_header(bytes(block)).name.startswith(b"\xe4")


def test_links_and_directories_have_no_data_whatever_their_size_says() -> None:
    for kind in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
        assert parse_header(header(type=kind, size=1000)).stored_bytes == 0


def test_old_directories_end_with_a_slash() -> None:
    assert parse_header(header(name="d/", type=b"\0")).kind == headers.DIRECTORY
    assert parse_header(header(name="d", type=b"\0")).kind == headers.REGULAR


# --- pax -------------------------------------------------------------------------------------------------


def test_records_round_trip() -> None:
    assert pax.parse_records(b"12 path=a\nb\n30 SCHILY.xattr.user.x=\0\n=y\n\n"[:12]) == [(b"path", b"a\nb")]


keys = st.binary(min_size=1, max_size=20).filter(lambda key: b"=" not in key and b"\0" not in key)


@given(st.lists(st.tuples(keys, st.binary(max_size=50).filter(lambda value: b"\0" not in value)), max_size=5))
def test_records_are_read_as_they_were_written(records: list[tuple[bytes, bytes]]) -> None:
    data = b""
    for key, value in records:
        body = b" " + key + b"=" + value + b"\n"
        length = len(body)
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        data += str(length).encode() + body
    assert pax.parse_records(data) == records


@pytest.mark.parametrize(
    "data",
    [
        b"x path=a\n",
        b"99 path=a\n",
        b"9 path=a",
        b"0 =\n",
        b"7 patha\n",
        b"-9 path=a\n",
        b" 9 path=a\n",
        b"12345678901 a=b\n",
        b"3 \n",
    ],
)
def test_malformed_records(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="malformed pax header"):
        pax.parse_records(data)


def test_names_with_a_nul_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="NUL"):
        pax.parse_records(b"12 path=a\0b\n")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (b"1.5", 1_500_000_000),
        (b"1", 10**9),
        (b"0.000000001", 1),
        (b"-1.25", -1_250_000_000),
        (b"1.1234567899", 1_123_456_789),
    ],
)
def test_times_keep_their_nanoseconds(text: bytes, want: int) -> None:
    entry = parse_header(header())
    pax.apply_records(entry, [(b"mtime", text)])
    assert entry.mtime_ns == want


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"size", b"-1"),
        (b"size", b"1_0"),
        (b"uid", b"4294967295"),
        (b"mtime", b"1.x"),
        (b"mtime", b"9" * 30),
        (b"gid", b"\xd9\xa1"),
    ],
)
def test_bad_values(key: bytes, value: bytes) -> None:
    with pytest.raises(InvalidArgument):
        pax.apply_records(parse_header(header()), [(key, value)])


# --- reader ----------------------------------------------------------------------------------------------


def read(archive: bytes, limits: Limits | None = None, *, step: int = 1 << 20) -> list[tuple[bytes, bytes]]:
    stream = io.BytesIO(archive)
    reader = TarReader(lambda: stream.read(step), limits=limits or Limits())
    return [(entry.name, b"".join(bytes(piece) for piece in reader.data())) for entry in reader]


@given(
    files=st.lists(
        st.tuples(st.text("abcß/", min_size=1, max_size=300), st.binary(max_size=2000)), max_size=6
    ),
    format=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    step=st.sampled_from([1, 100, 512, 700, 1 << 20]),
)
def test_whatever_the_chunks_the_entries_are_the_same(
    files: list[tuple[str, bytes]], format: int, step: int
) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert read(target.getvalue(), step=step) == [(name.encode(), content) for name, content in files]


@given(st.binary(max_size=3000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read(data)
    except InvalidArgument:
        pass


@given(position=st.integers(0, 2047), value=st.integers(0, 255))
def test_any_damage_is_read_or_refused(position: int, value: int) -> None:
    info = tarfile.TarInfo("n" * 150)
    info.pax_headers = {"SCHILY.xattr.user.a": "b"}
    archive = bytearray(info.tobuf(tarfile.PAX_FORMAT) + header() + bytes(1024))
    archive[position % len(archive)] = value
    try:
        read(bytes(archive))
    except InvalidArgument:
        pass


def test_too_long_a_special_header_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidArgument, match="extended header of 2000000 bytes"):
        read(header(type=b"x", size=2_000_000))


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="unknown type b'M'"):
        read(header(type=b"M"))


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (b"a/b", b"a/b"),
        (b"./a", b"a"),
        (b"/a//b/./c/", b"a/b/c"),
        (b"a/../b", b"b"),
        (b".", b""),
        (b"./", b""),
        (b"/", b""),
        (b"", b""),
        (b".hidden", b".hidden"),
        (b"a/.hidden", b"a/.hidden"),
        (b"a/..", b""),
        (b"...", b"..."),
        (b"a/...", b"a/..."),
        (b"././a", b"a"),
        (b"\xff", b"\xff"),
    ],
)
def test_clean_names(raw: bytes, want: bytes) -> None:
    assert clean_name(raw, limit_bytes=100) == want


@pytest.mark.parametrize("raw", [b"..", b"../a", b"/..", b"a/../../b", b"./../a", b"a/b/../../../c"])
def test_names_that_lead_out(raw: bytes) -> None:
    with pytest.raises(InvalidArgument, match="leads out of the root"):
        clean_name(raw, limit_bytes=100)


@given(st.binary(max_size=40))
def test_a_clean_name_has_no_way_out(raw: bytes) -> None:
    try:
        name = clean_name(raw, limit_bytes=100)
    except InvalidArgument:
        return
    assert not name.startswith(b"/")
    assert not {b"", b".", b".."} & set(name.split(b"/")) or name == b""
