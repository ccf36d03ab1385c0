"""A registry that is killed: what it acknowledged is there, what was half done goes on or is swept."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.engine_kit import wait_until
from tests.system.registry_server_kit import RegistryServer, digest_of

CONTENT = os.urandom(3 << 20)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path / "root")
    yield server
    server.close()


def test_an_upload_goes_on_after_kill(registry: RegistryServer) -> None:
    place = registry.ask("POST", "/v2/app/blobs/uploads/").headers["Location"]
    assert registry.ask("PATCH", place, CONTENT[: 1 << 20]).status == 202
    registry.kill()
    registry.start()
    assert registry.ask("GET", place).headers["Range"] == f"0-{(1 << 20) - 1}"
    last = len(CONTENT) - 1
    registry.ask("PATCH", place, CONTENT[1 << 20 :], Content_Range=f"{1 << 20}-{last}")
    assert registry.ask("PUT", f"{place}?digest={digest_of(CONTENT)}").status == 201
    assert registry.ask("GET", f"/v2/app/blobs/{digest_of(CONTENT)}").body == CONTENT


def test_what_was_acknowledged_is_there_after_kill(registry: RegistryServer) -> None:
    digest = registry.push_image("app", "latest")
    registry.kill()
    registry.start()
    assert registry.ask("GET", "/v2/app/manifests/latest").headers["Docker-Content-Digest"] == digest
    layer = registry.ask("GET", "/v2/app/manifests/latest").document["layers"][0]
    assert len(registry.ask("GET", f"/v2/app/blobs/{layer['digest']}").body) == layer["size"]


def test_a_client_that_leaves_in_the_middle_goes_on_where_it_was(registry: RegistryServer) -> None:
    place = registry.ask("POST", "/v2/app/blobs/uploads/").headers["Location"]
    host, port = registry.address.split(":")
    with socket.create_connection((host, int(port))) as client:
        head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
        client.sendall(head.encode() + CONTENT[:1000])
        wait_until(lambda: registry.ask("GET", place).headers["Range"] == "0-999", "the first bytes come")
    rest = registry.ask("PUT", f"{place}?digest={digest_of(CONTENT)}", CONTENT[1000:])
    assert rest.status == 201
    assert registry.ask("GET", f"/v2/app/blobs/{digest_of(CONTENT)}").body == CONTENT


def test_what_nobody_touches_is_swept(tmp_path: Path) -> None:
    server = RegistryServer(tmp_path / "root", "--stale-after", "0")
    place = server.ask("POST", "/v2/app/blobs/uploads/").headers["Location"]
    named = server.push_image("app", "latest")
    unnamed = server.push_blob("app", b"no manifest names it")
    (server.root / "uploads" / "half-made").mkdir()
    server.kill()
    server.start()
    try:
        assert server.ask("GET", place).code == "BLOB_UPLOAD_UNKNOWN"
        assert list((server.root / "uploads").iterdir()) == []
        assert not server.blob_path(unnamed).exists()
        assert server.ask("GET", f"/v2/app/blobs/{unnamed}").code == "BLOB_UNKNOWN"
        manifest = server.ask("GET", f"/v2/app/manifests/{named}").document
        assert server.ask("GET", f"/v2/app/blobs/{manifest['layers'][0]['digest']}").status == 200
    finally:
        server.close()


def test_a_full_disk_is_said_and_leaves_the_upload_whole(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", disk], check=True)
    try:
        server = RegistryServer(disk / "root")
        try:
            place = server.ask("POST", "/v2/app/blobs/uploads/").headers["Location"]
            done = server.ask("PATCH", place, os.urandom(11 << 20))
            assert (done.status, done.code) == (500, "UNKNOWN")
            assert "No space left" in done.document["errors"][0]["message"]
            assert server.ask("DELETE", place).status == 204
            assert server.push_blob("app", b"there is room again")
        finally:
            server.close()
    finally:
        subprocess.run(["umount", disk], check=True)
