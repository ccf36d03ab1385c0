"""Identity tokens: what `docker login` keeps in place of a password, from our registry to later pulls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.system.registry_server_kit import RegistryServer
from tests.system.sampand import Sampand, needs_busybox, needs_root

bcrypt = pytest.importorskip("bcrypt")

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    set_password(path, b"right")
    return path


def set_password(path: Path, password: bytes) -> None:
    path.write_bytes(b"anna:" + bcrypt.hashpw(password, bcrypt.gensalt(4)) + b"\n")


@pytest.fixture
def registry(tmp_path: Path, users: Path) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path / "root", "--htpasswd", str(users), "--tokens")
    yield server
    server.close()


def ask(registry: RegistryServer, **fields: str) -> tuple[int, dict[str, str]]:
    body = urlencode({"service": registry.address, **fields}).encode()
    done = registry.ask("POST", "/token", body, Content_Type=FORM)
    return done.status, done.document


def test_the_flow(registry: RegistryServer, users: Path) -> None:
    status, without = ask(registry, grant_type="password", username="anna", password="right")
    assert (status, "refresh_token" in without) == (200, False)
    status, given = ask(
        registry, grant_type="password", username="anna", password="right", access_type="offline"
    )
    identity = given["refresh_token"]
    status, fresh = ask(
        registry, grant_type="refresh_token", refresh_token=identity, scope="repository:x:pull,push"
    )
    assert status == 200
    bearer = f"Bearer {fresh['access_token']}"
    assert registry.ask("POST", "/v2/x/blobs/uploads/", Authorization=bearer).status == 202
    registry.kill()
    registry.start()
    assert ask(registry, grant_type="refresh_token", refresh_token=identity)[0] == 200
    assert registry.ask("GET", "/v2/", Authorization=f"Bearer {identity}").status == 401
    for wrong in ("", "identity-.", identity[:-2], fresh["access_token"], "identity-e30=.x", "\u00e9"):
        assert ask(registry, grant_type="refresh_token", refresh_token=wrong)[0] == 401, wrong
    assert ask(registry, grant_type="other")[0] == 400
    set_password(users, b"another")
    assert ask(registry, grant_type="refresh_token", refresh_token=identity)[0] == 401


@needs_root
@needs_busybox
@pytest.mark.peers
def test_docker_and_sampan_keep_no_password(sampand: Sampand, registry: RegistryServer, users: Path) -> None:
    host = registry.address
    name = f"{host}/box:1"
    sampand.docker("tag", "busybox", name)
    assert sampand.docker("push", name).code == 1
    for run in (sampand.docker, sampand.sampan):
        done = run("login", "-u", "anna", "--password-stdin", host, stdin=b"right\n")
        assert "Login Succeeded" in done.text, done.err
        config = Path(sampand.environment["DOCKER_CONFIG"]) / "config.json"
        entry = json.loads(config.read_text())["auths"][host]
        assert entry["identitytoken"].startswith("identity-")
        assert "right" not in config.read_text()
        pushed = run("push", name)
        assert pushed.code == 0, pushed.err
        assert run("pull", name).code == 0
    set_password(users, b"another")
    refused = sampand.docker("push", name)
    assert (refused.code, "unauthorized" in refused.err) == (1, True)
    sampand.docker("logout", host)
