"""TLS as a user sets it up: the recipe of docs/access.md, and the real clients with what it makes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.sampand import DOCKERS, SAMPAND, Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]

DOC = Path(__file__).resolve().parents[2] / "docs" / "access.md"
CLIENTS = {**DOCKERS, "sampan": str(SAMPAND.with_name("sampan"))}


def make_certificates(folder: Path) -> None:
    """Run the commands that the page gives."""
    page = DOC.read_text().partition("**Certificates.**")[2]
    script = page.partition("```sh\n")[2].partition("```")[0]
    assert "openssl" in script
    subprocess.run(["sh", "-e", "-c", script], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Sampand]:
    """A sampand that also listens on TCP with TLS; `host` is that address."""
    daemon = Sampand(tmp_path_factory.mktemp("box"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        daemon.start(
            f"--host=unix://{daemon.socket}",
            f"--host=tcp://localhost:{port}",
            "--tlsverify",
            f"--tlscacert={certificates}/ca.pem",
            f"--tlscert={certificates}/server-cert.pem",
            f"--tlskey={certificates}/server-key.pem",
        )
        daemon.load_busybox()
        daemon.host = f"tcp://localhost:{port}"
        yield daemon
    finally:
        daemon.close()


def call(
    box: Sampand, client: str, folder: Path, *arguments: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(box.folder), "DOCKER_CERT_PATH": str(folder)}
    return subprocess.run(
        [CLIENTS[client], "-H", box.host, "--tlsverify", *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(params=sorted(CLIENTS))
def client(request: pytest.FixtureRequest) -> str:
    if not Path(CLIENTS[request.param]).exists():
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


def test_a_client_works_as_on_the_socket(
    box: Sampand, certificates: Path, client: str, tmp_path: Path
) -> None:
    text = os.urandom(1 << 20)
    done = call(box, client, certificates, "run", "--rm", "-i", "busybox", "cat", stdin=text)
    assert (done.returncode, done.stdout) == (0, text)
    assert (
        call(box, client, certificates, "run", "--name", "mine", "busybox", "sh", "-c", "exit 7").returncode
        == 7
    )
    (tmp_path / "file").write_bytes(text)
    assert call(box, client, certificates, "cp", f"{tmp_path}/file", "mine:/copy").returncode == 0
    assert call(box, client, certificates, "cp", "mine:/copy", f"{tmp_path}/back").returncode == 0
    assert (tmp_path / "back").read_bytes() == text
    assert call(box, client, certificates, "rm", "mine").returncode == 0


def test_who_is_not_meant_is_told(box: Sampand, certificates: Path, client: str, tmp_path: Path) -> None:
    stranger, lost = tmp_path / "stranger", tmp_path / "lost"
    for folder in (stranger, lost):
        folder.mkdir()
        make_certificates(folder)
    shutil.copy(certificates / "ca.pem", stranger)  # trusts the server, which does not know it
    for name in ("cert.pem", "key.pem"):
        shutil.copy(certificates / name, lost)  # is known, but does not know the server
    wanted = {
        stranger: ("unknown certificate authority", "unknown ca"),
        lost: ("signed by unknown authority", "self-signed certificate", "self signed certificate"),
    }
    for folder, texts in wanted.items():
        done = call(box, client, folder, "ps")
        assert done.returncode == 1
        assert any(text in done.stderr.decode() for text in texts), done.stderr
