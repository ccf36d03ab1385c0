"""What a client may ask of a log: drivers, their options, the daemon's defaults. Pure.

Messages are Docker's. Source: moby, daemon/logger/factory.go and the drivers' ValidateLogOpt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sampan.engine.options import LogDefaults
from sampan.engine.patterns import compile_filter
from sampan.errors import InvalidArgument
from sampan.spec import docker

DRIVERS: Final = ("journald", "json-file", "local", "none", "syslog")
FILE_DRIVERS: Final = ("json-file", "local")
_ATTRIBUTES: Final = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_FILES: Final = _ATTRIBUTES | {"max-size", "max-file", "compress"}
_SYSLOG: Final = _ATTRIBUTES | {
    "syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert", "syslog-tls-cert",
    "syslog-tls-key", "syslog-tls-skip-verify",
}  # fmt: skip
_OPTIONS: Final = {"json-file": _FILES, "local": _FILES, "journald": _ATTRIBUTES, "syslog": _SYSLOG}
_CACHE: Final = frozenset({"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"})
_COMMON: Final = _CACHE | {"mode", "max-buffer-size"}
_MODES: Final = ("", "blocking", "non-blocking")
_SIZE: Final = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,9}))? ?([kmgtp]?)i?b?", re.IGNORECASE)
_UNITS: Final = {unit: power for power, unit in enumerate(("", "k", "m", "g", "t", "p"))}
_TRUTH: Final = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
DEFAULT_BUFFER_BYTES: Final = 1 << 20
_MAX_BUFFER_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLimits:
    """Rotation of a log in files: max_size_bytes 0 for none."""

    max_size_bytes: int
    max_files: int
    compress: bool


def merge_log_config(wanted: docker.LogConfig, defaults: LogDefaults) -> docker.LogConfig:
    """Fill in what the client left open: the driver, and the options of the daemon's own driver."""
    kind = wanted.Type or defaults.driver
    options = dict(wanted.Config)
    for key, value in defaults.options.items():
        if kind == defaults.driver or key in _CACHE:
            options.setdefault(key, value)
    return docker.LogConfig(Type=kind, Config=options)


def check_log_config(config: docker.LogConfig) -> None:
    """Check driver and options.

    Raises:
        InvalidArgument: in Docker's words.
    """
    driver, options = config.Type or "json-file", config.Config
    if driver == "none":
        return
    _check_mode(options)
    _check_cache(options)
    if driver not in DRIVERS:
        raise InvalidArgument(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    unknown = sorted(set(options) - _OPTIONS[driver] - _COMMON)
    if unknown:
        what = "log driver local" if driver == "local" else f"{driver} log driver"
        raise InvalidArgument(f"unknown log opt '{unknown[0]}' for {what}")
    for key in ("labels-regex", "env-regex"):
        _check_pattern(key, options.get(key, ""))
    if driver in FILE_DRIVERS:
        parse_limits(options, LogDefaults(), driver=driver)


def _check_mode(options: Mapping[str, str]) -> None:
    mode = options.get("mode", "")
    if mode not in _MODES:
        raise InvalidArgument(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options and mode != "non-blocking":
        raise InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
    buffer_bytes(options)


def _check_cache(options: Mapping[str, str]) -> None:
    text = options.get("cache-disabled", "")
    if text and text.lower() not in _TRUTH:
        raise InvalidArgument(f"invalid value for option cache-disabled: {text}")
    cache_limits(options)


def buffer_bytes(options: Mapping[str, str]) -> int:
    """Return how much may wait for a slow log.

    Raises:
        InvalidArgument: no size.
    """
    text = options.get("max-buffer-size")
    if text is None:
        return DEFAULT_BUFFER_BYTES
    try:
        return min(max(parse_size(text, base=1024), 1), _MAX_BUFFER_BYTES)
    except InvalidArgument as exc:
        raise InvalidArgument(f"error parsing option max-buffer-size: {exc}") from exc


def parse_limits(options: Mapping[str, str], defaults: LogDefaults, *, driver: str) -> FileLimits:
    """Return the rotation of json-file or local.

    Raises:
        InvalidArgument: a value has another form.
    """
    limits = _limits(options, "", max_size_bytes=defaults.max_size_bytes, max_files=defaults.max_files)
    compress = _truth(options, "compress", usual=driver == "local")
    if driver == "json-file" and compress and (limits.max_files == 1 or not limits.max_size_bytes):
        raise InvalidArgument("compress cannot be true when max-file is less than 2 or max-size is not set")
    return FileLimits(max_size_bytes=limits.max_size_bytes, max_files=limits.max_files, compress=compress)


def cache_limits(options: Mapping[str, str]) -> FileLimits | None:
    """Return the rotation of the cache beside journald and syslog; None where it is switched off."""
    if _TRUTH.get(options.get("cache-disabled", "").lower(), False):
        return None
    usual = LogDefaults()
    limits = _limits(options, "cache-", max_size_bytes=usual.max_size_bytes, max_files=usual.max_files)
    return FileLimits(
        max_size_bytes=limits.max_size_bytes,
        max_files=limits.max_files,
        compress=_truth(options, "cache-compress", usual=True),
    )


def _limits(options: Mapping[str, str], prefix: str, *, max_size_bytes: int, max_files: int) -> FileLimits:
    size, files = options.get(f"{prefix}max-size"), options.get(f"{prefix}max-file")
    if size is not None:
        max_size_bytes = 0 if size == "-1" else parse_size(size, base=1000)
        if max_size_bytes == 0 and size != "-1":
            raise InvalidArgument(f"{prefix}max-size must be a positive number")
    if files is not None:
        if not (files.isascii() and files.isdigit() and int(files[:5]) <= 1000):
            raise InvalidArgument(f"invalid log opt {prefix}max-file {files!r}: a number from 1 to 1000")
        max_files = int(files)
        if max_files < 1:
            raise InvalidArgument(f"{prefix}max-file cannot be less than 1")
    return FileLimits(max_size_bytes=max_size_bytes, max_files=max_files, compress=False)


def parse_size(text: str, *, base: int) -> int:
    """Return bytes of `10m`, `1.5g`, `64 KiB`; base is 1000 for files, 1024 for memory (go-units).

    Raises:
        InvalidArgument: another form.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise InvalidArgument(f"invalid size: '{text}'")
    whole, fraction, unit = found.groups()
    return int(float(f"{whole}.{fraction or 0}") * base ** _UNITS[unit.lower()])


def _truth(options: Mapping[str, str], key: str, *, usual: bool) -> bool:
    text = options.get(key)
    if text is None:
        return usual
    value = _TRUTH.get(text.lower())
    if value is None:
        raise InvalidArgument(f"invalid log opt {key} {text!r}: true or false")
    return value


def _check_pattern(key: str, text: str) -> None:
    if text:
        compile_pattern(text, key=key)


def compile_pattern(text: str, *, key: str) -> re.Pattern[str]:
    """Return the pattern of `labels-regex` or `env-regex`.

    Raises:
        InvalidArgument: it is none, or one too costly.
    """
    try:
        return compile_filter(text, key=key)
    except InvalidArgument as exc:
        why = str(exc).rpartition(": ")[2]
        raise InvalidArgument(f"error parsing regexp of log opt {key} {text[:80]!r}: {why}") from exc
