"""A real registry for tests (Debian: docker-registry) on loopback, and images made to measure in it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from tests.system.sampand import busybox_tar, wait_for

from sampan.tls import client_context

needs_registry = pytest.mark.skipif(
    which("docker-registry") is None, reason="no registry (Debian: docker-registry)"
)

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class MadeImage:
    """An image as its documents and blobs; blobs by digest."""

    manifest: bytes
    media_type: str
    blobs: dict[str, bytes]
    config: str

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


def make_image(
    layers: Sequence[bytes],
    *,
    compress: Any = lambda data: gzip.compress(data, 1, mtime=0),
    layer_type: str = OCI_GZIP,
    architecture: str = "amd64",
    command: Sequence[str] = ("sh",),
    **config: object,
) -> MadeImage:
    """Return an image of plain tar layers, lowest first."""
    blobs = [compress(layer) for layer in layers]
    document = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": list(command), **config},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest_of(document), "size": len(document)},
            "layers": [
                {"mediaType": layer_type, "digest": digest_of(blob), "size": len(blob)} for blob in blobs
            ],
        }
    ).encode()
    return MadeImage(
        manifest,
        OCI_MANIFEST,
        {digest_of(data): data for data in (document, *blobs)},
        digest_of(document),
    )


def busybox_image(**config: object) -> MadeImage:
    return make_image([busybox_tar()], **config)  # type: ignore[arg-type]  # passed on


def make_index(*images: tuple[MadeImage, str]) -> bytes:
    """Return an index of images for architectures."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                {
                    "mediaType": image.media_type,
                    "digest": image.digest,
                    "size": len(image.manifest),
                    "platform": {"os": "linux", "architecture": architecture},
                }
                for image, architecture in images
            ],
        }
    ).encode()


@dataclass
class Registry:
    """One that runs; `authorization` is what the kit itself sends."""

    port: int
    log: Path
    authorization: str = ""
    tls: ssl.SSLContext | None = None

    @property
    def domain(self) -> str:
        return f"127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        if self.tls is not None:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self.tls)
        try:
            if self.authorization:
                headers["Authorization"] = self.authorization
            connection.request(
                method, path, body, {key.replace("_", "-"): text for key, text in headers.items()}
            )
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def put(self, name: str, tag: str, image: MadeImage) -> None:
        """Put an image there."""
        for digest, data in image.blobs.items():
            status, headers, _ = self.request("POST", f"/v2/{name}/blobs/uploads/")
            assert status == 202
            place = headers["Location"].partition(self.domain)[2] or headers["Location"]
            status, _, answer = self.request(
                "PUT", f"{place}&digest={digest}", data, Content_Type="application/octet-stream"
            )
            assert status == 201, answer
        self.put_document(name, tag, image.manifest, image.media_type)

    def put_document(self, name: str, tag: str, document: bytes, media_type: str) -> None:
        status, _, answer = self.request(
            "PUT", f"/v2/{name}/manifests/{tag}", document, Content_Type=media_type
        )
        assert status == 201, answer

    def requests(self) -> list[str]:
        """Return `METHOD path` of what was answered so far."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            _, quote, rest = line.partition('"')
            words = rest.split()
            if quote and words and words[0] in ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"):
                found.append(f"{words[0]} {words[1]}")
        return found


@contextmanager
def serve_registry(
    folder: Path, *, htpasswd: tuple[str, str] | None = None, tls: Path | None = None, mutual: bool = False
) -> Iterator[Registry]:
    """Run Debian's docker-registry below a folder; htpasswd: the one user; tls: a folder of `tls_kit`.

    mutual: only clients with a certificate are answered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "blobs")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    context = None
    if tls is not None:
        config["http"]["tls"] = {"certificate": f"{tls}/server-cert.pem", "key": f"{tls}/server-cert-key.pem"}
        if mutual:
            config["http"]["tls"]["clientcas"] = [f"{tls}/ca.pem"]
        context = client_context(f"{tls}/ca.pem")
        context.load_cert_chain(f"{tls}/cert.pem", f"{tls}/key.pem")
    authorization = ""
    if htpasswd is not None:
        passwords = folder / "htpasswd"
        subprocess.run(["htpasswd", "-Bbc", passwords, *htpasswd], check=True, capture_output=True)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(passwords)}}
        authorization = "Basic " + base64.b64encode(":".join(htpasswd).encode()).decode()
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    log = folder / "log"
    with open(log, "wb") as sink:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")], stdout=sink, stderr=sink
        )
    registry = Registry(port, log, authorization, context)
    try:
        wait_for(lambda: _answers(registry), "registry is up")
        yield registry
    finally:
        process.kill()
        process.wait()


def _answers(registry: Registry) -> bool:
    try:
        return registry.request("GET", "/v2/")[0] in (200, 401)
    except OSError:
        return False
