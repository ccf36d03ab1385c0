"""`certs.d/<host>/`: which servers stand for a registry, and by what TLS.

That is containerd's `hosts.toml`, or else Docker's certificate files. Read for each pull and push, so that
a change needs no restart. Differs: a file that cannot be read or has an unknown key is an error.
Source: containerd, docs/hosts.md; Docker, "Verify repository client with certificates".
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from sampan.errors import InvalidArgument
from sampan.registry.endpoints import HUB, Endpoint
from sampan.store.references import DEFAULT_DOMAIN

Capability = Literal["pull", "resolve", "push"]
_ALL: Final = frozenset[Capability](("pull", "resolve", "push"))
_FILE: Final = "hosts.toml"
_FALLBACK: Final = "_default"
_MAX_BYTES: Final = 1 << 20
_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?)(ms|s|m)", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_PROXIES: Final = ("http", "https")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9.\[\]:_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Host:
    """One server and what it may be asked."""

    endpoint: Endpoint
    capabilities: frozenset[Capability] = _ALL


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    capabilities: list[str] = []
    ca: str | list[str] = []
    client: str | list[str | list[str]] = []
    skip_verify: bool = False
    header: dict[str, str | list[str]] = {}
    override_path: bool = False
    dial_timeout: str = ""
    proxy: str = ""


class _File(_Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    server: str = ""
    host: dict[str, _Settings] = {}


def find_folder(domain: str, folders: Sequence[str]) -> str:
    """Return the directory for a registry below the first of folders that has one; "" where none has."""
    if _DOMAIN.fullmatch(domain) is None or domain in (".", "..", _FALLBACK):
        return ""
    head, colon, port = domain.rpartition(":")
    names = [f"{head}_{port}_"] if colon and port.isdigit() else []
    for base in folders:
        for name in (*names, domain):
            if os.path.isdir(f"{base}/{name}"):
                return f"{base}/{name}"
    for base in folders:
        if os.path.isfile(f"{base}/{_FALLBACK}/{_FILE}"):
            return f"{base}/{_FALLBACK}"
    return ""


def read_hosts(folder: str, domain: str) -> list[Host]:
    """Return the servers that `hosts.toml` names for a registry, in order, its own server last.

    Empty where there is no such file.

    Raises:
        InvalidArgument: the file cannot be read or says something that has no meaning.
    """
    path = f"{folder}/{_FILE}"
    try:
        with open(path, "rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise InvalidArgument(f"cannot read {path}: {exc.strerror}") from exc
    try:
        if len(raw) > _MAX_BYTES:
            raise ValueError("it is larger than a mebibyte")
        document = msgspec.convert(tomllib.loads(raw.decode()), type=_File)
        hosts = [_parse_host(url, one, folder, domain) for url, one in document.host.items()]
        return [*hosts, _parse_host(document.server, document, folder, domain)]
    except (ValueError, msgspec.ValidationError) as exc:
        raise InvalidArgument(f"{path}: {exc}", hint="its keys are described in docs/registry.md") from exc


def certificates_in(folder: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return Docker's files in a directory: `*.crt` authorities, `*.cert` with `*.key` for us."""
    names = sorted(os.listdir(folder)) if folder else []
    cas = tuple(f"{folder}/{name}" for name in names if name.endswith(".crt"))
    pairs = [(name, f"{name.removesuffix('.cert')}.key") for name in names if name.endswith(".cert")]
    for cert, key in pairs:
        if key not in names:
            raise InvalidArgument(f"{folder}/{cert} has no key beside it: {key} is missing")
    return cas, tuple((f"{folder}/{cert}", f"{folder}/{key}") for cert, key in pairs)


def _parse_host(server: str, given: _Settings, folder: str, domain: str) -> Host:
    endpoint = _endpoint(server, given, domain)
    return Host(
        replace(
            endpoint,
            verify=not given.skip_verify,
            cas=tuple(_absolute(path, folder) for path in _list(given.ca)),
            client_certificates=tuple(_pairs(given.client, folder)),
            headers=tuple(_headers(given.header)),
            proxy=_proxy(given.proxy),
            connect_s=_seconds(given.dial_timeout),
        ),
        frozenset(_capabilities(given.capabilities)) or _ALL,
    )


def _endpoint(server: str, given: _Settings, domain: str) -> Endpoint:
    """Read `https://host[:port][/path]`; "" is the registry itself."""
    if not server:
        return Endpoint("https", HUB if domain == DEFAULT_DOMAIN else domain)
    parts = urlsplit(server if "://" in server else f"https://{server}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{server!r} is no http or https address of a server")
    if parts.username is not None:
        raise ValueError(f"the address of {parts.hostname} has a user; say it in a header")
    authority = HUB if parts.netloc == DEFAULT_DOMAIN else parts.netloc
    root = parts.path.rstrip("/")
    if not given.override_path and not root.endswith("/v2"):
        root += "/v2"
    is_other = authority not in (domain, HUB if domain == DEFAULT_DOMAIN else domain)
    return Endpoint(parts.scheme, authority, root=root, namespace=domain if is_other else "")


def _capabilities(texts: Sequence[str]) -> Iterator[Capability]:
    for text in texts:
        match text.lower():
            case "pull" | "resolve" | "push" as known:
                yield known
            case _:
                raise ValueError(f"capability {text!r} is none of pull, resolve, push")


def _pairs(given: str | Sequence[str | Sequence[str]], folder: str) -> Iterator[tuple[str, str]]:
    """Yield certificate and key; a file with both, or a pair without a key, stands for itself."""
    for one in [given] if isinstance(given, str) else given:
        pair = [one, ""] if isinstance(one, str) else list(one)
        if len(pair) != 2 or not pair[0]:
            raise ValueError(f"client: {one!r} is no pair of certificate and key")
        cert, key = pair
        yield _absolute(cert, folder), _absolute(key or cert, folder)


def _headers(given: Mapping[str, str | list[str]]) -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        text = ", ".join(_list(value))
        if _HEADER.fullmatch(name) is None or not text.isprintable() or not text.isascii():
            raise ValueError(f"header {name!r} cannot be sent")
        yield name, text


def _proxy(text: str) -> str:
    if not text:
        return ""
    parts = urlsplit(text)
    if parts.scheme not in _PROXIES or not parts.hostname or parts.path not in ("", "/") or parts.query:
        shown = f"{parts.scheme}://{parts.hostname}"
        raise ValueError(f"proxy {shown} is not supported; http://host:port and https://host:port are")
    return text.rstrip("/")


def _seconds(text: str) -> float:
    if not text:
        return 0.0
    found = _DURATION.fullmatch(text)
    if found is None or not float(found[1]):
        raise ValueError(f"dial_timeout {text!r} is no time such as 5s or 500ms")
    return float(found[1]) * _SECONDS[found[2]]


def _list(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def _absolute(path: str, folder: str) -> str:
    return os.path.join(folder, path)
