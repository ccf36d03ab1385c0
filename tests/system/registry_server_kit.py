"""A `sampan-registry` of one's own, and the real clients that are tried against it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.system.store_kit import entry, tar

from sampan.spec.image import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST

PROGRAM = str(Path(sys.executable).parent / "sampan-registry")
DEADLINE_S = 20.0


class RegistryServer:
    """One registry process on loopback; `close` it. prefix: what it is started by, for another namespace."""

    def __init__(
        self, root: Path, *options: str, address: str = "127.0.0.1:0", prefix: Sequence[str] = ()
    ) -> None:
        self.root = root
        self.log = root.parent / f"{root.name}.log"
        self._options = options
        self._prefix = prefix
        self._wanted = address
        self.start()

    def start(self) -> None:
        """Start the process and wait until it serves; `address` is where."""
        reading, writing = os.pipe()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self._prefix,
                    PROGRAM,
                    self._wanted,
                    "--data-root",
                    str(self.root),
                    "--ready-fd",
                    str(writing),
                    *self._options,
                ],
                stdout=log,
                stderr=log,
                pass_fds=(writing,),
            )
        os.close(writing)
        with open(reading, "rb", buffering=0) as ready:
            assert select.select([ready], [], [], DEADLINE_S)[0], self.log.read_text()
            line = ready.read(200).decode()
        assert line.startswith("ready "), self.log.read_text()
        self.address = self._wanted = line.split()[1]  # a second start listens where the first did

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """End it in order."""
        self.process.terminate()
        self.process.wait(DEADLINE_S)

    def blob_path(self, digest: str) -> Path:
        """Where a blob lies."""
        return self.root / "images/blobs/sha256" / digest.removeprefix("sha256:")

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send one request; names of headers have _ for -."""
        connection = http.client.HTTPConnection(self.address, timeout=DEADLINE_S)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def push_blob(self, repository: str, content: bytes) -> str:
        """Push a blob in one request; return its digest."""
        digest = digest_of(content)
        done = self.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content)
        assert done.status == 201, done
        return digest

    def push_image(self, repository: str, tag: str, **more: Any) -> str:
        """Push an image of one small layer; return its manifest's digest."""
        raw = self.make_image(repository, **more)
        done = self.ask("PUT", f"/v2/{repository}/manifests/{tag}", raw, Content_Type=OCI_MANIFEST)
        assert done.status == 201, done
        return done.headers["Docker-Content-Digest"]

    def make_image(self, repository: str, text: str = "hello", **more: Any) -> bytes:
        """Push the blobs of an image, and return the manifest that is to be pushed."""
        layer = tar((entry("file"), text.encode()))
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
            }
        ).encode()
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, config),
            "layers": [descriptor(OCI_LAYER, layer)],
            **more,
        }
        for blob in (config, layer):
            self.push_blob(repository, blob)
        return json.dumps(document).encode()


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def code(self) -> str:
        """The code of the first error."""
        return str(json.loads(self.body)["errors"][0]["code"])

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def digest_of(content: bytes) -> str:
    """Return the sha256 digest of content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    """Return what names content in a manifest."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a client and return its output; it must succeed."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=cwd, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
    return done.stdout
