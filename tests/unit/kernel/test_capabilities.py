from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import InvalidArgument
from sampan.kernel.capabilities import NAMES, from_mask, parse_capability, to_mask


@pytest.mark.parametrize("form", [str, str.lower, lambda name: name[4:], lambda name: name[4:].title()])
def test_every_name_in_every_form(form: object) -> None:
    assert callable(form)
    assert [parse_capability(form(name)) for name in NAMES] == list(range(41))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("CAP_CHOWN", 0),
        ("net_admin", 12),
        ("Sys_Admin", 21),
        ("CAP_SETFCAP", 31),
        ("cap_checkpoint_restore", 40),
    ],
)
def test_numbers_are_the_headers(text: str, number: int) -> None:
    assert parse_capability(text) == number


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("NET_ADMN", "did you mean CAP_NET_ADMIN?"),
        ("CAP_SYSADMIN", "did you mean CAP_SYS_ADMIN?"),
        ("zzz", "capabilities(7) lists the names"),
        ("", "capabilities(7) lists the names"),
        ("ALL", "capabilities(7) lists the names"),
        ("CAP_CAP_CHOWN", "did you mean CAP_CHOWN?"),
        (" CHOWN", "did you mean CAP_CHOWN?"),
    ],
)
def test_unknown_names_are_errors_never_all(text: str, hint: str) -> None:
    with pytest.raises(InvalidArgument, match="unknown capability") as caught:
        parse_capability(text)
    assert repr(text) in str(caught.value)
    assert caught.value.hint == hint


@given(st.frozensets(st.integers(0, 63)))
def test_masks(caps: frozenset[int]) -> None:
    assert from_mask(to_mask(caps)) == caps
