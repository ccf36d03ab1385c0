"""A container's log, as the shim is told to write it; and the checks of a create."""

from __future__ import annotations

import glob

from sampan import fastjson
from sampan.engine.core import Core
from sampan.engine.logs.attributes import extra_attributes, render_tag
from sampan.engine.logs.config import (
    FILE_DRIVERS,
    FileLimits,
    buffer_bytes,
    cache_limits,
    check_log_config,
    parse_limits,
)
from sampan.engine.logs.targets import check_syslog, journald_target, syslog_target
from sampan.engine.options import LogDefaults
from sampan.engine.paths import Paths
from sampan.engine.records import Record
from sampan.lean import replace
from sampan.runtime.launcher.client import LogSettings


def check_log(record: Record, defaults: LogDefaults) -> None:
    """Check the log of a container that is to be made.

    Raises:
        InvalidArgument: an option is wrong.
    """
    config = record.host.LogConfig
    check_log_config(config)
    if config.Type in FILE_DRIVERS:
        parse_limits(config.Config, defaults, driver=config.Type)
    if config.Type == "syslog":
        check_syslog(config.Config)
    if config.Type != "none":
        render_tag(record, config.Config.get("tag", ""))


def log_settings(core: Core, record: Record) -> LogSettings:
    """Return what the shim needs for one run.

    Raises:
        SampanError: the log's target does not answer.
    """
    config = record.host.LogConfig
    driver = config.Type or "json-file"
    blocking = config.Config.get("mode") != "non-blocking"
    if driver == "none":
        return LogSettings(path="", enabled=False)
    base = LogSettings(
        path="",
        driver=driver,
        attrs=_attributes(record),
        blocking=blocking,
        buffer_bytes=buffer_bytes(config.Config),
    )
    path = log_path(core.paths, record)
    if driver in FILE_DRIVERS:
        defaults = LogDefaults(max_size_bytes=record.log_max_size, max_files=record.log_max_files)
        return _in_files(base, path, parse_limits(config.Config, defaults, driver=driver))
    target = (
        syslog_target(record) if driver == "syslog" else journald_target(record, core.settings.journal_socket)
    )
    kept = cache_limits(config.Config)
    cache = None if kept is None else _in_files(replace(base, driver="local"), path, kept)
    return replace(base, target=target, cache=cache)


def _attributes(record: Record) -> str:
    """Return labels, variables and tag as the JSON object that goes with each record; "" for none."""
    options = record.host.LogConfig.Config
    found = extra_attributes(record, options)
    if options.get("tag"):
        found["tag"] = render_tag(record, options["tag"])
    return fastjson.dumps(dict(sorted(found.items()))) if found else ""


def _in_files(base: LogSettings, path: str, limits: FileLimits) -> LogSettings:
    return replace(
        base,
        path=path,
        max_size=limits.max_size_bytes,
        max_files=limits.max_files,
        compress=limits.compress,
    )


def log_path(paths: Paths, record: Record) -> str:
    """Return the newest file of a container's readable log, "" where nothing can be read."""
    config = record.host.LogConfig
    match config.Type or "json-file":
        case "json-file":
            return paths.log(record.id)
        case "local":
            return f"{paths.bundle(record.id)}/local-logs/container.log"
        case "none":
            return ""
        case _:
            kept = cache_limits(config.Config)
            return "" if kept is None else f"{paths.bundle(record.id)}/container-cached.log"


def log_files(paths: Paths, record: Record) -> list[str]:
    """Return every file of a container's log that there is, in no order."""
    path = log_path(paths, record)
    return glob.glob(f"{glob.escape(path)}*") if path else []
