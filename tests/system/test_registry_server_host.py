"""`--host-images`: what a host has, served beside its working store and without changing it."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

from tests.system.engine_kit import busybox_archive
from tests.system.registry_server_kit import PROGRAM, RegistryServer, run

from sampan.store.references import parse_tagged
from sampan.store.store import Store


def test_images_of_a_host_are_pulled_while_its_store_is_open(tmp_path: Path) -> None:
    with Store(str(tmp_path / "host")) as store:
        store.images.load(io.BytesIO(busybox_archive()))
        image = store.images.resolve("busybox")
        store.images.tag(image, parse_tagged("example.com/team/app:v1"))
        store.images.tag(image, parse_tagged("localhost:5000/app:v1"))  # a repository's name has no port
        server = RegistryServer(tmp_path / "host", "--host-images")
        try:
            assert server.ask("GET", "/v2/_catalog").document == {
                "repositories": ["example.com/team/app", "library/busybox"]
            }
            assert server.ask("GET", "/v2/library/busybox/tags/list").document["tags"] == ["latest"]
            place = f"docker://{server.address}/example.com/team/app:v1"
            run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", place, f"dir:{tmp_path}/out")
            pulled = (tmp_path / "out/manifest.json").read_bytes()
            assert pulled == server.blob_path(image.manifest.digest).read_bytes()
            assert server.ask("POST", "/v2/library/busybox/blobs/uploads/").code == "DENIED"
            store.images.remove("example.com/team/app:v1", users=lambda _: [])
            assert server.ask("GET", "/v2/example.com/team/app/tags/list").code == "NAME_UNKNOWN"
        finally:
            server.close()
        assert store.check.find() == []


def test_a_place_without_images_is_an_error(tmp_path: Path) -> None:
    command = [PROGRAM, "127.0.0.1:0", "--host-images", "--data-root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, "no images of a sampand" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []
