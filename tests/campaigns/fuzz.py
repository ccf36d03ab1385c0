"""Malformed and random requests over every route, from several clients at once (docs/api.md, "Fuzzing").

Four fifths are requests that are wrong somewhere, one fifth valid operations in random order on a few
containers, so that the wrong ones meet objects in every state. Violations: a status of 500, a trace in the
log, a daemon that does not answer, and more descriptors, threads, folders or memory afterwards than before.
"""

from __future__ import annotations

import json
import os
import random
import re
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.campaigns import census
from tests.campaigns.fuzz_requests import Maker, Request
from tests.system.network_host import NetworkHost
from tests.system.sampand import Sampand, wait_for

from sampan.daemon.door import build_router
from sampan.settings import Roots

CLIENTS = 4
POOL = 6  # containers at once
SLICE = 10_000  # requests between two looks at the descriptors
ANSWER_S = 120.0  # of the clock: a busy machine is no fault of the daemon
MEMORY_GROWTH = 24 << 20  # bytes; caches fill in the first part, which is not counted
# Docker answers these with 500 as well, and clients know the words.
_DOCKERS_OWN = re.compile(r"is not paused|cannot fetch https?://")
_VARIABLE = re.compile(r"[0-9a-f]{12,64}|0x[0-9a-f]+|[0-9]+|'[^']*'|\"[^\"]*\"")


class _Program:
    """The part of a program that the table of routes asks for."""

    version = "0"
    roots = Roots(data="", run="")
    hosts: list[str] = []  # noqa: RUF012 -- nobody changes it

    def stop(self) -> None:
        raise AssertionError


def every_route() -> list[tuple[str, str]]:
    """Return method and pattern of each route that sampand has."""
    return build_router(_Program()).routes()


