"""The program: store, accounts, sockets, sweeping, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from contextlib import ExitStack
from typing import Final

from aiohttp import web

from sampan import log
from sampan.errors import Conflict, InvalidArgument
from sampan.kernel.files import write_atomic
from sampan.registry.credentials import NOBODY, Credentials
from sampan.registry.server.access import ALL, NONE, PULL, Access, read_token_key
from sampan.registry.server.accounts import Accounts
from sampan.registry.server.application import Registry
from sampan.registry.server.host_images import HostImages
from sampan.registry.server.options import Options
from sampan.registry.server.shelves import Shelves
from sampan.registry.server.upstream import Upstream
from sampan.store.store import Store

_SWEEP_EVERY_S: Final = 3600.0
_BUFFER: Final = 512 * 1024  # what of an upload is read ahead while a thread writes
_GRACE_S: Final = 3.0  # for answers on their way; an upload goes on later


def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SampanError: the store, a file or the address cannot be used.
    """
    with ExitStack() as held:
        store = None if options.host_images else held.enter_context(Store(options.data_root))
        shelves: Shelves = HostImages(options.data_root) if store is None else store.repositories
        access = _access(options)
        upstream = _upstream(options, store) if options.proxy and store is not None else None
        if upstream is not None:
            held.callback(upstream.close)
        registry = Registry(shelves, None if options.read_only else store, access, upstream)
        if store is not None:
            _sweep(store, options.stale_s)
        asyncio.run(_serve(options, registry, store))


def _upstream(options: Options, store: Store) -> Upstream:
    credentials = NOBODY
    if options.proxy_user:
        try:
            with open(options.proxy_password_file, encoding="utf-8") as file:
                credentials = Credentials(options.proxy_user, file.read().rstrip("\r\n"))
        except (OSError, UnicodeDecodeError) as exc:
            raise InvalidArgument(
                f"cannot read the password in {options.proxy_password_file}: {exc}"
            ) from exc
    return Upstream(store, options.proxy, credentials)


def _access(options: Options) -> Access:
    if not options.htpasswd:
        return Access(None, anonymous=ALL)
    key = read_token_key(f"{options.data_root}/token.key", write=write_atomic) if options.tokens else b""
    anonymous = PULL if options.anonymous_pull else NONE
    return Access(Accounts(options.htpasswd), anonymous=anonymous, token_key=key)


def _sweep(store: Store, stale_s: float) -> None:
    uploads = store.uploads.sweep(older_than_s=stale_s)
    blobs = store.repositories.sweep(older_than_s=stale_s)
    if uploads or blobs:
        log.info("swept", uploads=uploads, blobs=blobs)


async def _serve(options: Options, registry: Registry, store: Store | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    runner = web.AppRunner(
        registry.application(),
        access_log=None,
        read_bufsize=_BUFFER,
        auto_decompress=False,
        shutdown_timeout=_GRACE_S,
    )
    await runner.setup()
    try:
        address = await _listen(runner, options)
        log.info("registry is ready", address=address, data_root=options.data_root)
        if options.ready_fd >= 0:
            os.write(options.ready_fd, f"ready {address}\n".encode())
            os.close(options.ready_fd)
        await _wait(stopping, store, options.stale_s)
        log.info("registry ends")
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, options: Options) -> str:
    """Listen, and return where; port 0 takes a free one."""
    site = web.TCPSite(runner, options.host, options.port, ssl_context=_tls(options), reuse_address=True)
    try:
        await site.start()
    except OSError as exc:
        where = f"{options.host}:{options.port}"
        raise Conflict(f"cannot listen on {where}: {exc.strerror or exc}") from exc
    host, port = runner.addresses[0][:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tls(options: Options) -> ssl.SSLContext | None:
    if not options.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as exc:
        raise InvalidArgument(f"cannot use {options.tls_cert} with {options.tls_key}: {exc}") from exc
    return context


async def _wait(stopping: asyncio.Event, store: Store | None, stale_s: float) -> None:
    """Wait for the end, and sweep from time to time."""
    while not stopping.is_set():
        try:
            async with asyncio.timeout(_SWEEP_EVERY_S):
                await stopping.wait()
        except TimeoutError:
            if store is not None:
                await asyncio.to_thread(_sweep, store, stale_s)
