"""An image's whole root as one archive, without a container: what a build's `--output` writes."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from sampan.engine.builds.host import BuildHost
from sampan.engine.core import Core
from sampan.engine.images.hello_image import resolve_image
from sampan.engine.images.remote import RemoteImages
from sampan.store.archive.packing import Packer
from sampan.store.archive.writer import Sink, TarWriter


class OpenImageRoot:
    """An image's files, ready to be packed; use it in a `with`."""

    def __init__(self, core: Core, remote: RemoteImages, name: str) -> None:
        """Raises NotFound: there is no such image."""
        self._held = ExitStack()
        image = resolve_image(core, name)
        stack = core.store.built.stack_of(image)
        self._held.enter_context(core.store.built.held(stack))
        try:
            self.fd = self._held.enter_context(BuildHost(core, remote).open_root(stack))
        except BaseException:
            self._held.close()
            raise

    def write(self, sink: Sink) -> None:
        """Pack everything; names are relative, the root itself has no entry."""
        writer = TarWriter(sink)
        Packer(writer).add(self.fd, shown=b"")
        writer.finish()

    def close(self) -> None:
        """Give the files back; may be called twice."""
        self._held.close()

    def __enter__(self) -> OpenImageRoot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
