"""One HTTP exchange with a registry, or a few: redirects, tries, time-outs, bounded bodies.

Credentials are a parameter of their own, so that no header dictionary carries them to another origin.
Source: OCI distribution-spec 1.1; RFC 9110 (redirects, Retry-After).
"""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final
from urllib import request as environment
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning, NameResolutionError, SSLError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from sampan import __version__
from sampan.errors import InvalidArgument, Unavailable
from sampan.registry.endpoints import Endpoint, origin
from sampan.registry.hosts import certificates_in, find_folder
from sampan.registry.options import Limits, RegistryOptions
from sampan.spec.image import MAX_DOCUMENT_BYTES
from sampan.tls import client_context

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})
_PIECE: Final = 256 * 1024
_POOLS: Final = 8  # connections kept open for each registry

Body = Callable[[], object]  # makes the body anew for each try: bytes or a file


class ConnectFailed(Unavailable):
    """No connection, or none by TLS: another way to the same registry may work."""


class BrokenOff(Unavailable):
    """The body of an answer did not come to its end; the same request may bring the whole."""


class Answer:
    """A response whose body has not been read; use it in a `with`."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str, limits: Limits) -> None:
        self._response = response
        self._limits = limits
        self.url = url  # after redirects
        self.status = response.status
        self.headers = response.headers

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_error: object) -> None:
        self._response.close()

    def abort(self) -> None:
        """End the body from another thread: who reads it gets an error or its end."""
        with contextlib.suppress(HTTPError, OSError, ValueError, RuntimeError):
            self._response.shutdown()

    def header(self, name: str) -> str:
        """Return a header, "" when it is absent."""
        return self.headers.get(name, "") or ""

    def read_some(self) -> bytes:
        """Return the next bytes of the body, b"" at the end.

        Raises:
            BrokenOff: the connection broke off or fell silent.
        """
        try:
            return self._response.read1(_PIECE, decode_content=False)
        except (HTTPError, OSError) as exc:
            raise BrokenOff(f"{host_in(self.url)} broke off: {reason_of(exc)}") from exc

    def read_document(self, limit_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
        """Return the whole body, and give the connection back for the next request.

        Raises:
            InvalidArgument: it is longer than allowed.
            Unavailable: it did not come, or dripped too long.
        """
        pieces: list[bytes] = []
        size = 0
        deadline = time.monotonic() + self._limits.document_s
        while piece := self.read_some():
            size += len(piece)
            if size > limit_bytes:
                raise InvalidArgument(f"answer of {host_in(self.url)} exceeds {limit_bytes} bytes")
            if time.monotonic() > deadline:
                raise Unavailable(f"{host_in(self.url)} is too slow: no whole document in time")
            pieces.append(piece)
        self._response.release_conn()
        return b"".join(pieces)


class Transport:
    """Connections to registries; thread-safe. One for the whole engine."""

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._pools: dict[tuple[Endpoint, tuple[int, ...]], urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        # Whoever set `skip_verify` or `--insecure-registry` knows; one warning a request fills the log.
        urllib3.disable_warnings(InsecureRequestWarning)

    @property
    def limits(self) -> Limits:
        """Time-outs and tries."""
        return self._options.limits

    def send(
        self,
        method: str,
        url: str,
        *,
        endpoint: Endpoint,
        authorization: str = "",
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        tries: int = 0,
    ) -> Answer:
        """Return the answer to a request, after redirects and repeated tries; its status may be any other.

        authorization goes to endpoint's own origin only. tries: 0 means as many as the limits say.

        Raises:
            ConnectFailed, Unavailable: no answer.
        """
        limits = self.limits
        tries = tries or limits.attempts
        for attempt in range(1, tries + 1):
            try:
                answer = self._follow(method, url, endpoint, authorization, headers or {}, body)
            except Unavailable as exc:
                if attempt == tries or isinstance(exc.__cause__, NameResolutionError):
                    raise
                time.sleep(self.backoff(attempt))
                continue
            if answer.status not in _RETRIED or attempt == tries:
                return answer
            with answer:
                time.sleep(self._pause(attempt, answer))
        raise AssertionError("the last try returns or raises")

    def backoff(self, attempt: int) -> float:
        """Return the seconds to wait after a try that failed, counted from 1."""
        limits = self.limits
        return min(limits.backoff_s * 2.0 ** (attempt - 1), limits.backoff_most_s)

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()
            self._pools.clear()

    def _pause(self, attempt: int, answer: Answer) -> float:
        text = answer.header("Retry-After")
        if text.isascii() and text.isdigit():
            return min(float(text[:6]), self.limits.retry_after_most_s)
        return self.backoff(attempt)

    def _follow(
        self,
        method: str,
        url: str,
        endpoint: Endpoint,
        authorization: str,
        headers: Mapping[str, str],
        body: Body | None,
    ) -> Answer:
        """Send a request and go where it is redirected to, without credentials on foreign ground."""
        home = origin(endpoint.url)
        for _ in range(self.limits.redirects + 1):
            sent = dict(headers)
            sent["User-Agent"] = f"sampan/{__version__}"
            sent["Accept-Encoding"] = "identity"
            if origin(url) == home:
                sent.update(endpoint.headers)
                if authorization:
                    sent["Authorization"] = authorization
            answer = self._exchange(method, url, endpoint, sent, body)
            target = answer.header("Location")
            if answer.status not in _REDIRECTS or not target:
                return answer
            with answer:
                url = _redirected(url, target)
                if answer.status == 303:
                    method, body = "GET", None
        raise Unavailable(f"{endpoint.authority} redirects without end")

    def _exchange(
        self, method: str, url: str, endpoint: Endpoint, headers: Mapping[str, str], body: Body | None
    ) -> Answer:
        if origin(url)[1:] != origin(endpoint.url)[1:]:
            endpoint = self._stranger(url)
        limits = self.limits
        try:
            response = self._pool(endpoint).request(
                method,
                url,
                headers=headers,
                body=body() if body else None,  # type: ignore[arg-type]  # bytes or a file, as Body says
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(
                    connect=endpoint.connect_s or limits.connect_s, read=limits.silence_s
                ),
            )
        except SSLError as exc:
            raise ConnectFailed(f"cannot reach registry {host_in(url)}: {reason_of(exc)}") from exc
        except (HTTPError, OSError, ValueError) as exc:
            kind = Unavailable if isinstance(exc, Urllib3Timeout) else ConnectFailed
            raise kind(f"cannot reach registry {host_in(url)}: {reason_of(exc)}") from exc
        return Answer(response, url, self.limits)

    def _stranger(self, url: str) -> Endpoint:
        """Return how to speak with a server that a registry has sent us to: by TLS that is checked."""
        parts = urlsplit(url)
        authority = parts.netloc.rpartition("@")[2]
        cas, pairs = certificates_in(find_folder(authority, self._options.certs))
        return Endpoint(parts.scheme, authority, cas=cas, client_certificates=pairs)

    def _pool(self, endpoint: Endpoint) -> urllib3.PoolManager:
        """Return the connections to a server; new ones when its certificates' files have changed."""
        key = (replace(endpoint, root="", namespace="", headers=()), _stamps(endpoint))
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = _new_pool(endpoint)
        return pool