def fuzz(daemon: NetworkHost, count: int, seed: int) -> list[str]:
    """Send count requests; the census, the log and the answers must be clean."""
    daemon.stop()
    daemon.log.unlink()
    daemon.start("--log-level=info")
    routes = every_route()
    print(f"{len(routes)} routes", flush=True)
    _use_networks(daemon)
    run = _Run(daemon, routes)
    run.spend(max(count // 10, 500), seed)
    run.clean_up()
    before, memory, threads = census.take(daemon), _memory(daemon), _threads(daemon)
    links, opened = _links(daemon), census.descriptors(daemon)
    for begin in range(0, count, SLICE):
        run.spend(min(SLICE, count - begin), seed + 1 + begin // SLICE)
        run.clean_up()
        census.settle(daemon, before)
        for line in census.more(opened, census.descriptors(daemon)):
            print(f"descriptors after {begin + SLICE} requests: more of {line}", flush=True)
    print(f"statuses: {dict(sorted(run.statuses.items()))}")
    print(f"memory {memory >> 20} → {_memory(daemon) >> 20} MiB, threads {threads} → {_threads(daemon)}")
    found = run.violations() + _traces(daemon)
    if _memory(daemon) > memory + MEMORY_GROWTH:
        found.append(f"memory: {memory} bytes before, {_memory(daemon)} after")
    if _links(daemon) != links:
        found.append(f"links: {links} before, {_links(daemon)} after")
    if census.zombies(daemon):
        found.append(f"zombies: {census.zombies(daemon)}")
    changed = census.differences(before, census.take(daemon))
    if any(line.startswith("daemon_fds") for line in changed):
        changed += [f"daemon_fds: {line}" for line in census.more(opened, census.descriptors(daemon))]
    return found + [line for line in changed if not line.startswith("layers")]  # images loaded by chance


def _use_networks(daemon: NetworkHost) -> None:
    """Have everything made that is made at its first use and stays: the bridge, the DNS, a second loop."""
    daemon.call("POST", "/networks/create", {"Name": "fuzznet"})
    for network in ("bridge", "fuzznet"):
        body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": network}}
        container = daemon.call("POST", "/containers/create", body)["Id"]
        daemon.call("POST", f"/containers/{container}/start")
        daemon.call("DELETE", f"/containers/{container}?force=1")
    upgrade = "POST /grpc HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    request = Request(upgrade.encode(), patience_s=2)
    wait_for(lambda: send(daemon.socket, request)[0] == 101, "the event loop of BuildKit's clients")


class _Run:
    """Clients that share what they found."""

    def __init__(self, daemon: NetworkHost, routes: list[tuple[str, str]]) -> None:
        self._daemon = daemon
        self._routes = routes
        self.statuses: Counter[int] = Counter()
        self._failures: dict[str, str] = {}
        self._lock = threading.Lock()

    def spend(self, count: int, seed: int) -> None:
        """Send count requests from every client together."""
        begin = time.monotonic()
        clients = [
            threading.Thread(target=self._client, args=(count // CLIENTS, f"{seed} {number}"))
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        took = time.monotonic() - begin
        print(f"{count} requests in {took:.0f} s, {len(self._failures)} kinds of failure", flush=True)

    def _client(self, count: int, seed: str) -> None:
        dice = random.Random(seed)
        maker = Maker(dice, self._routes)
        user = _User(self._daemon, dice)
        for _ in range(count):
            sent = b""
            try:
                if dice.random() < 0.2:
                    status, answer, sent = user.act()
                    maker.names = ["nobody", *user.names()]
                else:
                    request = maker.make()
                    sent = request.data
                    status, answer = send(self._daemon.socket, request)
            except OSError as exc:
                status, answer = 599, repr(exc).encode()
            self._note(status, answer, sent)

    def _note(self, status: int, answer: bytes, sent: bytes) -> None:
        with self._lock:
            self.statuses[status] += 1
            if status in (500, 599) and not _DOCKERS_OWN.search(answer.decode(errors="replace")):
                kind = _VARIABLE.sub("…", answer.decode(errors="replace"))[-300:]
                if kind not in self._failures:
                    self._failures[kind] = f"{status}: {answer[-400:]!r} for {sent[:1500]!r}"
                    print(f"FOUND {self._failures[kind]}", flush=True)

    def violations(self) -> list[str]:
        """Return every kind of failure once."""
        return list(self._failures.values())

    def clean_up(self) -> None:
        """Remove what the requests made, and see that the daemon is well."""
        self._daemon.remove_containers()
        for volume in self._daemon.call("GET", "/volumes")["Volumes"] or []:
            self._daemon.request("DELETE", f"/volumes/{volume['Name']}?force=1")
        for network in self._daemon.call("GET", "/networks"):
            self._daemon.request("DELETE", f"/networks/{network['Id']}")
        for image in self._daemon.call("GET", "/sampan/v1/images/mounts"):  # they stay on purpose
            self._daemon.request("DELETE", f"/sampan/v1/images/{image['Id']}/mount")
        wait_for(lambda: census.take(self._daemon).shims == 0, "the last shim's end")
        wait_for(lambda: self._daemon.request("GET", "/_ping")[0] == 200, "an answer")


class _User:
    """Valid operations in random order. Containers are found by name, so that clients meet at them."""

    def __init__(self, daemon: Sampand, dice: random.Random) -> None:
        self._daemon = daemon
        self._dice = dice
        self._execs: list[str] = []

    def names(self) -> list[str]:
        """Return names that may exist."""
        return [f"fuzz{number}" for number in range(POOL)] + self._execs[-3:]

    def act(self) -> tuple[int, bytes, bytes]:
        """Do one thing; status, answer, what was asked."""
        method, path, body = self._choose()
        sent = b"%s %s " % (method.encode(), path.encode()) + (
            json.dumps(body).encode() if body is not None else b""
        )
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n"
        data = json.dumps(body).encode() if body is not None else b""
        head += "Content-Type: application/json\r\n" if body is not None else ""
        status, answer = send(
            self._daemon.socket,
            Request(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data, patience_s=0.05),
        )
        if path.endswith("/exec") and status == 201:
            self._execs.append(json.loads(answer.partition(b"\r\n\r\n")[2])["Id"])
        return status, answer, sent

    def _choose(self) -> tuple[str, str, Any]:
        dice = self._dice
        name = f"fuzz{dice.randrange(POOL)}"
        path = f"/containers/{name}"
        execution = self._execs[-1] if self._execs else "nobody"
        create = {
            "Image": "busybox",
            "Cmd": dice.choice(
                (["sleep", "100"], ["true"], ["sh", "-c", "echo hi; sleep 0.1; exit 2"], ["nothing"])
            ),
            "HostConfig": {
                "NetworkMode": dice.choice(("none", "none", "fuzznet", "bridge")),
                "PortBindings": dice.choice(({}, {"80/tcp": [{"HostPort": "0"}]})),
                "AutoRemove": dice.random() < 0.2,
                "Init": dice.random() < 0.2,
            },
            "Tty": dice.random() < 0.2,
            "OpenStdin": dice.random() < 0.2,
        }
        return dice.choice(
            (
                ("POST", f"/containers/create?name={name}", create),
                ("POST", f"/containers/create?name={name}", create),
                ("POST", f"{path}/start", None),
                ("POST", f"{path}/start", None),
                ("POST", f"{path}/stop?t=0", None),
                ("POST", f"{path}/restart?t=0", None),
                ("POST", f"{path}/kill", None),
                ("POST", f"{path}/pause", None),
                ("POST", f"{path}/unpause", None),
                ("POST", f"{path}/rename?name=fuzz{dice.randrange(POOL)}", None),
                ("POST", f"{path}/wait?condition={dice.choice(('', 'next-exit', 'removed'))}", None),
                ("POST", f"{path}/resize?h=10&w=20", None),
                ("POST", f"{path}/update", {"Memory": 64 << 20, "MemorySwap": -1}),
                ("POST", f"{path}/attach?stream=1&stdout=1&stdin=1&logs=1", None),
                (
                    "POST",
                    f"{path}/exec",
                    {"Cmd": dice.choice((["true"], ["cat"], ["nothing"])), "AttachStdout": True},
                ),
                ("POST", f"/exec/{execution}/start", {"Detach": dice.random() < 0.5}),
                ("GET", f"/exec/{execution}/json", None),
                ("DELETE", f"{path}?force={dice.randrange(2)}&v=1", None),
                ("GET", f"{path}/json", None),
                ("GET", f"{path}/logs?stdout=1&follow={dice.randrange(2)}", None),
                ("GET", f"{path}/top", None),
                ("GET", f"{path}/stats?stream=0&one-shot=1", None),
                ("GET", f"{path}/changes", None),
                ("GET", f"{path}/archive?path=/etc", None),
                ("GET", "/containers/json?all=1&size=1", None),
                ("GET", "/system/df", None),
                ("GET", "/info", None),
                ("GET", "/events?until=1", None),
                ("POST", "/images/busybox/tag?repo=fuzz&tag=1", None),
                ("DELETE", "/images/fuzz:1", None),
                ("POST", "/networks/create", {"Name": "fuzznet"}),
                ("POST", "/networks/fuzznet/connect", {"Container": name}),
                ("POST", "/networks/fuzznet/disconnect", {"Container": name, "Force": True}),
                ("DELETE", "/networks/fuzznet", None),
                ("GET", "/networks", None),
                ("POST", "/volumes/create", {"Name": "fuzzvol"}),
                ("DELETE", "/volumes/fuzzvol", None),
            )
        )


def send(path: str, request: Request) -> tuple[int, bytes]:
    """Send one request and return the first status (0: none came) and what was answered.

    Raises:
        OSError: nobody listens, or no answer came to an orderly request.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(ANSWER_S)
        sock.connect(path)
        try:
            sock.sendall(request.data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # an answer may have been sent before
        except TimeoutError:
            # A stream that began before the whole body was sent is an answer (RFC 9112, 9.3), and our turn to
            # read; a daemon that says nothing and reads nothing is none.
            sock.settimeout(request.patience_s)
            status, answer = _receive(sock)
            if not status:
                raise
            return status, answer
        if request.ends == "close":
            return 0, b""
        if request.ends == "half":
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        sock.settimeout(request.patience_s)
        return _receive(sock)


def _receive(sock: socket.socket) -> tuple[int, bytes]:
    data = b""
    try:
        while (piece := sock.recv(65536)) and len(data) < 1 << 20:
            data += piece
            if _is_complete(data):
                break
    except (TimeoutError, ConnectionResetError):
        pass
    found = re.match(rb"HTTP/1\.[01] ([0-9]{3}) ", data)
    return (int(found.group(1)) if found else 0), data[:4096]


def _is_complete(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: ([0-9]+)", head)
    return bool(found) and length is not None and len(body) >= int(length.group(1))


def _traces(daemon: Sampand) -> list[str]:
    """Return what the log complains of, each kind once."""
    found: dict[str, str] = {}
    lines = daemon.log.read_text(errors="replace").splitlines()
    for number, line in enumerate(lines):
        if "never retrieved" in line or line.startswith("Traceback"):
            text = "\n".join(lines[number : number + 40])
            found.setdefault(_VARIABLE.sub("…", text)[:600], text[:3000])
        elif " error " in line[:60] and not _DOCKERS_OWN.search(line):
            found.setdefault(_VARIABLE.sub("…", line)[:200], line[:3000])
    return [f"log: {line}" for line in found.values()]


def _links(daemon: NetworkHost) -> list[str]:
    """Return the names of the interfaces that sampand's host has."""
    return sorted(line.split()[1] for line in daemon.on_host("ip", "-o", "link").text.splitlines())


def _memory(daemon: Sampand) -> int:
    assert daemon.process is not None
    fields = Path(f"/proc/{daemon.process.pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGESIZE")


def _threads(daemon: Sampand) -> int:
    assert daemon.process is not None
    return len(os.listdir(f"/proc/{daemon.process.pid}/task"))
