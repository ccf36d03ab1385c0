"""The command line of `sampan-registry`."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import Final

from sampan import __version__
from sampan.errors import Forbidden, InvalidArgument
from sampan.settings import default_roots

_LOOPBACK: Final = frozenset(("127.0.0.1", "localhost", "::1"))
_DAY_S: Final = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the registry was started with."""

    host: str
    port: int
    data_root: str
    host_images: bool  # data_root is another sampand's, and only read
    htpasswd: str
    tokens: bool
    anonymous_pull: bool
    read_only: bool
    proxy: str  # the registry that this one is a cache of; "": none
    proxy_user: str
    proxy_password_file: str
    tls_cert: str
    tls_key: str
    stale_s: float
    ready_fd: int
    log_level: str
    log_json: bool


def parse_options(arguments: list[str]) -> Options:
    """Read the command line; prints and exits as argparse does on --help, --version and on errors.

    Raises:
        InvalidArgument: the address is none, or options do not go together.
        Forbidden: anybody could push.
    """
    given = _parser().parse_args(arguments)
    host, port = _parse_address(given.address)
    usual = default_roots().data
    if bool(given.tls_cert) != bool(given.tls_key):
        raise InvalidArgument("--tls-cert and --tls-key go together")
    if (given.tokens or given.anonymous_pull) and not given.htpasswd:
        raise InvalidArgument("--tokens and --anonymous-pull need --htpasswd: there is nobody to log in")
    if given.host_images and given.htpasswd and given.tokens:
        raise InvalidArgument("--tokens does not go with --host-images: there is no place for its key")
    if given.proxy and given.host_images:
        raise InvalidArgument("--proxy does not go with --host-images: a cache keeps what it fetches")
    if bool(given.proxy_user) != bool(given.proxy_password_file) or (given.proxy_user and not given.proxy):
        raise InvalidArgument("--proxy-user and --proxy-password-file go together, and with --proxy")
    read_only = given.read_only or given.host_images or bool(given.proxy)
    if not (given.htpasswd or read_only or given.open or host in _LOOPBACK):
        raise Forbidden(
            f"cannot serve on {given.address}: anybody who reaches it could push",
            hint="--htpasswd FILE, --read-only, or --open if that is meant",
        )
    return Options(
        host=host,
        port=port,
        data_root=given.data_root or (usual if given.host_images else f"{usual}-registry"),
        host_images=given.host_images,
        htpasswd=given.htpasswd,
        tokens=given.tokens,
        anonymous_pull=given.anonymous_pull,
        read_only=read_only,
        proxy=given.proxy,
        proxy_user=given.proxy_user,
        proxy_password_file=given.proxy_password_file,
        tls_cert=given.tls_cert,
        tls_key=given.tls_key,
        stale_s=given.stale_after if given.stale_after is not None else _DAY_S * (7 if given.proxy else 1),
        ready_fd=given.ready_fd,
        log_level=given.log_level,
        log_json=given.log_format == "json",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sampan-registry",
        description="Serve images to docker, podman, skopeo and sampan: an OCI distribution 1.1 registry.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("address", nargs="?", default="127.0.0.1:5000", help="host:port to listen on (default %(default)s)")
    add("--version", action="version", version=f"sampan-registry {__version__}")
    add("--data-root", metavar="DIR", type=os.path.abspath, default="", help="where repositories are kept")
    add("--host-images", action="store_true", help="serve the images of this host's sampand, read-only")
    add("--htpasswd", metavar="FILE", default="", help="users and bcrypt hashes; without it nobody logs in")
    add("--tokens", action="store_true", help="let clients log in by the token flow")
    add("--anonymous-pull", action="store_true", help="let anybody pull; pushing needs a login")
    add("--open", action="store_true", help="let anybody who reaches the address push and delete")
    add("--read-only", action="store_true", help="refuse whatever changes something")
    add(
        "--proxy",
        metavar="REGISTRY",
        default="",
        help="be a cache of this registry: docker.io, host[:port], http://host[:port]",
    )
    add("--proxy-user", metavar="NAME", default="", help="whom that registry knows us as")
    add("--proxy-password-file", metavar="FILE", default="", help="holds the password for it")
    add("--tls-cert", metavar="FILE", default="", help="certificate to show, PEM")
    add("--tls-key", metavar="FILE", default="", help="its key, PEM")
    add(
        "--stale-after",
        metavar="SECONDS",
        type=float,
        default=None,
        help="sweep uploads and blobs that nobody touched for so long (default: a day; of a cache a week)",
    )
    add("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
    add("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    add("--log-format", choices=("text", "json"), default="text")
    return parser


def _parse_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(f"cannot listen on {text!r}: it is not host:port")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 -- `:5000` means everywhere; checked below
