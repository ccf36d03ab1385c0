"""Where plugins are: sockets in one folder, addresses written down in others.

Source: Docker, "Docker plugin API", "Plugin discovery": `<name>.sock`, also in a folder `<name>/`; then
`<name>.spec` (an address) and `<name>.json` (`{"Name", "Addr", "TLSConfig"}`). Sockets come first.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sampan.errors import InvalidArgument, NotFound

SOCKETS: Final = "/run/docker/plugins"
SPECS: Final = ("/etc/docker/plugins", "/usr/lib/docker/plugins")
_MAX_SPEC: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files of a connection with TLS; "" for one that is not used."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginAddress:
    """How a plugin is reached: a socket's path, or host and port."""

    name: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: Tls | None = None


class Discovery:
    """Looks into the folders anew each time: plugins come and go."""

    def __init__(self, *, sockets: str = SOCKETS, specs: Sequence[str] = SPECS) -> None:
        self._sockets = sockets
        self._specs = specs

    def find(self, name: str) -> PluginAddress:
        """Return where a plugin is.

        Raises:
            NotFound: `plugin "x" not found`. InvalidArgument: what is written about it is wrong.
        """
        if not name or "/" in name or name.startswith("."):
            raise NotFound(f'plugin "{name}" not found')
        for path in (f"{self._sockets}/{name}.sock", f"{self._sockets}/{name}/{name}.sock"):
            if _is_socket(path):
                return PluginAddress(name=name, path=path)
        for folder in self._specs:
            for base in (f"{folder}/{name}", f"{folder}/{name}/{name}"):
                if text := _read(f"{base}.spec"):
                    return _parse_address(name, text.strip())
                if text := _read(f"{base}.json"):
                    return _parse_json(name, text)
        raise NotFound(f'plugin "{name}" not found')

    def names(self) -> list[str]:
        """Return the names of all plugins, of whatever kind."""
        found: set[str] = set()
        for folder in (self._sockets, *self._specs):
            for entry in _list(folder):
                base, _, ending = entry.name.rpartition(".")
                if entry.is_dir():
                    inner = {other.name for other in _list(entry.path)}
                    if inner & {f"{entry.name}.{kind}" for kind in ("sock", "spec", "json")}:
                        found.add(entry.name)
                elif base and ending in (("sock",) if folder == self._sockets else ("spec", "json")):
                    found.add(base)
        return sorted(found)


def _list(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read(_MAX_SPEC)
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _parse_address(name: str, text: str, tls: Tls | None = None) -> PluginAddress:
    parts = urlsplit(text)
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return PluginAddress(name=name, path=parts.path)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme in ("tcp", "http", "https") and parts.hostname:
        secure = tls or (Tls() if parts.scheme == "https" else None)
        return PluginAddress(name=name, host=parts.hostname, port=port or (443 if secure else 80), tls=secure)
    raise InvalidArgument(f"plugin {name!r}: {text[:80]!r} is not unix:///path or tcp://host:port")


def _parse_json(name: str, text: str) -> PluginAddress:
    try:
        document = json.loads(text)
        address = document["Addr"]
        raw_tls = document.get("TLSConfig")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise InvalidArgument(f"plugin {name!r}: its description is no JSON object with Addr") from exc
    tls = None
    if isinstance(raw_tls, dict):
        tls = Tls(
            ca_file=str(raw_tls.get("CAFile") or ""),
            cert_file=str(raw_tls.get("CertFile") or ""),
            key_file=str(raw_tls.get("KeyFile") or ""),
            insecure=raw_tls.get("InsecureSkipVerify") is True,
        )
    return _parse_address(str(document.get("Name") or name), str(address), tls)
