"""Who may do what: htpasswd by Basic and by tokens, anonymous pulling, read-only, TLS."""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.registry_server_kit import PROGRAM, RegistryServer, digest_of, run

from sampan.tls import client_context

pytest.importorskip("bcrypt")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


RIGHT = basic("anna", "right")


@pytest.fixture(scope="module")
def htpasswd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bcrypt = pytest.importorskip("bcrypt")
    path = tmp_path_factory.mktemp("users") / "htpasswd"
    path.write_bytes(b"# users\nanna:" + bcrypt.hashpw(b"right", bcrypt.gensalt(4)) + b"\n")
    return path


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, htpasswd: Path) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("closed") / "root", "--htpasswd", str(htpasswd))
    yield server
    server.close()


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory, htpasswd: Path) -> Iterator[RegistryServer]:
    options = ("--htpasswd", str(htpasswd), "--tokens", "--anonymous-pull")
    server = RegistryServer(tmp_path_factory.mktemp("tokens") / "root", *options)
    yield server
    server.close()


def test_without_a_login_nothing_is_told(closed: RegistryServer) -> None:
    for method, path in (
        ("GET", "/v2/"),
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/x/tags/list"),
        ("POST", "/v2/x/blobs/uploads/"),
        ("DELETE", "/v2/x/manifests/latest"),
    ):
        done = closed.ask(method, path)
        assert (done.status, done.code) == (401, "UNAUTHORIZED"), path
        assert done.headers["WWW-Authenticate"] == 'Basic realm="sampan registry"'


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        pytest.param(RIGHT, 200, id="right"),
        pytest.param(basic("anna", "wrong"), 401, id="wrong password"),
        pytest.param(basic("anna", "right\0"), 401, id="a zero byte"),
        pytest.param(basic("anna", ""), 401, id="empty password"),
        pytest.param(basic("otto", "right"), 401, id="no such user"),
        pytest.param("Basic !", 401, id="no base64"),
        pytest.param("Bearer x.y", 401, id="a token where there are none"),
    ],
)
def test_a_password(closed: RegistryServer, shown: str, status: int) -> None:
    assert closed.ask("GET", "/v2/", Authorization=shown).status == status
    assert closed.ask("GET", "/v2/", Authorization=shown).status == status  # a right one is remembered


def test_a_changed_file_counts_at_once(tmp_path: Path) -> None:
    bcrypt = pytest.importorskip("bcrypt")
    users = tmp_path / "users"
    users.write_bytes(b"anna:" + bcrypt.hashpw(b"right", bcrypt.gensalt(4)))
    server = RegistryServer(tmp_path / "root", "--htpasswd", str(users))
    try:
        assert server.ask("GET", "/v2/", Authorization=RIGHT).status == 200
        users.write_bytes(b"anna:" + bcrypt.hashpw(b"another", bcrypt.gensalt(4)) + b"\n")
        assert server.ask("GET", "/v2/", Authorization=RIGHT).status == 401
        assert server.ask("GET", "/v2/", Authorization=basic("anna", "another")).status == 200
    finally:
        server.close()


def token(server: RegistryServer, scope: str, **headers: str) -> str:
    answer = server.ask("GET", f"/token?service={server.address}&scope={scope}", **headers)
    assert answer.status == 200, answer
    return f"Bearer {answer.document['token']}"


def test_a_token_allows_what_it_was_asked_for_and_no_more(tokens: RegistryServer) -> None:
    asked = tokens.ask("POST", "/v2/a/b/blobs/uploads/")
    assert asked.headers["WWW-Authenticate"] == (
        f'Bearer realm="http://{tokens.address}/token",service="{tokens.address}",'
        'scope="repository:a/b:pull,push"'
    )
    shown = token(tokens, "repository:a/b:pull,push", Authorization=RIGHT)
    assert tokens.ask("POST", "/v2/a/b/blobs/uploads/", Authorization=shown).status == 202
    assert tokens.ask("POST", "/v2/a/c/blobs/uploads/", Authorization=shown).status == 401
    assert tokens.ask("DELETE", "/v2/a/b/manifests/x", Authorization=shown).status == 401
    assert tokens.ask("GET", "/v2/_catalog", Authorization=shown).status == 401
    catalog = token(tokens, "registry:catalog:*", Authorization=RIGHT)
    assert tokens.ask("GET", "/v2/_catalog", Authorization=catalog).status == 200


