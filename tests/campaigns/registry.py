"""Kill `sampan-registry` with -9 while images are pushed in pieces, mounted, tagged and deleted."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import random
import sqlite3
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.system.registry_server_kit import RegistryServer, digest_of
from tests.system.sampand import Sampand

from sampan.spec.image import OCI_MANIFEST


@dataclass
class _Known:
    """What a client has been told: digests by tag of one repository, but of tags that are being changed."""

    tags: dict[str, str] = field(default_factory=dict)
    pushed: int = 0


def registry(daemon: Sampand, count: int, seed: int) -> list[str]:
    """After each kill all that was acknowledged is there, whole, and nothing else lies in the store."""
    del daemon  # a registry needs none
    dice = random.Random(seed)
    violations: list[str] = []
    with tempfile.TemporaryDirectory(prefix="sampan-") as folder:
        server = RegistryServer(Path(folder) / "root", "--stale-after", "0")
        known = {name: _Known() for name in ("one", "two", "three/four")}
        for number in range(count):
            workers = [
                threading.Thread(
                    target=_churn, args=(server, name, known[name], random.Random(dice.random()))
                )
                for name in known
            ]
            for worker in workers:
                worker.start()
            time.sleep(dice.uniform(0.02, 0.4))
            server.kill()
            for worker in workers:
                worker.join()
            server.start()
            violations += [f"kill {number}: {line}" for line in _check(server, known)]
            if number % 25 == 24:
                pushed = sum(one.pushed for one in known.values())
                print(f"{number + 1} kills, {pushed} pushes, {len(violations)} violations", flush=True)
        server.close()
    return violations


def _churn(server: RegistryServer, name: str, known: _Known, dice: random.Random) -> None:
    """Push and delete until the registry dies."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            tag = dice.choice("abc")
            known.tags.pop(tag, None)
            if dice.random() < 0.3:
                server.ask("DELETE", f"/v2/{name}/manifests/{tag}")
                continue
            raw = server.make_image(name, str(dice.random()), annotations={"of": name})
            _push_in_pieces(server, name, dice)
            done = server.ask("PUT", f"/v2/{name}/manifests/{tag}", raw, Content_Type=OCI_MANIFEST)
            assert done.status == 201, done
            known.tags[tag] = digest_of(raw)
            known.pushed += 1


def _push_in_pieces(server: RegistryServer, name: str, dice: random.Random) -> None:
    content = dice.randbytes(200_000)
    place = server.ask("POST", f"/v2/{name}/blobs/uploads/").headers["Location"]
    for start in range(0, len(content), 50_000):
        server.ask("PATCH", place, content[start : start + 50_000])
    done = server.ask("PUT", f"{place}?digest={digest_of(content)}")
    assert done.status == 201, done


def _check(server: RegistryServer, known: dict[str, _Known]) -> list[str]:
    wrong = []
    for name, one in known.items():
        for tag, digest in one.tags.items():
            answer = server.ask("GET", f"/v2/{name}/manifests/{tag}")
            if answer.status != 200 or digest_of(answer.body) != digest:
                wrong.append(f"{name}:{tag} is not {digest}: {answer}")
                continue
            document = json.loads(answer.body)
            for blob in (document["config"], *document["layers"]):
                if digest_of(server.ask("GET", f"/v2/{name}/blobs/{blob['digest']}").body) != blob["digest"]:
                    wrong.append(f"{name}:{tag} has lost {blob['digest']}")
    return wrong + _check_files(server)


def _check_files(server: RegistryServer) -> list[str]:
    """Every file is named by a record and has its digest, and the other way round; no upload is left."""
    with contextlib.closing(sqlite3.connect(server.root / "state.db")) as connection:
        sql = "SELECT content FROM repository_blobs UNION SELECT content FROM repository_manifests"
        recorded = {row[0].removeprefix("sha256:") for row in connection.execute(sql)}
    folder = server.root / "images/blobs/sha256"
    files = {path.name for path in folder.iterdir()}
    damaged = [name for name in files if hashlib.sha256((folder / name).read_bytes()).hexdigest() != name]
    left = [path.name for path in (server.root / "uploads").iterdir()]
    return [
        *(f"file without a record: {name}" for name in files - recorded),
        *(f"record without a file: {name}" for name in recorded - files),
        *(f"damaged: {name}" for name in damaged),
        *(f"upload left: {name}" for name in left),
    ]
