"""Import a root file system from a URL, as it is downloaded (API 1.51, POST /images/create, fromSrc).

```
 open: name, changes, request to the server ─▶ run, in a thread: body ─▶ UrlBody ─▶ store
       errors so far have a status of their own   what goes wrong from here on ends the stream
```

Loaded with the first such request: hardly anybody makes one, and urllib takes its time to import.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, BinaryIO, Final

from sampan.build.urls import broken, open_url, promised_bytes
from sampan.errors import SampanError, Unavailable
from sampan.registry.pull_progress import progress_bar

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Report = Callable[[dict[str, object]], None]

_BUFFER: Final = 1 << 20
_EVERY_S: Final = 0.1  # between two lines of progress


class UrlImport:
    """An answer that has begun; `run` imports it. `cancel` in every case, from any thread."""

    def __init__(self, url: str, take: Callable[[BinaryIO], str]) -> None:
        self._url = url if "://" in url else f"http://{url}"
        self._take = take
        self._lock = threading.Lock()
        self._running = self._cancelled = False
        try:
            self._answer: HTTPResponse = open_url(self._url, headers={})
        except Unavailable as exc:
            raise SampanError(str(exc)) from exc  # to Docker it is no trouble of its own: 500

    def run(self, report: Report) -> None:
        """Import what comes; the last line that is reported is the image's id.

        Raises:
            InvalidArgument: it is no archive. Unavailable: it broke off. SampanError: the disk is full.
        """
        with self._lock:
            if self._cancelled:
                return
            self._running = True
        with self._answer:
            report({"status": f"Downloading from {self._url}"})
            with io.BufferedReader(_Body(self, report), _BUFFER) as body:
                report({"status": self._take(body)})

    def cancel(self) -> None:
        """End it: a thread that reads gives up with its next piece."""
        with self._lock:
            self._cancelled = True
            if not self._running:
                self._answer.close()

    def read_into(self, target: memoryview) -> int:
        """Read some of the body; 0 at its end.

        Raises:
            Unavailable: the server does not go on, or nobody wants it any more.
        """
        if self._cancelled:
            raise Unavailable("the client has gone")
        try:
            return self._answer.readinto(target)
        except (OSError, HTTPException) as exc:
            raise broken(self._url, exc) from exc

    @property
    def promised_bytes(self) -> int | None:
        """How much is to come in all, if the server says so."""
        return promised_bytes(self._answer)

    def broke_off(self, size: int) -> Unavailable:
        """Return the error for a body that is shorter than was promised."""
        return Unavailable(f"cannot fetch {self._url}: the answer broke off after {size} bytes")


class _Body(io.RawIOBase):
    """The body as a file; tells how far it is."""

    def __init__(self, source: UrlImport, report: Report) -> None:
        super().__init__()
        self._source = source
        self._report = report
        self._size = 0
        self._told_at = 0.0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, target: WriteableBuffer, /) -> int:
        """Fill target with what has come; 0 at the end.

        Raises:
            Unavailable: it broke off.
        """
        count = self._source.read_into(memoryview(target).cast("B"))
        self._size += count
        total = self._source.promised_bytes
        if not count and total is not None and self._size != total:
            raise self._source.broke_off(self._size)
        if total and (self._size == total or time.monotonic() - self._told_at > _EVERY_S) and count:
            self._told_at = time.monotonic()
            self._report(
                {
                    "status": "Importing",
                    "progressDetail": {"current": self._size, "total": total},
                    "progress": progress_bar(self._size, total),
                }
            )
        return count
