"""A container's whole root as one archive, without what is mounted in it (API 1.51, `/export`)."""

from __future__ import annotations

from types import TracebackType

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.files.container_root import OpenRoot, open_bare_root
from sampan.engine.observing.events import container_event
from sampan.store.archive.packing import Packer
from sampan.store.archive.writer import Sink, TarWriter


class OpenExport:
    """A container's root, ready to be packed; use it in a `with`. The event `export` is told at the end."""

    def __init__(self, core: Core, container: Container, root: OpenRoot) -> None:
        self._core = core
        self._container = container
        self._root = root

    def write(self, sink: Sink) -> None:
        """Pack everything; names are relative, the root itself has no entry (as Docker's)."""
        writer = TarWriter(sink)
        Packer(writer).add(self._root.fd, shown=b"")
        writer.finish()
        self._core.events.emit(container_event(self._container, "export"))

    def close(self) -> None:
        """Give the root back; may be called twice."""
        self._root.close()

    def __enter__(self) -> OpenExport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_export(core: Core, container: Container) -> OpenExport:
    """See `Containers.open_export`."""
    return OpenExport(core, container, open_bare_root(core, container))
