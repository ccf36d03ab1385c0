"""Forget what a container has logged."""

from __future__ import annotations

import os

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.logs.settings import log_files, log_path
from sampan.errors import Conflict, Unsupported


def clear_log(core: Core, container: Container) -> None:
    """See `Containers.clear_log`. The shim does it while the container runs: it writes the files."""
    if not log_path(core.paths, container.record):
        raise Unsupported("configured logging driver does not support reading: there is nothing to clear")
    with container.lock:  # no start may come in between
        if container.removed:
            raise Conflict("can not clear the log of a container which is dead or marked for removal")
        if container.shim is not None:
            try:
                container.shim.clear_log()
                return
            except Conflict:
                pass  # it has just ended: its log is complete, and its files are ours
        for path in log_files(core.paths, container.record):
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue
