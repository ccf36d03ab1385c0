"""Call a plugin: one POST with JSON each way. Activation is the first call, and says what a plugin can do."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from typing import Final

from sampan.errors import InvalidArgument, SampanError, Unavailable
from sampan.plugins.discovery import Discovery, PluginAddress, Tls
from sampan.tls import client_context

_ACCEPT: Final = "application/vnd.docker.plugins.v1.2+json"
_TIMEOUT_S: Final = 30.0  # one call; a mount over a network may take its time
_RETRY_S: Final = 2.0  # how long a plugin that does not listen yet is waited for
_FIRST_PAUSE_S: Final = 0.05
_MAX_ANSWER: Final = 16 << 20

Document = dict[str, object]


class Plugin:
    """One plugin that has been activated. Thread-safe: each call has a connection of its own."""

    def __init__(self, address: PluginAddress) -> None:
        self.name = address.name
        self._address = address
        self.implements = self._activate()

    def _activate(self) -> tuple[str, ...]:
        found = self.call("/Plugin.Activate", {}).get("Implements")
        return tuple(str(kind) for kind in found) if isinstance(found, list) else ()

    def call(self, method: str, document: Document, *, retry: bool = True) -> Document:
        """Make one call and return its answer.

        Raises:
            Unavailable: nobody listens, or no answer comes. SampanError: the plugin refuses; its own words.
        """
        deadline = time.monotonic() + (_RETRY_S if retry else 0)
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return self._call_once(method, document)
            except (ConnectionRefusedError, FileNotFoundError) as exc:
                if time.monotonic() + pause > deadline:
                    raise Unavailable(f"plugin {self.name} does not answer: {exc.strerror}") from exc
                time.sleep(pause)
                pause *= 2
            except (OSError, http.client.HTTPException) as exc:
                raise Unavailable(f"plugin {self.name} does not answer: {exc}") from exc

    def _call_once(self, method: str, document: Document) -> Document:
        connection = _Connection(self._address)
        try:
            connection.request("POST", method, json.dumps(document).encode(), {"Accept": _ACCEPT})
            response = connection.getresponse()
            body = response.read(_MAX_ANSWER)
        finally:
            connection.close()
        return self._parse(method, response.status, body)

    def _parse(self, method: str, status: int, body: bytes) -> Document:
        try:
            answer = json.loads(body) if body.strip() else {}
        except (ValueError, RecursionError):
            answer = {"Err": body.decode(errors="replace").strip()[:500]}
        if not isinstance(answer, dict):
            raise SampanError(f"plugin {self.name}: {method} answered no JSON object")
        if status >= 300 or answer.get("Err"):
            what = str(answer.get("Err") or f"status {status}")
            raise SampanError(f"{method.lstrip('/')}: {what}")
        return answer


class _Connection(http.client.HTTPConnection):
    """HTTP over whatever leads to the plugin."""

    def __init__(self, address: PluginAddress) -> None:
        super().__init__(address.host or "plugin", address.port or None, timeout=_TIMEOUT_S)
        self._address = address

    def connect(self) -> None:
        if self._address.path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._address.path)
            return
        super().connect()
        if self._address.tls is not None:
            context = _tls_context(self._address.tls)
            self.sock = context.wrap_socket(self.sock, server_hostname=self._address.host)


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = client_context(tls.ca_file, verify=not tls.insecure)
    if tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file or None)
    return context


class Plugins:
    """The plugins of this machine, activated when they are first used. Thread-safe."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._lock = threading.Lock()
        self._active: dict[PluginAddress, Plugin] = {}

    def get(self, name: str, kind: str) -> Plugin:
        """Return a plugin that implements kind.

        Raises:
            NotFound: there is none of that name. Unavailable: it does not answer.
            InvalidArgument: it is of another kind.
        """
        address = self._discovery.find(name)
        with self._lock:
            plugin = self._active.get(address)
        if plugin is None:
            plugin = Plugin(address)
            with self._lock:
                plugin = self._active.setdefault(address, plugin)
        if kind not in plugin.implements:
            raise InvalidArgument(f"plugin {name} does not implement {kind}")
        return plugin

    def names(self) -> list[str]:
        """Return the names of all plugins that could be asked."""
        return self._discovery.names()
