"""A burst of containers through the Docker API, the same requests to every daemon."""

from __future__ import annotations

import asyncio
import json
import time


async def call(socket: str, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    """Make one request on a connection of its own; return status and body."""
    reader, writer = await asyncio.open_unix_connection(socket)
    payload = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: {len(payload)}\r\n"
    )
    if payload:
        head += "Content-Type: application/json\r\n"
    writer.write(head.encode() + b"\r\n" + payload)
    answer = await reader.read()
    writer.close()
    status, _, rest = answer.partition(b"\r\n")
    text = rest.partition(b"\r\n\r\n")[2]
    if b"chunked" in rest.partition(b"\r\n\r\n")[0].lower():
        text = text.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
    return int(status.split()[1]), text


async def _burst(socket: str, count: int) -> tuple[float, list[str]]:
    body = {
        "Image": "busybox",
        "Cmd": ["sleep", "600"],
        "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "json-file", "Config": {}}},
    }

    async def one() -> str:
        status, text = await call(socket, "POST", "/containers/create", body)
        if status != 201:
            raise RuntimeError(f"create: {status} {text!r}")
        container = str(json.loads(text)["Id"])
        status, text = await call(socket, "POST", f"/containers/{container}/start")
        if status != 204:
            raise RuntimeError(f"start: {status} {text!r}")
        return container

    begin = time.perf_counter()
    ids = await asyncio.gather(*(one() for _ in range(count)))
    return time.perf_counter() - begin, ids


async def create_many(socket: str, count: int) -> list[str]:
    """Create containers, twenty at a time, without starting them; return their ids."""
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    slots = asyncio.Semaphore(20)

    async def one() -> str:
        async with slots:
            status, text = await call(socket, "POST", "/containers/create", body)
        if status != 201:
            raise RuntimeError(f"create: {status} {text!r}")
        return str(json.loads(text)["Id"])

    return await asyncio.gather(*(one() for _ in range(count)))


async def _remove(socket: str, ids: list[str]) -> None:
    for container in ids:
        await call(socket, "DELETE", f"/containers/{container}?force=1")


def start_burst(socket: str, count: int) -> tuple[float, list[str]]:
    """Create and start count sleeping containers at once; return the seconds until all run, and their ids."""
    return asyncio.run(_burst(socket, count))


def remove_all(socket: str, ids: list[str]) -> None:
    """Remove containers by force, one after another."""
    asyncio.run(_remove(socket, ids))
