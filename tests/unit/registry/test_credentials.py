"""X-Registry-Auth, and what is never shown."""

from __future__ import annotations

import base64
import json

import pytest

from sampan.registry.credentials import NOBODY, Credentials, parse_registry_auth


def encode(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize(
    ("header", "want"),
    [
        pytest.param("e30=", NOBODY, id="anonymous CLI"),
        pytest.param("", NOBODY, id="nothing"),
        pytest.param("%%%", NOBODY, id="rubbish"),
        pytest.param(encode([1]), NOBODY, id="a list"),
        pytest.param(encode({"username": 5}), NOBODY, id="a number as name"),
        pytest.param(encode({"username": "a", "password": "b"}), Credentials("a", "b"), id="password"),
        pytest.param(
            encode({"username": "a", "password": "b"}).rstrip("="), Credentials("a", "b"), id="no padding"
        ),
        pytest.param(encode({"identitytoken": "t"}), Credentials(identity_token="t"), id="identity token"),
        pytest.param(
            encode({"auth": base64.b64encode(b"a:b:c").decode()}), Credentials("a", "b:c"), id="auth"
        ),
        pytest.param(encode({"auth": "%%%"}), NOBODY, id="auth is rubbish"),
    ],
)
def test_parse(header: str, want: Credentials) -> None:
    assert parse_registry_auth(header) == want


def test_secrets_are_not_shown() -> None:
    shown = repr(Credentials("anna", "secret-1", "secret-2", "secret-3"))
    assert "anna" in shown
    assert "secret" not in shown
