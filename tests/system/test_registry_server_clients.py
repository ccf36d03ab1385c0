"""Real clients: skopeo, podman and Debian's registry as the measure; what comes back is what went in."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import engines
from tests.system.engine_kit import busybox_archive
from tests.system.registry_server_kit import RegistryServer, run

pytestmark = pytest.mark.peers
PLAIN = ("--insecure-policy",)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry") / "root")
    yield server
    server.close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "busybox.tar"
    path.write_bytes(busybox_archive())
    return path


@pytest.fixture
def podman() -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory(prefix="sampan-") as root:  # podman refuses long paths
        places = ["--root", f"{root}/graph", "--runroot", f"{root}/run", "--storage-driver", "vfs"]
        yield ["podman", *places, "--cgroup-manager", "cgroupfs"]


def test_skopeo_there_and_back(registry: RegistryServer, archive: Path, tmp_path: Path) -> None:
    place = f"docker://{registry.address}/skopeo/busybox:1"
    oci, back = f"oci:{tmp_path}/first:1", f"oci:{tmp_path}/back:1"
    run("skopeo", *PLAIN, "copy", f"docker-archive:{archive}", oci)
    run("skopeo", *PLAIN, "copy", "--dest-tls-verify=false", oci, place)
    run("skopeo", *PLAIN, "copy", "--src-tls-verify=false", place, back)
    first, second = (run("skopeo", "inspect", "--raw", one) for one in (oci, back))
    assert first == second
    assert sorted(one.name for one in (tmp_path / "first/blobs/sha256").iterdir()) == sorted(
        one.name for one in (tmp_path / "back/blobs/sha256").iterdir()
    )
    tags = json.loads(run("skopeo", "list-tags", "--tls-verify=false", place.rpartition(":")[0]))
    assert tags["Tags"] == ["1"]
    other = f"docker://{registry.address}/skopeo/other:1"  # the blobs are mounted, not sent
    run("skopeo", *PLAIN, "copy", "--src-tls-verify=false", "--dest-tls-verify=false", place, other)
    run("skopeo", *PLAIN, "delete", "--tls-verify=false", place)
    assert registry.ask("GET", "/v2/skopeo/busybox/manifests/1").status == 404


def test_podman_pushes_and_pulls(registry: RegistryServer, archive: Path, podman: list[str]) -> None:
    run(*podman, "load", "-i", str(archive))
    name = f"{registry.address}/podman/busybox:1"
    local = run(*podman, "images", "--format", "{{.ID}}", "--no-trunc").strip()
    run(*podman, "push", "--tls-verify=false", local, name)
    run(*podman, "rmi", "-f", local)
    run(*podman, "pull", "--tls-verify=false", name)
    assert run(*podman, "images", "--format", "{{.ID}}", "--no-trunc").strip() == local


def test_dockerd_pushes_and_pulls(registry: RegistryServer) -> None:
    if not Path("/usr/sbin/dockerd").exists():
        pytest.skip("dockerd is not installed (Debian: docker.io)")
    with engines.scratch(Path("/var/tmp")) as root, engines.dockerd(root / "d") as docker:
        local = run(*docker.client, "images", "-q", "--no-trunc").strip()
        name = f"{registry.address}/docker/busybox:1"
        run(*docker.client, "tag", local, name)
        pushed = run(*docker.client, "push", name)
        run(*docker.client, "rmi", "-f", local)
        pulled = run(*docker.client, "pull", name)
        assert run(*docker.client, "images", "-q", "--no-trunc").split() == [local]
        digest = registry.ask("HEAD", "/v2/docker/busybox/manifests/1").headers["Docker-Content-Digest"]
        assert f"digest: {digest}" in pushed
        assert f"Digest: {digest}" in pulled


def test_skopeo_logs_in_by_tokens(archive: Path, tmp_path: Path) -> None:
    bcrypt = pytest.importorskip("bcrypt")
    users = tmp_path / "users"
    users.write_bytes(b"anna:" + bcrypt.hashpw(b"right", bcrypt.gensalt(4)))
    options = ("--htpasswd", str(users), "--tokens", "--anonymous-pull")
    server = RegistryServer(tmp_path / "root", *options)
    try:
        place = f"docker://{server.address}/app:1"
        source = f"docker-archive:{archive}"
        copy = ("skopeo", *PLAIN, "copy", "--dest-tls-verify=false")
        refused = subprocess.run([*copy, source, place], capture_output=True, text=True, timeout=60)
        assert refused.returncode != 0
        run(*copy, "--dest-creds", "anna:right", source, place)
        auth = str(tmp_path / "auth.json")
        run(
            "skopeo",
            "login",
            "--tls-verify=false",
            "--authfile",
            auth,
            "-u",
            "anna",
            "-p",
            "right",
            server.address,
        )
        run("skopeo", *PLAIN, "copy", "--src-tls-verify=false", place, f"oci:{tmp_path}/out")  # by nobody
    finally:
        server.close()
