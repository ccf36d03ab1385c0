"""Serve one engine on open sockets until asked to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from sampan import __version__, log
from sampan.daemon.listeners import BACKLOG, Listener
from sampan.daemon.options import DaemonOptions
from sampan.daemon.presence import ReadyPipe, notify_manager
from sampan.daemon.tls_server import TlsServer
from sampan.engine.engine import Engine
from sampan.kernel.allocator import give_back, limit_arenas
from sampan.settings import Roots

if TYPE_CHECKING:
    from sampan.daemon.door import Door


class Closable(Protocol):
    """What listens."""

    def close(self) -> None:
        """Take no further connections."""
        ...


_ARENAS: Final = 2  # one for the loop, one for all threads: the GIL lets one allocate at a time anyhow
_TRIM_S: Final = 60.0
_GRACE_S: Final = 0.2  # for answers on their way; streams end here, the containers behind them do not


class Program:
    """What `/sampan/v1/system/*` may ask about this program."""

    def __init__(self, options: DaemonOptions, hosts: list[str], stopping: asyncio.Event) -> None:
        self.version: str = __version__
        self.roots: Roots = options.engine.roots
        self.hosts: list[str] = hosts
        self._stopping = stopping

    def stop(self) -> None:
        """End the program soon."""
        self._stopping.set()


def serve(options: DaemonOptions, listeners: list[Listener], ready: ReadyPipe) -> None:
    """Open the engine, answer requests, return when SIGTERM, SIGINT or a client said stop.

    Raises:
        SampanError: the engine does not open.
    """
    limit_arenas(_ARENAS)
    with ThreadPoolExecutor(1, "opener") as opener:
        # The launcher starts as a program of its own while this one is still importing.
        opening = opener.submit(Engine.open, options.engine)
        try:
            from sampan.daemon.door import Door  # noqa: F401 -- the import is what takes the time
        except BaseException:
            opening.result().close()
            raise
        engine = opening.result()
    try:
        asyncio.run(_serve(options, engine, listeners, ready))
    finally:
        engine.close()


async def _listen(door: Door, listener: Listener) -> Closable:
    """Let a listener's connections be answered by door, with the listener's rights."""
    factory = partial(door.connection, listener.scope)
    if listener.tls is not None:
        return TlsServer(listener.sock, listener.tls, factory)
    return await asyncio.get_running_loop().create_server(factory, sock=listener.sock, backlog=BACKLOG)


async def _serve(options: DaemonOptions, engine: Engine, listeners: list[Listener], ready: ReadyPipe) -> None:
    from sampan.daemon.door import Door

    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, engine.system.reload))
    hosts = [listener.address for listener in listeners]
    door = Door(engine, Program(options, hosts, stopping))
    servers = [await _listen(door, listener) for listener in listeners]
    gc.collect()
    gc.freeze()  # what is there now stays: a large build's collections need not look at it each time
    log.info("sampand is ready", hosts=",".join(hosts), version=__version__)
    ready.tell("ready")
    notify_manager("READY=1")
    trimming = asyncio.create_task(_give_memory_back(), name="memory")
    await stopping.wait()
    trimming.cancel()
    notify_manager("STOPPING=1")
    log.info("sampand ends; containers run on")
    for server in servers:
        server.close()
    await door.close(grace_s=_GRACE_S)


async def _give_memory_back() -> None:
    """Keep what a burst of requests took from staying with us: Python frees it, malloc holds on to it."""
    while True:
        await asyncio.sleep(_TRIM_S)
        await asyncio.to_thread(_give_back)


def _give_back() -> None:
    gc.collect()  # empties Python's lists of free objects, too: a few of them hold a megabyte each
    give_back()
