from __future__ import annotations

import pytest

from sampan.kernel.mountinfo import MountInfo, parse_mountinfo_line, read_mountinfo

LINE = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue"


def test_every_field() -> None:
    assert parse_mountinfo_line(LINE) == MountInfo(
        mount_id=36,
        parent_id=35,
        device="98:0",
        root="/mnt1",
        mount_point="/mnt2",
        options=("rw", "noatime"),
        propagation=("master:1", "propagate_from:2"),
        fstype="ext3",
        source="/dev/root",
        super_options=("rw", "errors=continue"),
    )


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (rb"/a\040b", "/a b"),
        (rb"/a\011b\012c", "/a\tb\nc"),
        (rb"/a\134b", "/a\\b"),
        (rb"/a\134040b", "/a\\040b"),  # a backslash and the digits 040, no blank
        (b"/\xff", "/\udcff"),
        ("/ü".encode(), "/ü"),
    ],
)
def test_escapes(escaped: bytes, text: str) -> None:
    assert parse_mountinfo_line(LINE.replace(b"/mnt2", escaped)).mount_point == text


def test_no_optional_fields_and_empty_source() -> None:
    info = parse_mountinfo_line(b"1 0 0:5 / /x rw - tmpfs  rw")
    assert (info.propagation, info.source, info.fstype) == ((), "", "tmpfs")


def test_our_own_root_is_there() -> None:
    assert any(info.mount_point == "/" for info in read_mountinfo())
