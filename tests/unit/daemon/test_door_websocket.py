"""Attach over a websocket: binary messages both ways, never framed."""

from __future__ import annotations

import asyncio

import aiohttp
from tests.unit.daemon.door_fixture import Served


async def talk(path: str, target: str, data: bytes) -> tuple[bytes, int | None]:
    """Send data over a websocket, read until bye, and return what came and the close code."""
    received = b""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
        session.ws_connect(f"http://localhost{target}") as channel,
    ):
        await channel.send_bytes(data)
        while not received.endswith(data):
            message = await channel.receive(timeout=10)
            assert message.type is aiohttp.WSMsgType.BINARY
            received += message.data
    return received, channel.close_code


def test_attach_over_a_websocket(door: Served) -> None:
    target = "/v1.51/containers/box/attach/ws?logs=1&stream=1&stdin=1&stdout=1"
    received, _ = asyncio.run(talk(door.path, target, b"typed"))
    assert received == b"typed"
    ((_, framed, asked),) = [call for call in door.engine.containers.calls if call[0] == "attach"]
    assert (framed, asked["stdin"], asked["stdout"], asked["stderr"]) == (False, True, True, False)


def test_an_old_client_gets_every_stream(door: Served) -> None:
    asyncio.run(talk(door.path, "/v1.41/containers/box/attach/ws?logs=1", b"x"))
    (asked,) = [call[2] for call in door.engine.containers.calls if call[0] == "attach"]
    assert (asked["stdin"], asked["stdout"], asked["stderr"], asked["stream"]) == (True, True, True, True)
