"""Docker's progress lines of a pull, from what downloads and unpackers have done.

One thread a pull looks ten times a second; the work itself reports nothing for a byte more or less.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sampan.ids import Digest, digest_hex
from sampan.registry.downloads import Download
from sampan.store.model import Progress
from sampan.store.references import Reference

Report = Callable[[dict[str, object]], None]
_LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class LayerLine:
    """One layer: its blob, and the beginning of its diff id, by which the unpacker names it."""

    blob: Digest
    unpacker_name: str
    size_bytes: int

    @property
    def id(self) -> str:
        """Docker's name for it."""
        return digest_hex(self.blob)[:12]


class PullProgress:
    """Reports one pull; thread-safe. report gets Docker's objects."""

    def __init__(self, report: Report, reference: Reference) -> None:
        self._report = report
        self._reference = reference
        self._lines: dict[str, LayerLine] = {}
        self._order: list[LayerLine] = []
        self._said: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self._present: set[str] = set()
        self._complete: set[str] = set()

    def found(self) -> None:
        """The registry has what is asked for: the first line, behind which errors go in-band."""
        asked = self._reference.digest or self._reference.tag
        self._report({"status": f"Pulling from {self._reference.path}", "id": asked})

    def begin(self, lines: Sequence[LayerLine], *, unpacked: int) -> None:
        """Name every layer; the lowest ones may be unpacked already."""
        self._order = list({line.id: line for line in lines}.values())
        self._lines = {line.unpacker_name: line for line in lines}
        for line in lines[:unpacked]:
            self._present.add(line.id)
        for line in self._order:
            self._say(line.id, "Already exists" if line.id in self._present else "Pulling fs layer")

    def on_present(self, blob: Digest) -> None:
        """A blob that is in the store already is not fetched."""
        short = digest_hex(blob)[:12]
        if short not in self._present:
            self._say(short, "Download complete")

    def on_unpacking(self, step: Progress) -> None:
        """The store unpacks a layer, or has done so."""
        line = self._lines.get(step.layer)
        if line is None or line.id in self._present:
            return
        if step.status == "unpacking":
            self._say(line.id, "Extracting", step.current_bytes, line.size_bytes)

    def complete(self) -> None:
        """Everything is recorded."""
        for line in self._order:
            if line.id not in self._present and line.id not in self._complete:
                self._complete.add(line.id)
                self._say(line.id, "Pull complete")

    @contextmanager
    def watching(self, downloads: Mapping[Digest, Download]) -> Iterator[None]:
        """Report downloads during a block."""
        stop = threading.Event()
        watched = {
            digest_hex(digest)[:12]: download
            for digest, download in downloads.items()
            if digest_hex(digest)[:12] not in self._present
        }

        def look() -> None:
            while watched:
                is_last = stop.wait(_LOOK_S)
                for short, download in list(watched.items()):
                    self._look(short, download)
                    if download.is_whole:
                        del watched[short]
                if is_last:
                    return

        thread = threading.Thread(target=look, name="pull-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _look(self, short: str, download: Download) -> None:
        have, size = download.have_bytes, download.size_bytes
        if download.is_whole:
            self._say(short, "Verifying Checksum")
            self._say(short, "Download complete")
        elif have and self._said.get((short, "Downloading")) != have:
            self._say(short, "Downloading", have, size)

    def _say(self, short: str, status: str, current: int = 0, total: int = 0) -> None:
        with self._lock:
            self._said[short, status] = current
            detail = {"current": current, "total": total} if total else {}
            line: dict[str, object] = {"status": status, "progressDetail": detail, "id": short}
            if total:
                line["progress"] = progress_bar(current, total)
            self._report(line)


def progress_bar(current: int, total: int) -> str:
    """Return the bar that old clients print as it comes. Source: moby, pkg/jsonmessage."""
    done = min(current * 100 // total, 100) // 2
    head = ">" if 50 - done > 0 else ""
    bar = "=" * done + head + " " * (50 - done - (1 if head else 0))
    return f"[{bar}]  {_human(current)}/{_human(total)}"


def _human(size: int) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.4g}{unit}"
        value /= 1000
    raise AssertionError("the last unit takes everything")
