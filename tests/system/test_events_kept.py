"""Events over HTTP: replay across restarts, moments in every form, many readers of whom one does not read."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root, serve, wait_for

pytestmark = [needs_root, needs_busybox]


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    """A daemon that a test may kill."""
    daemon = serve(tmp_path_factory.mktemp("sampand"))
    try:
        yield daemon
    finally:
        daemon.close()


def past(sampand: Sampand, since: str, filters: dict[str, list[str]] | None = None) -> list[dict[str, Any]]:
    """Return what has happened since then."""
    query = f"since={quote(since)}&until={time.time() + 0.001:.9f}&filters={quote(json.dumps(filters or {}))}"
    status, _, answer = sampand.request("GET", f"/events?{query}")
    assert status == 200, answer
    return [json.loads(line) for line in answer.splitlines()]


def tag(sampand: Sampand, name: str) -> None:
    assert sampand.request("POST", f"/images/busybox/tag?repo={name}&tag=1")[0] == 201


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["Actor"]["Attributes"].get("name", "") for event in events]


def test_replay_after_a_kill(own: Sampand) -> None:
    start = time.time()
    tag(own, "before")
    own.kill()
    own.start()
    tag(own, "after")
    events = past(own, f"{start:.9f}", {"event": ["tag"]})
    assert names(events) == ["before:1", "after:1"]
    moments = [event["timeNano"] for event in events]
    between = f"{moments[0] // 10**9}.{moments[0] % 10**9 + 1:09d}"
    assert names(past(own, between, {"event": ["tag"]})) == ["after:1"]  # nine digits count


def test_reload_is_told(own: Sampand) -> None:
    start = time.time()
    assert own.process is not None
    own.process.send_signal(signal.SIGHUP)
    wait_for(lambda: past(own, f"{start:.9f}", {"type": ["daemon"]}), "the event")
    event = past(own, f"{start:.9f}", {"daemon": [own.call("GET", "/info")["ID"]]})[0]
    assert (event["Action"], event["Type"]) == ("reload", "daemon")
    assert event["Actor"]["Attributes"]["default-runtime"] == "sampan"


@pytest.mark.parametrize(
    "since", ["10m", "1h30m", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00.5+01:00", "0"]
)
def test_moments(sampand: Sampand, since: str) -> None:
    tag(sampand, "moment")
    assert "moment:1" in names(past(sampand, since, {"image": ["moment"]}))


def test_moments_that_are_none(sampand: Sampand) -> None:
    status, _, answer = sampand.request("GET", "/events?since=yesterday")
    assert (status, b"invalid value 'yesterday' for since" in answer) == (400, True)
    assert sampand.request("GET", "/events?filters=%7B%22nosuch%22%3A%5B%22x%22%5D%7D")[0] == 400


def test_image_events_have_the_labels(sampand: Sampand) -> None:
    start = f"{time.time():.9f}"
    query = "fromSrc=-&repo=labelled&tag=1&changes=LABEL%20tier%3Dback"
    archive = Path("/dev/null").read_bytes() + b"\0" * 10240
    assert b"error" not in sampand.request("POST", f"/images/create?{query}", raw=archive)[2]
    sampand.request("DELETE", "/images/labelled:1")
    events = past(sampand, start, {"type": ["image"], "label": ["tier=back"]})
    assert [event["Action"] for event in events] == ["tag", "import", "untag"]
    events = past(sampand, start, {"type": ["image"]})
    assert [event["Action"] for event in events] == ["tag", "import", "untag", "delete"]
    assert events[-1]["Actor"]["Attributes"] == {"name": events[-1]["Actor"]["ID"]}


def test_prunes_are_told(sampand: Sampand) -> None:
    start = f"{time.time():.9f}"
    for kind in ("containers", "images", "networks", "build"):
        assert sampand.request("POST", f"/{kind}/prune")[0] == 200
    events = past(sampand, start, {"event": ["prune"]})
    assert [event["Type"] for event in events] == ["container", "image", "network", "builder"]
    assert all(event["Actor"] == {"ID": "", "Attributes": {"reclaimed": "0"}} for event in events)


class Reader:
    """A client of /events; `lines` reads on."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(path)
        self.sock.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        self.data = b""
        self.read_until(b"\r\n\r\n")

    def read_until(self, text: bytes, count: int = 1) -> None:
        while self.data.count(text) < count:
            piece = self.sock.recv(1 << 20)
            assert piece, "the stream ended"
            self.data += piece


def test_a_hundred_readers_and_one_that_does_not_read(sampand: Sampand) -> None:
    with ExitStack() as stack:
        readers = [Reader(sampand.socket) for _ in range(101)]
        for reader in readers:
            stack.callback(reader.sock.close)
        *good, slow = readers
        for number in range(300):
            tag(sampand, f"fan{number}")
        begin = time.monotonic()
        for reader in good:
            reader.read_until(b'"Action":"tag"', 300)
        assert time.monotonic() - begin < 20
        assert [reader.data.count(b"fan299") > 0 for reader in good] == [True] * 100
        slow.read_until(b'"Action":"tag"', 300)  # nothing is lost below the limit
