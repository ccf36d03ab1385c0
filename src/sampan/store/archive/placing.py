"""Unpack an archive over a tree that exists and that others may change meanwhile: `cp` in, and out.

Every parent directory is looked up from the root by openat2(RESOLVE_IN_ROOT), and each entry is made by *at
calls that follow nothing (docs/files.md): a swapped link leads to another place inside the root, never out.
What stands at an entry's name is removed first, but directories are merged, as Docker does.
Source: API 1.51, PUT /containers/{id}/archive; whiteouts mean nothing here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sampan.errors import InvalidArgument
from sampan.store.archive import headers
from sampan.store.archive.directories import Directories, DirectoryTimes
from sampan.store.archive.headers import Entry
from sampan.store.archive.limits import DEFAULT_LIMITS, Limits
from sampan.store.archive.names import clean_name
from sampan.store.archive.reader import ReadChunk, TarReader
from sampan.store.archive.unpack import Unpacker

AS_CALLER: Final = (-1, -1)  # chown(2): no change

Rename = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How entries are placed.

    keep_kinds: a directory never replaces something else, nor is replaced. owner: of all that is made, None
    for the archive's own. rename: applied to names and targets of hard links, as they stand in the archive.
    takes_top: root_fd itself gets the attributes of an entry `.` (for the folder "" only).
    """

    keep_kinds: bool = True
    owner: tuple[int, int] | None = None
    rename: Rename | None = None
    takes_top: bool = False


def place(
    read_chunk: ReadChunk,
    root_fd: int,
    folder: bytes,
    rules: Rules,
    *,
    spool_directory: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Unpack a tar archive into folder, a clean path of an existing directory below root_fd ("" for root_fd).

    Raises:
        InvalidArgument: the archive is damaged, leaves the folder, or would replace what must stay. What was
            unpacked until then is there; no file is there in part.
    """
    with (
        Directories(root_fd, unnamed_limit=limits.unnamed_directories) as directories,
        DirectoryTimes(spool_directory) as times,
    ):
        Placer(TarReader(read_chunk, limits=limits), root_fd, directories, times, limits, folder, rules).run()
        times.apply(root_fd)


class Placer(Unpacker):
    """Makes the entries of one archive where others are already; see `place`."""

    def __init__(
        self,
        reader: TarReader,
        root_fd: int,
        directories: Directories,
        times: DirectoryTimes,
        limits: Limits,
        folder: bytes,
        rules: Rules,
    ) -> None:
        super().__init__(reader, root_fd, directories, times, limits)
        self._folder = folder
        self._rules = rules

    def _make(self, entry: Entry) -> None:
        path = self._place_of(entry.name)
        if path == self._folder:
            if self._rules.takes_top and not path:
                self._take_root(entry)
            return  # otherwise the folder itself is as it is
        entry.name = path
        if entry.kind == headers.HARD_LINK:
            entry.linkname = self._place_of(entry.linkname)
        if self._rules.owner is not None:
            entry.uid, entry.gid = self._rules.owner
        parent, _, name = path.rpartition(b"/")
        parent_fd = self._directories.find_or_make(parent)
        if entry.kind == headers.DIRECTORY:
            self._check_directory(parent_fd, name, path)
            self._make_directory(entry, parent_fd, name, path)
        else:
            self._make_other(entry, parent_fd, name)

    def _place_of(self, raw: bytes) -> bytes:
        """Return where a name of the archive is meant to be; below the folder, whatever it says."""
        if self._rules.rename is not None:
            raw = self._rules.rename(raw)
        name = clean_name(raw, limit_bytes=self._limits.path_bytes)
        return b"/".join(part for part in (self._folder, name) if part)

    def _check_directory(self, parent_fd: int, name: bytes, path: bytes) -> None:
        if not self._rules.keep_kinds:
            return
        try:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            raise InvalidArgument(
                f"cannot overwrite non-directory {_shown(path)} with directory {_shown(self._folder)}"
            )

    def _clear(self, parent_fd: int, name: bytes) -> None:
        if self._rules.keep_kinds and stat.S_ISDIR(
            os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode
        ):
            raise InvalidArgument(
                f"cannot overwrite directory {_shown(name)} with non-directory {_shown(self._folder)}"
            )
        super()._clear(parent_fd, name)

    def _make_file(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        try:
            super()._make_file(entry, parent_fd, name)
        except FileExistsError:
            raise
        except BaseException:
            os.unlink(name, dir_fd=parent_fd)  # half a file is worse than none
            raise


def _shown(path: bytes) -> str:
    """Return a path as Go's %q has it, in Docker's words."""
    text = os.fsdecode(path)
    return f'"/{text}"'
