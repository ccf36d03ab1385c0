"""Which OCI runtime runs a container: our own, or another program with runc's command line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from sampan.engine.options import OWN_RUNTIME, EngineSettings
from sampan.errors import InvalidArgument

_FOUND_ON_PATH = ("runc", "crun")


class Runtimes:
    """Runtimes by name."""

    def __init__(self, settings: EngineSettings) -> None:
        self._configured = settings.runtimes
        self.default = settings.default_runtime

    def choose(self, name: str) -> str:
        """Return the name to remember for a request.

        Raises:
            InvalidArgument: no such runtime.
        """
        chosen = name or self.default
        self.command(chosen)
        return chosen

    def command(self, name: str) -> tuple[str, ...] | None:
        """Return the program and its options; None: our own.

        Raises:
            InvalidArgument: no such runtime; a path must be absolute and lead to a program.
        """
        if name == OWN_RUNTIME:
            return None
        if name in self._configured:
            return self._configured[name]
        path = name if name.startswith("/") else shutil.which(name) if name in _FOUND_ON_PATH else None
        if path is None or not os.access(path, os.X_OK) or os.path.isdir(path):
            raise InvalidArgument(
                f"unknown or invalid runtime name: {name}", hint=f"known here: {', '.join(self.known())}"
            )
        return (path,)

    def known(self) -> Mapping[str, tuple[str, ...]]:
        """Return every runtime that would be found, name → command line; () for our own."""
        found = {name: (path,) for name in _FOUND_ON_PATH if (path := shutil.which(name))}
        return {OWN_RUNTIME: (), **found, **self._configured}
