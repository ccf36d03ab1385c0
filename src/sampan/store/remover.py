"""Removes what lies in `tmp/` behind the caller's back, where that takes long: files and trees of many bytes.

What a crash or a close leaves there, the next start sweeps.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from sampan import log
from sampan.store.trees import remove_tree


class Remover:
    """One thread, which exists while there is something to do; thread-safe."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    def remove(self, path: str) -> None:
        """Remove a file or a tree soon."""
        with self._changed:
            self._waiting.append(path)
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name="store-remove", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Return once nothing is left to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None)

    def close(self) -> None:
        """End after what is being removed now."""
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: self._thread is None)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closing or not self._waiting:
                    self._thread = None
                    self._changed.notify_all()
                    return
                path = self._waiting.popleft()
            try:
                if os.path.isdir(path):
                    remove_tree(path)
                else:
                    os.unlink(path)
            except OSError as exc:
                log.warning("cannot be removed", path=path, reason=exc)
