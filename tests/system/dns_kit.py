"""Network namespaces that stand for containers, resolver programs in them, and upstream servers to ask."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sampan.kernel.constants import CLONE_NEWNET
from sampan.kernel.namespaces import open_namespace, setns
from sampan.kernel.process import pidfd_open
from sampan.network.dns import wire
from sampan.network.dns.client import Place

DEADLINE_S = 20.0


class Box:
    """A process in a network namespace of its own whose resolv.conf names 127.0.0.11."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.process = process

    def place(self) -> Place:
        return Place(namespace_fd=open_namespace(self.process.pid, "net"), pidfd=pidfd_open(self.process.pid))

    def run(self, *command: str, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", "-t", str(self.process.pid), "-n", "-m", *command]
        return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=timeout_s)

    def getaddrinfo(self, name: str, family: str = "AF_UNSPEC", *, times: int = 1) -> Any:
        """Return what glibc says: the addresses in its order, a list for each time, or its error's number."""
        code = (
            "import json, socket, sys\n"
            "def ask():\n"
            "    try:\n"
            f"        found = socket.getaddrinfo({name!r}, 80, socket.{family}, socket.SOCK_STREAM)\n"
            "    except socket.gaierror as error:\n"
            "        return error.errno\n"
            "    return [entry[4][0] for entry in found]\n"
            f"print(json.dumps([ask() for _ in range({times})]))"
        )
        result = self.run(sys.executable, "-I", "-S", "-c", code)
        assert result.returncode == 0, result.stderr
        answers = json.loads(result.stdout)
        return answers if times > 1 else answers[0]

    def ask(self, data: bytes, *, tcp: bool = False, timeout_s: float = 6.0) -> bytes:
        """Return the answer to a query sent from inside; b"" without one in time."""
        with self.socket(socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect(("127.0.0.11", 53))
            sock.send(struct.pack("!H", len(data)) + data if tcp else data)
            try:
                if not tcp:
                    return sock.recv(65535)
                length = struct.unpack("!H", sock.recv(2, socket.MSG_WAITALL))[0]
                return sock.recv(length, socket.MSG_WAITALL)
            except (TimeoutError, ConnectionRefusedError, struct.error):
                return b""

    def socket(self, kind: int) -> socket.socket:
        """Return a socket of this namespace; made by a thread of its own, which ends there."""
        made: list[socket.socket] = []

        def make() -> None:
            fd = open_namespace(self.process.pid, "net")
            try:
                setns(fd, CLONE_NEWNET)
                made.append(socket.socket(socket.AF_INET, kind))
            finally:
                os.close(fd)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


_SETUP = 'ip link set lo up && mount --bind "$1" /etc/resolv.conf && {more} echo ready && exec sleep 600'


@contextmanager
def boxes(folder: Path, *names: str, more: str = "") -> Iterator[list[Box]]:
    """Give boxes; more: shell words to run in each first, ending with `&&`."""
    resolv_conf = folder / "box-resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.11\noptions ndots:0\n")
    made: list[Box] = []
    try:
        for name in names:
            command = ["unshare", "--net", "--mount", "sh", "-c", _SETUP.format(more=more), "sh"]
            process = subprocess.Popen([*command, str(resolv_conf)], stdout=subprocess.PIPE, text=True)
            made.append(Box(name, process))
        for box in made:
            assert box.process.stdout is not None
            assert box.process.stdout.readline() == "ready\n"
        yield made
    finally:
        for box in made:
            box.end()


def query(name: str, kind: int = wire.A, *, number: int = 7, edns: int = 0) -> bytes:
    extra = b"\0" + struct.pack("!HHIH", wire.OPT, edns, 0, 0) if edns else b""
    header = wire.HEADER.pack(number, wire.RD, 1, 0, 0, 1 if extra else 0)
    return header + wire.pack_name(name) + struct.pack("!HH", kind, wire.IN) + extra


def code_of(answer: bytes) -> int:
    return answer[3] & 0xF if answer else -1


def addresses_of(answer: bytes) -> list[str]:
    """Return the IPv4 addresses of an answer whose records point at the question's name."""
    _, _, _, count, _, _ = wire.HEADER.unpack_from(answer)
    place = answer.index(b"\0", 12) + 5
    found = []
    for _ in range(count):
        kind, length = struct.unpack_from("!H6xH", answer, place + 2)
        if kind == wire.A:
            found.append(socket.inet_ntoa(answer[place + 12 : place + 16]))
        place += 12 + length
    return found


def _bound_pair(make: Callable[[int], socket.socket]) -> tuple[socket.socket, socket.socket] | None:
    """Return a UDP and a TCP socket with one port, None if TCP's has a user."""
    udp, tcp = make(socket.SOCK_DGRAM), make(socket.SOCK_STREAM)
    udp.bind(("127.0.0.1", 0))
    try:
        tcp.bind(udp.getsockname())
    except OSError:
        udp.close()
        tcp.close()
        return None
    return udp, tcp


class Upstream:
    """A DNS server of the test, by UDP and TCP on one port. `handle` gives the answer, None for silence."""

    def __init__(self, handle: Callable[[bytes, str], bytes | None], box: Box | None = None) -> None:
        make = box.socket if box is not None else lambda kind: socket.socket(socket.AF_INET, kind)
        self.handle = handle
        self.seen: list[tuple[str, bytes]] = []
        self._udp, self._tcp = until(lambda: _bound_pair(make), "a port that is free by UDP and TCP")
        self.port: int = self._udp.getsockname()[1]
        self._tcp.listen()
        self._threads = [threading.Thread(target=run) for run in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *_error: object) -> None:
        for sock in (self._udp, self._tcp):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # a datagram socket wakes its reader all the same
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            data, source = self._udp.recvfrom(65535)
            if not data:
                return
            self.seen.append(("udp", data))
            answer = self.handle(data, "udp")
            if answer is not None:
                with suppress(BrokenPipeError):  # the test is over
                    self._udp.sendto(answer, source)

    def _serve_tcp(self) -> None:
        while True:
            try:
                sock, _ = self._tcp.accept()
            except OSError:
                return
            with sock:
                length = struct.unpack("!H", sock.recv(2, socket.MSG_WAITALL))[0]
                data = sock.recv(length, socket.MSG_WAITALL)
                self.seen.append(("tcp", data))
                answer = self.handle(data, "tcp")
                if answer is not None:
                    sock.sendall(struct.pack("!H", len(answer)) + answer)


def says(address: str, *, ttl: int = 0, code: int = wire.NOERROR) -> Callable[[bytes, str], bytes]:
    """Return a handler that has one answer for everything."""

    def handle(data: bytes, _kind: str) -> bytes:
        records = [(wire.A, socket.inet_aton(address))] if code == wire.NOERROR else []
        return wire.make_answer(wire.parse_query(data), code, records, ttl=ttl)

    return handle


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true value of condition, or fail after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        threading.Event().wait(0.02)
    return value
