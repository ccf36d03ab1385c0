"""What watching costs: `ps` of many containers, stats streams, events for many readers."""

from __future__ import annotations

import asyncio
import select
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from socket import AF_UNIX
from socket import socket as Socket

from bench import api

_WARM_S = 4.0  # until every stream has had its first samples
_MEASURED_S = 10.0
_TICKS = 100  # clock ticks a second (sysconf(_SC_CLK_TCK) on Linux)


def cpu_s(pids: Sequence[int]) -> float:
    """Return the CPU time these processes have used; vanished ones count nothing."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def create_many(socket: str, count: int) -> list[str]:
    """Create containers that are not started; return their ids."""
    return asyncio.run(api.create_many(socket, count))


def stats_cpu_us(socket: str, ids: Sequence[str], pids: Sequence[int]) -> float:
    """Stream stats of containers, a connection each; return the daemon's CPU time for a sample, in µs.

    For a sample, not a second: a daemon that cannot keep up sends fewer.
    """
    return asyncio.run(_stats_cpu_us(socket, ids, pids))


async def _stats_cpu_us(socket: str, ids: Sequence[str], pids: Sequence[int]) -> float:
    counts = [0] * len(ids)

    async def read(number: int) -> None:
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(f"GET /containers/{ids[number]}/stats HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        while data := await reader.read(1 << 16):
            counts[number] += data.count(b'"preread"')
        writer.close()

    tasks = [asyncio.create_task(read(number)) for number in range(len(ids))]
    await asyncio.sleep(_WARM_S)
    before, samples = cpu_s(pids), sum(counts)
    await asyncio.sleep(_MEASURED_S)
    spent, came = cpu_s(pids) - before, sum(counts) - samples
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return 1e6 * spent / max(1, came)


def fan_out_ms(socket: str, *, readers: int, events: int) -> float:
    """Return the milliseconds an event takes, made (an image is tagged) and read by every reader.

    One thread reads all with epoll, as cheaply as Python can: the daemon is to be measured, not its client.
    """
    watched = [_open_events(socket) for _ in range(readers)]
    left = [events] * readers
    poller = select.epoll()
    for sock in watched:
        poller.register(sock.fileno(), select.EPOLLIN)
        sock.setblocking(False)
    by_fd = {sock.fileno(): number for number, sock in enumerate(watched)}
    begin = time.perf_counter()
    maker = threading.Thread(target=_make_events, args=(socket, events))
    maker.start()
    while any(left):
        for fd, _ in poller.poll(30):
            data = watched[by_fd[fd]].recv(1 << 16)
            if not data:
                raise RuntimeError("a stream of events ended")
            left[by_fd[fd]] -= data.count(b'"Action":"tag"')
    spent = time.perf_counter() - begin
    maker.join()
    poller.close()
    for sock in watched:
        sock.close()
    for number in range(events):
        _request(socket, "DELETE", f"/images/fan:{number}", want=200)
    return 1000 * spent / events


def fan_out_cpu_us(socket: str, pids: Sequence[int], *, readers: int, events: int) -> float:
    """Return the daemon's CPU time for each event and reader, in µs: what more readers than one add."""
    spent = []
    for number in (1, readers):
        before = cpu_s(pids)
        fan_out_ms(socket, readers=number, events=events)
        spent.append(cpu_s(pids) - before)
    return max(0.0, 1e6 * (spent[1] - spent[0]) / (events * (readers - 1)))


def _open_events(path: str) -> Socket:
    sock = Socket(AF_UNIX)
    sock.settimeout(30)
    sock.connect(path)
    filters = "%7B%22event%22%3A%7B%22tag%22%3Atrue%7D%7D"
    sock.sendall(f"GET /events?filters={filters} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    return sock


def _make_events(path: str, events: int) -> None:
    for number in range(events):
        _request(path, "POST", f"/images/busybox/tag?repo=fan&tag={number}", want=201)


def _request(path: str, method: str, target: str, *, want: int) -> None:
    with Socket(AF_UNIX) as sock:
        sock.connect(path)
        head = f"{method} {target} HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode())
        answer = sock.recv(1 << 16)
    if not answer.startswith(f"HTTP/1.1 {want}".encode()):
        raise RuntimeError(f"{method} {target}: {answer[:200]!r}")
