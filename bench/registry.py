"""Push and pull: `sampan registry serve` beside Debian's docker-registry; `python -m bench.registry`."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench import engines

SIZE = 256 << 20
STREAMS = 4
ROUNDS = 7


@contextmanager
def sampan(root: Path) -> Iterator[str]:
    """Run ours; gives its address."""
    reading, writing = os.pipe()
    command = [
        engines.VENV / "sampan-registry",
        "127.0.0.1:0",
        "--data-root",
        root,
        "--ready-fd",
        str(writing),
    ]
    with _running(command, root, pass_fds=(writing,)):
        os.close(writing)
        with open(reading, "rb", buffering=0) as ready:
            yield ready.read(200).split()[1].decode()


@contextmanager
def debian(root: Path) -> Iterator[str]:
    """Run Debian's docker-registry; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    root.mkdir()
    (root / "config.yml").write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {root}/data}}}}\nhttp: {{addr: '{address}'}}\n"
    )
    with _running(["docker-registry", "serve", root / "config.yml"], root):
        engines.wait_for(lambda: _answers(address), "docker-registry")
        yield address


@contextmanager
def _running(command: list[object], root: Path, *, pass_fds: tuple[int, ...] = ()) -> Iterator[None]:
    with root.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, pass_fds=pass_fds)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _answers(address: str) -> bool:
    try:
        connection = http.client.HTTPConnection(address, timeout=1)
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except OSError:
        return False


def push(address: str, repository: str, content: bytes, digest: str) -> float:
    """Push a blob that is not there yet; returns MB/s."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST", f"/v2/{repository}/blobs/uploads/")
    response = connection.getresponse()
    response.read()
    place = response.headers["Location"]
    place = place[place.index("/v2/") :] + ("&" if "?" in place else "?") + f"digest={digest}"
    begin = time.perf_counter()
    connection.request("PUT", place, body=content)
    response = connection.getresponse()
    response.read()
    assert response.status == 201, response.status
    return len(content) / 1e6 / (time.perf_counter() - begin)


def pull(address: str, repository: str, digest: str, *, streams: int) -> float:
    """Pull a blob by as many clients at once; returns MB/s of all."""
    command = ["curl", "-sf", "-o", "/dev/null", f"http://{address}/v2/{repository}/blobs/{digest}"]
    begin = time.perf_counter()
    clients = [subprocess.Popen(command) for _ in range(streams)]
    assert not any(client.wait(60) for client in clients)
    return streams * SIZE / 1e6 / (time.perf_counter() - begin)


def main() -> None:
    found: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as held:
        root = held.enter_context(engines.scratch(Path("/var/tmp")))
        contestants = {
            "sampan": held.enter_context(sampan(root / "ours")),
            "docker-registry": held.enter_context(debian(root / "theirs")),
        }
        for number in range(ROUNDS):
            content = os.urandom(1 << 20) * (SIZE >> 20)  # new each time: a push writes all of it
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            for name, address in contestants.items():
                values = {
                    "push": push(address, f"bench/{number}", content, digest),
                    "pull": pull(address, f"bench/{number}", digest, streams=1),
                    f"pull by {STREAMS} at once": pull(address, f"bench/{number}", digest, streams=STREAMS),
                }
                for row, value in values.items():
                    found.setdefault(row, {}).setdefault(name, []).append(value)
    for row, by_name in found.items():
        ours, theirs = (median(by_name[name]) for name in ("sampan", "docker-registry"))
        sys.stdout.write(f"| {row}, MB/s | {ours:.0f} | {theirs:.0f} | {ours / theirs:.1f} x |\n")


if __name__ == "__main__":
    main()
