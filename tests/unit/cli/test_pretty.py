"""JSON as docker prints it."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.cli.pretty import compact_json, pretty_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=30)
@given(VALUES)
def test_indented_json_is_that_of_the_standard_library(value: object) -> None:
    assert pretty_json(value) == json.dumps(value, indent=4, ensure_ascii=False)


@settings(max_examples=30)
@given(VALUES)
def test_compact_json_is_that_of_the_standard_library(value: object) -> None:
    assert compact_json(value) == json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def test_functions_of_rows_are_left_out() -> None:
    assert compact_json({"a": 1, "Label": lambda: ""}) == '{"a":1}'
