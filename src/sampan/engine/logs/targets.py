"""Where journald and syslog are, for the shim: addresses resolved, and tried once, at each start."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from sampan.engine.logs.attributes import extra_attributes, journal_field, render_tag
from sampan.engine.records import Record
from sampan.errors import InvalidArgument, SampanError
from sampan.runtime.launcher import syslog_log

_TRANSPORTS: Final = ("tcp", "tcp+tls", "udp", "unix", "unixgram")
_FORMATS: Final = ("", "rfc3164", "rfc5424", "rfc5424micro")
# <syslog.h>, LOG_KERN and so on, by 8.
_FACILITIES: Final = {
    name: number
    for number, name in enumerate(
        "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp".split()
        + [""] * 4
        + [f"local{number}" for number in range(8)]
    )
    if name
}
_LOCAL_SOCKETS: Final = ("/dev/log", "/var/run/syslog", "/var/run/log")
_ADDRESS: Final = re.compile(r"[a-z+]+://.+")
_PORT: Final = 514


def check_syslog(options: Mapping[str, str]) -> None:
    """Check what the options of syslog say.

    Raises:
        InvalidArgument: in Docker's words.
    """
    parse_address(options.get("syslog-address", ""))
    _facility(options.get("syslog-facility", ""))
    if options.get("syslog-format", "") not in _FORMATS:
        raise InvalidArgument("Invalid syslog format")


def parse_address(text: str) -> dict[str, str]:
    """Return proto with path, or with host and port; nothing for the machine's own syslog.

    Raises:
        InvalidArgument: another form, or no such socket.
    """
    if not text:
        return {}
    proto = text.partition("://")[0]
    if not _ADDRESS.fullmatch(text) or proto not in _TRANSPORTS:
        raise InvalidArgument(f"syslog-address should be in form proto://address, got {text}")
    if proto in ("unix", "unixgram"):
        path = text.partition("://")[2]
        if not os.path.exists(path):
            raise InvalidArgument(f"stat {path}: no such file or directory")
        return {"proto": proto, "path": path}
    parts = urlsplit(text)
    try:
        host, port = parts.hostname or "", parts.port or _PORT
    except ValueError as exc:
        raise InvalidArgument(f"invalid syslog-address {text!r}: {exc}") from exc
    return {"proto": proto, "host": host or "localhost", "port": str(port)}


def _facility(text: str) -> int:
    if not text:
        return _FACILITIES["daemon"]
    if text in _FACILITIES:
        return _FACILITIES[text]
    if text.isascii() and text.isdigit() and int(text[:3]) <= 23:
        return int(text)
    raise InvalidArgument("invalid syslog facility")


def syslog_target(record: Record) -> dict[str, str]:
    """Return what the shim needs to write to syslog, having seen that somebody listens there.

    Raises:
        SampanError: nobody does; InvalidArgument: an option is wrong.
    """
    options = record.host.LogConfig.Config
    address = parse_address(options.get("syslog-address", "")) or _find_local()
    target = {
        **address,
        "priority": str(_facility(options.get("syslog-facility", "")) * 8),
        "format": options.get("syslog-format", ""),
        "tag": render_tag(record, options.get("tag") or "{{.ID}}"),
        "hostname": os.uname().nodename,
        "ca": options.get("syslog-tls-ca-cert", ""),
        "cert": options.get("syslog-tls-cert", ""),
        "key": options.get("syslog-tls-key", ""),
        "insecure": "1" if "syslog-tls-skip-verify" in options else "",
    }
    try:
        if "host" in target:
            target["ip"] = _find_listener(target)
        else:
            syslog_log.connect(target).close()
    except OSError as exc:
        where = target.get("path") or f"{target['host']}:{target['port']}"
        raise _not_initialized(f"dial {target['proto']} {where}: {exc.strerror or exc}") from exc
    return target


def _not_initialized(why: str) -> SampanError:
    return SampanError(f"failed to create task for container: failed to initialize logging driver: {why}")


def _find_local() -> dict[str, str]:
    for proto in ("unixgram", "unix"):
        for path in _LOCAL_SOCKETS:
            address = {"proto": proto, "path": path}
            try:
                syslog_log.connect(address).close()
            except OSError:
                continue
            return address
    raise _not_initialized("Unix syslog delivery error")


def _find_listener(target: Mapping[str, str]) -> str:
    """Return the first of the host's addresses that answers; udp never tells: the first one.

    Raises:
        OSError: what the last one said.
    """
    found = socket.getaddrinfo(target["host"], int(target["port"]), type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[4][0]) for address in found))
    for number, ip in enumerate(addresses, 1):
        try:
            syslog_log.connect({**target, "ip": ip}).close()
        except OSError:
            if number == len(addresses):
                raise
        else:
            return ip
    raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))


def journald_target(record: Record, socket_path: str) -> dict[str, str]:
    """Return what the shim needs to write to the journal.

    Raises:
        SampanError: there is none.
    """
    if not os.path.exists(socket_path):
        raise _not_initialized("journald is not enabled on this host")
    options = record.host.LogConfig.Config
    tag = render_tag(record, options.get("tag") or "{{.ID}}")
    fields = {
        "CONTAINER_ID": record.id[:12],
        "CONTAINER_ID_FULL": record.id,
        "CONTAINER_NAME": record.name,
        "CONTAINER_TAG": tag,
        "IMAGE_NAME": record.image,
        "SYSLOG_IDENTIFIER": tag,
    }
    for name, value in extra_attributes(record, options).items():
        if field := journal_field(name):
            fields[field] = value
    return {"socket": socket_path} | {f"field.{name}": value for name, value in fields.items()}
