"""Further processes in a running container."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sampan.client.attachment import Attachment
from sampan.client.http import quote
from sampan.client.streams import exchange
from sampan.client.values import Document, Finished, as_document
from sampan.errors import Unavailable

if TYPE_CHECKING:
    from sampan.client.api import Client

_RECORDED_S: Final = 10.0
_RETRY_S: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """A process that was described to the daemon; `start`, `attach` or `run` starts it, once."""

    id: str
    tty: bool
    client: Client = field(repr=False, compare=False)

    def start(self) -> None:
        """Start it and leave it alone.

        Raises:
            Conflict: it was started before, or the container does not run.
        """
        self.client.call("POST", self._path("start"), body={"Detach": True, "Tty": self.tty})

    def attach(self) -> Attachment:
        """Start it and return its streams; the caller closes them.

        Raises:
            Conflict: it was started before, or the container does not run.
        """
        with self.client.session() as session:
            stream = session.hijack("POST", self._path("start"), body={"Detach": False, "Tty": self.tty})
        return Attachment(stream, framed=not self.tty)

    def run(self, stdin: bytes = b"") -> Finished:
        """Start it, give it all its input, and return how it ended.

        Raises:
            Conflict: it was started before, or the container does not run.
        """
        with self.client.session() as session:
            stream = session.hijack("POST", self._path("start"), body={"Detach": False, "Tty": self.tty})
            stdout, stderr = exchange(stream, stdin, framed=not self.tty)
        return Finished(exit_code=self._final_code(), stdout=stdout, stderr=stderr)

    def inspect(self) -> Document:
        """Return everything the daemon knows about it."""
        return as_document(self.client.call("GET", self._path("json")))

    def exit_code(self) -> int | None:
        """Return its exit code; None while it runs, and before."""
        found = self.inspect()
        code = found.get("ExitCode")
        return code if isinstance(code, int) and not found.get("Running") else None

    def _final_code(self) -> int:
        """Return the code behind the end of the stream, which dockerd may record a little later."""
        deadline = time.monotonic() + _RECORDED_S
        while (code := self.exit_code()) is None:
            if time.monotonic() > deadline:
                raise Unavailable(f"the daemon does not say how exec {self.id} ended")
            time.sleep(_RETRY_S)
        return code

    def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size."""
        self.client.call("POST", self._path("resize"), [("h", str(rows)), ("w", str(columns))])

    def _path(self, verb: str) -> str:
        return f"/exec/{quote(self.id)}/{verb}"
