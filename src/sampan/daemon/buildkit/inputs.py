"""What a build reads of its client: documents, whole directories, an archive. Used from a worker thread."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from sampan.build.ignore import read_patterns
from sampan.build.index import IGNORE
from sampan.build.remote_context import RemoteContext, Take
from sampan.daemon.buildkit.filesync import Transfer
from sampan.daemon.buildkit.pieces import Pieces
from sampan.daemon.buildkit.progress import Progress
from sampan.daemon.buildkit.sessions import Session
from sampan.errors import InvalidArgument

if TYPE_CHECKING:
    from sampan.build.index import Index
    from sampan.engine.builds.builds import Builds

_MOST_DOCUMENT: Final = 8 << 20
_SHOWN_EVERY: Final = 1 << 20


class Inputs:
    """One build's. Transfers that it opens end with the stack."""

    def __init__(self, builds: Builds, session: Session, progress: Progress, held: ExitStack) -> None:
        self._builds = builds
        self._session = session
        self._progress = progress
        self._held = held

    def load_dockerfile(self, directory: str, path: str) -> tuple[bytes, bytes | None]:
        """Return the Dockerfile, and its own list of what is ignored if there is one.

        Raises:
            InvalidArgument: there is no Dockerfile.
        """
        lower = posixpath.join(posixpath.dirname(path), posixpath.basename(path).lower())
        wanted = [path, lower] if posixpath.basename(path) == "Dockerfile" else [path]
        with self._progress.node(f"[internal] load build definition from {posixpath.basename(path)}") as node:
            found = self._documents(directory, [*wanted, f"{path}{IGNORE}"], node, "dockerfile")
            for name in wanted:
                if name in found:
                    return found[name], found.get(f"{path}{IGNORE}")
            raise InvalidArgument(f"failed to read dockerfile: open {path}: no such file or directory")

    def load_ignored(self, directory: str) -> list[str]:
        """Return the patterns of a directory's `.dockerignore`."""
        with self._progress.node("[internal] load .dockerignore") as node:
            found = self._documents(directory, [IGNORE], node, "context")
        return read_patterns(found[IGNORE]) if IGNORE in found else []

    def _documents(self, directory: str, names: Sequence[str], node: str, shown: str) -> dict[str, bytes]:
        """Return those of a few small files that are there."""
        with self._reading(directory, follow=names) as source:
            items = {
                number: item
                for number, item in enumerate(source.transfer.items)
                if item is not None and item.path in names and not item.is_directory
            }
            for item in items.values():
                if item.entry.size > _MOST_DOCUMENT:
                    raise InvalidArgument(f"{item.path} is larger than {_MOST_DOCUMENT >> 20} MiB")
            found = {item.path: b"" for item in items.values()}

            def take(number: int, data: bytes) -> None:
                found[items[number].path] += data

            source.fetch([number for number, item in items.items() if item.entry.size], take)
        size = sum(len(data) for data in found.values())
        self._progress.count(node, f"transferring {shown}:", current=size, done=True)
        return found

    def open_directory(self, directory: str, *, exclude: Sequence[str], shown: str) -> RemoteContext:
        """Open a directory as a context; whoever closes it has to do so before the stack ends."""
        key = self._session.shared_key
        known = self._builds.known_digests(f"{key}\n{directory}" if key else "")
        with self._progress.node(shown) as node:
            source = self._held.enter_context(self._reading(directory, exclude=exclude))
            self._progress.count(node, f"{len(source.transfer.items)} files listed", current=0, done=True)
        source.progress = self._progress
        return RemoteContext(source.transfer.items, source, known, spool=self._builds.spool_path())

    def receive_archive(self, place: str) -> Index:
        """Take a context that the client uploads as a tar stream."""
        with self._progress.node(f"[internal] load remote build context {place}"):
            upload = self._session.wait(self._session.open_upload(place))
            try:
                return self._builds.receive(Pieces(lambda: self._session.wait(upload.read())))
            finally:
                self._session.wait(upload.close())

    @contextmanager
    def _reading(
        self, directory: str, *, follow: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Iterator[_Reading]:
        session = self._session
        transfer = session.wait(session.open_directory(directory, follow=follow, exclude=exclude))
        try:
            yield _Reading(session, transfer)
        finally:
            session.wait(transfer.close())


class _Reading:
    """A transfer as a thread uses it; a `remote_context.Source`. progress: shows what comes, if it is set."""

    def __init__(self, session: Session, transfer: Transfer) -> None:
        self._session = session
        self.transfer = transfer
        self.progress: Progress | None = None

    def fetch(self, numbers: Sequence[int], take: Take) -> None:
        """See `Source`."""
        if not numbers:
            return
        if self.progress is None:
            self._session.wait(self.transfer.fetch(numbers, take))
            return
        with self.progress.node("[internal] transfer of the build context") as node:
            shown = _Shown(self.progress, node)

            def count(number: int, data: bytes) -> None:
                take(number, data)
                shown.add(len(data))

            self._session.wait(self.transfer.fetch(numbers, count))
            shown.end()


class _Shown:
    """How many bytes of a context have come, told now and then."""

    def __init__(self, progress: Progress, node: str) -> None:
        self._progress = progress
        self._node = node
        self._size = self._told = 0

    def add(self, size: int) -> None:
        """Count."""
        self._size += size
        if self._size - self._told > _SHOWN_EVERY:
            self._told = self._size
            self._tell(done=False)

    def end(self) -> None:
        """Tell the whole."""
        self._tell(done=True)

    def _tell(self, *, done: bool) -> None:
        self._progress.count(self._node, "transferring context:", current=self._size, done=done)
