"""Reading WWW-Authenticate."""

from __future__ import annotations

import pytest

from sampan.registry.challenges import find_challenge, parse_challenges


@pytest.mark.parametrize(
    ("header", "want"),
    [
        pytest.param("Basic", [("basic", {})], id="a scheme alone"),
        pytest.param('Basic realm="a, b"', [("basic", {"realm": "a, b"})], id="comma in quotes"),
        pytest.param(
            'Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"',
            [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"})],
            id="bearer",
        ),
        pytest.param(
            'Bearer realm="r", Basic realm="q"',
            [("bearer", {"realm": "r"}), ("basic", {"realm": "q"})],
            id="two in one header",
        ),
        pytest.param('Bearer realm="a\\"b"', [("bearer", {"realm": 'a"b'})], id="escaped quote"),
        pytest.param("BEARER realm=plain", [("bearer", {"realm": "plain"})], id="token value"),
        pytest.param('Bearer realm="one", realm="two"', [("bearer", {"realm": "one"})], id="first counts"),
        pytest.param('realm="x"', [], id="no scheme"),
        pytest.param("", [], id="nothing"),
        pytest.param("\x00\x01", [], id="rubbish"),
    ],
)
def test_parse(header: str, want: list[tuple[str, dict[str, str]]]) -> None:
    found = parse_challenges([header])
    assert [(one.scheme, dict(one.parameters)) for one in found] == want


def test_a_long_header_is_read_in_bounded_time() -> None:
    parse_challenges(['Bearer realm="' + "\\" * 1_000_000, "a=" * 500_000])


def test_find() -> None:
    found = parse_challenges(["Basic", 'Bearer realm="r"'])
    bearer = find_challenge(found, "bearer")
    assert bearer is not None
    assert bearer.parameters["realm"] == "r"
    assert find_challenge(found, "negotiate") is None