def test_a_token_without_a_name_allows_pulling_only(tokens: RegistryServer) -> None:
    shown = token(tokens, "repository:a/b:pull,push")
    assert tokens.ask("POST", "/v2/a/b/blobs/uploads/", Authorization=shown).status == 401
    absent = tokens.ask("GET", f"/v2/a/b/blobs/{digest_of(b'?')}", Authorization=shown)
    assert absent.code == "BLOB_UNKNOWN"
    assert tokens.ask("GET", "/token", Authorization=basic("anna", "wrong")).status == 401


def test_a_token_that_was_changed_or_is_from_elsewhere_is_refused(tokens: RegistryServer) -> None:
    shown = token(tokens, "repository:a/b:pull", Authorization=RIGHT)
    body, _, signature = shown.removeprefix("Bearer ").partition(".")
    claims = json.loads(base64.urlsafe_b64decode(body))
    claims["repositories"] = {"a/b": ["pull", "push", "delete"]}
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
    for text in (f"{forged}.{signature}", f"{body}.", body, "", "x.y", "é.é"):
        sent = f"Bearer {text}".encode().decode("latin-1")
        assert tokens.ask("POST", "/v2/a/b/blobs/uploads/", Authorization=sent).status == 401


def test_a_source_that_may_not_be_pulled_is_not_mounted(tokens: RegistryServer) -> None:
    both = token(tokens, "repository:secret:pull,push", Authorization=RIGHT)
    digest = digest_of(b"secret")
    path = f"/v2/secret/blobs/uploads/?digest={digest}"
    assert tokens.ask("POST", path, b"secret", Authorization=both).status == 201
    shown = token(tokens, "repository:mine:pull,push", Authorization=RIGHT)
    for query in (f"mount={digest}&from=secret", f"mount={digest}"):
        done = tokens.ask("POST", f"/v2/mine/blobs/uploads/?{query}", Authorization=shown)
        assert done.status == 202


def test_a_read_only_registry_changes_nothing(tmp_path: Path) -> None:
    writing = RegistryServer(tmp_path / "root")
    digest = writing.push_image("app", "latest")
    writing.close()
    server = RegistryServer(tmp_path / "root", "--read-only")
    try:
        assert server.ask("GET", "/v2/app/manifests/latest").status == 200
        for method, path in (
            ("POST", "/v2/app/blobs/uploads/"),
            ("PUT", "/v2/app/manifests/x"),
            ("DELETE", f"/v2/app/manifests/{digest}"),
        ):
            assert server.ask(method, path).code == "DENIED"
    finally:
        server.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["0.0.0.0:0"], "anybody who reaches it could push", id="open to all"),
        pytest.param(["--tokens"], "need --htpasswd", id="tokens for nobody"),
        pytest.param(["--tls-cert", "x"], "go together", id="a certificate without key"),
        pytest.param(["nonsense"], "it is not host:port", id="no address"),
        pytest.param(["--htpasswd", "/nonexistent"], "cannot read the users", id="no users"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    command = [PROGRAM, "--data-root", str(tmp_path / "root"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert message in done.stderr


def test_tls(tmp_path: Path) -> None:
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, *subject)
    content = os.urandom(1 << 20)
    server = RegistryServer(tmp_path / "root", "--tls-cert", cert, "--tls-key", key)
    try:
        context = client_context(cert)
        connection = http.client.HTTPSConnection(server.address, timeout=20, context=context)
        connection.request("POST", f"/v2/app/blobs/uploads/?digest={digest_of(content)}", content)
        response = connection.getresponse()
        assert (response.status, response.read()) == (201, b"")
        connection.request("GET", f"/v2/app/blobs/{digest_of(content)}", headers={"Range": "bytes=9-"})
        assert connection.getresponse().read() == content[9:]
        connection.close()
    finally:
        server.close()
