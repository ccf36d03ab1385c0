from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.engine.files.users import Accounts, User, parse_id, resolve_user
from sampan.errors import InvalidArgument

ACCOUNTS = Accounts(
    passwd=b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\n1000:x:7:7::/trap:/bin/sh\n"
    b"# a comment\nbroken line\nbig:x:99999999999:0::/:/bin/sh\nbob:x:1001:100::/home/bob:/bin/sh\n",
    group=b"root:x:0:\nwww:x:33:bob\nusers:x:100:\nwheel:x:10:root,bob\n",
)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("", User(uid=0, gid=0, groups=(0, 10), home="/root"), id="nobody asked: root"),
        pytest.param("root", User(uid=0, gid=0, groups=(0, 10), home="/root"), id="name"),
        pytest.param("bob", User(uid=1001, gid=100, groups=(100, 33, 10), home="/home/bob"), id="all groups"),
        pytest.param("bob:33", User(uid=1001, gid=33, groups=(33,), home="/home/bob"), id="group given"),
        pytest.param("bob:www", User(uid=1001, gid=33, groups=(33,), home="/home/bob"), id="group name"),
        pytest.param("33", User(uid=33, gid=33, groups=(33,), home="/var/www"), id="number of a user"),
        pytest.param(
            "1000", User(uid=1000, gid=0, groups=(0,), home="/"), id="number wins over a name of digits"
        ),
        pytest.param("5:6", User(uid=5, gid=6, groups=(6,), home="/"), id="numbers that nobody has"),
        pytest.param("1", User(uid=1, gid=0, groups=(0,), home="/"), id="1 is UID 1 (CVE-2026-30892)"),
        pytest.param("2147483647", User(uid=2147483647, gid=0, groups=(0,), home="/"), id="largest"),
    ],
)
def test_resolve(text: str, want: User) -> None:
    assert resolve_user(text, ACCOUNTS) == want


@pytest.mark.parametrize(
    "text",
    [
        "2147483648",
        "4294967296",
        "-1",
        "+1",
        "0x0",
        "1000:",
        ":0",
        "a:b:c",
        "\u0661",
        "1_0",
        " 1",
        "nosuch",
        "bob:none",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        resolve_user(text, ACCOUNTS)


def test_group_add_by_name_and_number() -> None:
    assert resolve_user("33", ACCOUNTS, group_add=["users", "4242"]).groups == (33, 100, 4242)
    with pytest.raises(InvalidArgument, match="unable to find group nosuch"):
        resolve_user("33", ACCOUNTS, group_add=["nosuch"])


def test_unknown_user_text() -> None:
    with pytest.raises(
        InvalidArgument, match="unable to find user nosuch: no matching entries in passwd file"
    ):
        resolve_user("nosuch", Accounts())


@given(st.integers(min_value=0, max_value=2**31 - 1))
def test_parse_id_is_the_inverse_of_str(number: int) -> None:
    assert parse_id(str(number)) == number


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_file_gives_root_or_an_error_of_ours(passwd: bytes, group: bytes) -> None:
    assert resolve_user("", Accounts(passwd=passwd, group=group)).uid == 0