def _stamps(endpoint: Endpoint) -> tuple[int, ...]:
    paths = [*endpoint.cas, *(path for pair in endpoint.client_certificates for path in pair)]
    try:
        return tuple(os.stat(path).st_mtime_ns for path in paths)
    except OSError as exc:
        raise InvalidArgument(f"cannot read certificate {exc.filename}: {exc.strerror}") from exc


def _new_pool(endpoint: Endpoint) -> urllib3.PoolManager:
    context = _tls_context(endpoint)
    proxy = endpoint.proxy or _proxy_of(endpoint)
    if not proxy:
        return urllib3.PoolManager(maxsize=_POOLS, blocksize=_PIECE, ssl_context=context)
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return urllib3.ProxyManager(
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
        maxsize=_POOLS,
        blocksize=_PIECE,
        ssl_context=context,
        proxy_headers=urllib3.make_headers(proxy_basic_auth=user) if parts.username is not None else None,
    )


def _proxy_of(endpoint: Endpoint) -> str:
    """Return the proxy that the environment names (`https_proxy`, `no_proxy`), "" for none."""
    _, host, _port = origin(endpoint.url)
    if host in ("localhost", "127.0.0.1", "::1") or environment.proxy_bypass_environment(host):  # type: ignore[attr-defined]  # the same
        return ""
    return environment.getproxies_environment().get(endpoint.scheme, "")


def _tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return the TLS settings for a server.

    Raises:
        InvalidArgument: a file is no certificate or key.
    """
    context = client_context(verify=endpoint.verify)
    path = ""
    try:
        for path in endpoint.cas:
            context.load_verify_locations(path)
        for path, key in endpoint.client_certificates:
            context.load_cert_chain(path, key, password="")  # never asks for one
    except (OSError, ssl.SSLError) as exc:
        raise InvalidArgument(f"cannot use certificate {path}: {reason_of(exc)}") from exc
    return context


def _redirected(url: str, target: str) -> str:
    goal = urljoin(url, target)
    scheme = urlsplit(goal).scheme
    if scheme not in ("http", "https"):
        raise InvalidArgument(f"{host_in(url)} redirects to a {scheme!r} address")
    if scheme == "http" and urlsplit(url).scheme == "https":
        raise InvalidArgument(f"{host_in(url)} redirects from https to http: refused")
    return goal


def host_in(url: str) -> str:
    """Return host and port of a URL for a message: paths may carry secrets."""
    return urlsplit(url).netloc.rpartition("@")[2]


def reason_of(error: Exception) -> str:
    """Return what went wrong in few words."""
    inner = error
    while (
        isinstance(inner, HTTPError)
        and inner.__cause__ is not None
        and isinstance(inner.__cause__, Exception)
    ):
        inner = inner.__cause__
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror.lower()
    text = str(inner)
    return text.rpartition("): ")[2] or type(error).__name__
