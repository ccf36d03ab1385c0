"""`sampan.fastjson` reads and writes what `json` does, and refuses the rest."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan import fastjson
from sampan.errors import InvalidArgument

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES)
def test_round_trip(value: object) -> None:
    assert fastjson.loads(fastjson.dumps(value)) == value
    assert json.loads(fastjson.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,]", "nan", "NaN", "1 2", "{'a':1}", b"\xff", "[" * 100_000, "1" * 500, '"\n"'],
    ids=lambda text: repr(text[:8]),
)
def test_bad_documents(text: str | bytes) -> None:
    with pytest.raises(InvalidArgument, match="invalid JSON"):
        fastjson.loads(text)
