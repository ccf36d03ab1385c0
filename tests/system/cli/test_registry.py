"""`sampan pull`, `login` and `logout`, and docker's login, against Debian's registry with a password."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.cli.harness import Terminal, sampan
from tests.system.registry_kit import OCI_MANIFEST, Registry, make_image, needs_registry, serve_registry
from tests.system.sampand import Sampand, busybox_tar, needs_busybox, needs_root
from tests.system.store_kit import entry, tar

pytestmark = [needs_root, needs_busybox, needs_registry, pytest.mark.peers]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("closed"), htpasswd=("anna", "secret")) as registry:
        registry.put("box", "1", make_image([busybox_tar(), tar(entry("own"))]))
        yield registry


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"DOCKER_CONFIG": str(tmp_path / "config"), "HOME": str(tmp_path)}


def login(sampand: Sampand, closed: Registry, home: dict[str, str], password: str = "secret") -> object:
    arguments = ("login", "-u", "anna", "--password-stdin", closed.domain)
    return sampan(sampand.host, *arguments, stdin=password.encode() + b"\n", env=home)


def test_login_pull_logout(sampand: Sampand, closed: Registry, home: dict[str, str]) -> None:
    name = f"{closed.domain}/box:1"
    done = sampan(sampand.host, "pull", name, env=home)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: no basic auth credentials\nhint: log in first: sampan login {closed.domain}\n"
    wrong = login(sampand, closed, home, "guess")
    assert "unauthorized" in wrong.err  # type: ignore[attr-defined]  # Done
    right = login(sampand, closed, home)
    assert right.out == "Login Succeeded\n"  # type: ignore[attr-defined]  # Done
    config = Path(home["DOCKER_CONFIG"]) / "config.json"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert json.loads(config.read_text()) == {"auths": {closed.domain: {"auth": "YW5uYTpzZWNyZXQ="}}}
    done = sampan(sampand.host, "pull", name, env=home)
    assert (done.code, done.out) == (0, f"{name}\n"), done.err
    assert done.err.count("Pull complete") + done.err.count("Already exists") == 2
    assert f"Status: Downloaded newer image for {name}" in done.err
    assert "secret" not in sampand.log.read_text()
    done = sampan(sampand.host, "logout", closed.domain, env=home)
    assert done.out == f"Removed login credentials for {closed.domain}\n"
    assert json.loads(config.read_text()) == {"auths": {}}
    assert sampan(sampand.host, "rmi", name, env=home).code == 0


def test_run_with_policies(sampand: Sampand, closed: Registry, home: dict[str, str]) -> None:
    login(sampand, closed, home)
    name = f"{closed.domain}/box:1"
    run = ("run", "--rm", "--network", "none")
    done = sampan(sampand.host, *run, "--pull", "never", name, "true", env=home)
    assert done.code == 125
    assert "No such image" in done.err
    done = sampan(sampand.host, *run, name, "echo", "here", env=home)
    assert (done.code, done.out) == (0, "here\n"), done.err
    before = len(closed.requests())
    assert sampan(sampand.host, *run, name, "true", env=home).code == 0
    assert closed.requests()[before:] == []
    done = sampan(sampand.host, *run, "--pull", "always", "-q", name, "true", env=home)
    assert (done.code, done.err) == (0, "")
    assert closed.requests()[before:] != []
    done = sampan(sampand.host, *run, f"{closed.domain}/box:2", "true", env=home)
    assert done.code == 125
    assert "not found: manifest unknown" in done.err


def test_a_helper(sampand: Sampand, closed: Registry, home: dict[str, str], tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(
        f"#!/bin/sh\ncase $1 in\n get) cat {tmp_path}/kept;;\n store) cat > {tmp_path}/kept;;\n"
        f" erase) rm {tmp_path}/kept;;\nesac\n"
    )
    helper.chmod(0o755)
    config = Path(home["DOCKER_CONFIG"])
    config.mkdir()
    (config / "config.json").write_text('{"credsStore":"test"}')
    env = {**home, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    login(sampand, closed, env)
    assert json.loads((tmp_path / "kept").read_text())["Secret"] == "secret"
    assert "secret" not in (config / "config.json").read_text()
    assert sampan(sampand.host, "pull", f"{closed.domain}/box:1", env=env).code == 0
    assert sampan(sampand.host, "logout", closed.domain, env=env).code == 0
    assert not (tmp_path / "kept").exists()


def test_bars_on_a_terminal(sampand: Sampand, tmp_path: Path) -> None:
    with serve_registry(tmp_path / "open") as registry:
        registry.put("bars", "1", make_image([tar(entry("one")), tar(entry("two"))]))
        with Terminal(sampand.host, "pull", f"{registry.domain}/bars:1", columns=60) as terminal:
            assert terminal.expect(b"Status: Downloaded").count(b"Pull complete") >= 2


def test_docker_login_and_distribution(sampand: Sampand, closed: Registry) -> None:
    done = sampand.docker("login", "-u", "anna", "--password-stdin", closed.domain, stdin=b"guess")
    assert done.code == 1
    assert "unauthorized" in done.err
    done = sampand.docker("login", "-u", "anna", "--password-stdin", closed.domain, stdin=b"secret")
    assert "Login Succeeded" in done.text, done.err
    assert sampand.docker("pull", f"{closed.domain}/box:1").code == 0
    assert sampand.docker("logout", closed.domain).code == 0


def test_distribution(sampand: Sampand, tmp_path: Path) -> None:
    image = make_image([tar(entry("x"))], architecture="arm64")
    with serve_registry(tmp_path / "open") as registry:
        registry.put("some/app", "1", image)
        found = sampand.call("GET", f"/distribution/{registry.domain}/some/app:1/json")
        assert found["Descriptor"]["digest"] == image.digest
        assert found["Platforms"] == [{"architecture": "arm64", "os": "linux"}]
        status, _, answer = sampand.request("GET", f"/distribution/{registry.domain}/some/app:2/json")
        assert (status, b"manifest unknown" in answer) == (404, True)


def test_push(sampand: Sampand, closed: Registry, home: dict[str, str]) -> None:
    name = f"{closed.domain}/sent:3"
    assert sampan(sampand.host, "tag", "busybox", name, env=home).code == 0
    assert "no basic auth credentials" in sampan(sampand.host, "push", name, env=home).err
    login(sampand, closed, home)
    done = sampan(sampand.host, "push", name, env=home)
    assert (done.code, done.out) == (0, f"{name}\n"), done.err
    assert "Pushed" in done.err
    assert closed.request("GET", "/v2/sent/manifests/3", Accept=OCI_MANIFEST)[0] == 200
