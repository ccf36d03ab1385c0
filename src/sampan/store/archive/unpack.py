"""Unpack one layer into an empty directory, in overlayfs's own form. docs/store.md, "Unpacking safely"."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from sampan.errors import InvalidArgument
from sampan.kernel.files import write_all
from sampan.store.archive import headers
from sampan.store.archive.attributes import make_opaque, set_by_descriptor, set_by_name
from sampan.store.archive.directories import Directories, DirectoryTimes, is_whiteout
from sampan.store.archive.headers import Entry
from sampan.store.archive.limits import DEFAULT_LIMITS, Limits
from sampan.store.archive.names import OPAQUE, WHITEOUT, WHITEOUT_META, clean_name
from sampan.store.archive.reader import ReadChunk, TarReader
from sampan.store.trees import remove_tree_at, tree_size

# What an archive's content brings about; any other errno is the machine's trouble and stays an OSError.
_ARCHIVES_FAULT = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.EXDEV,
        errno.ENAMETOOLONG,
        errno.EINVAL,
        errno.EILSEQ,
        errno.EFBIG,
        errno.EMLINK,
        errno.E2BIG,
        errno.ERANGE,
    }
)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What became of an archive."""

    size_bytes: int  # of all files, hard links counted once, symlinks as their text: as Docker counts
    unnamed: frozenset[bytes]  # directories whose attributes the archive does not say; b"" is the root
    hides_below: bool  # the root is opaque: nothing of the layers below shows


def unpack(
    read_chunk: ReadChunk, root_fd: int, *, spool_directory: str, limits: Limits = DEFAULT_LIMITS
) -> Unpacked:
    """Unpack a tar archive below root_fd, a descriptor of an empty directory opened for reading.

    Raises:
        InvalidArgument: the archive is damaged or hostile; what was unpacked so far lies there.
    """
    with (
        Directories(root_fd, unnamed_limit=limits.unnamed_directories) as directories,
        DirectoryTimes(spool_directory) as times,
    ):
        unpacker = Unpacker(TarReader(read_chunk, limits=limits), root_fd, directories, times, limits)
        unpacker.run()
        times.apply(root_fd)
        return Unpacked(unpacker.size_bytes, frozenset(directories.unnamed), unpacker.hides_below)


class Unpacker:
    """Makes the entries of one archive. `placing` changes what is done where something is already."""

    def __init__(
        self,
        reader: TarReader,
        root_fd: int,
        directories: Directories,
        times: DirectoryTimes,
        limits: Limits,
    ) -> None:
        self._reader = reader
        self._root_fd = root_fd
        self._directories = directories
        self._times = times
        self._limits = limits
        self.size_bytes = 0
        self.hides_below = False
        self._makers: dict[bytes, Callable[[Entry, int, bytes], None]] = {
            headers.REGULAR: self._make_file,
            headers.HARD_LINK: self._make_hard_link,
            headers.SYMLINK: self._make_symlink,
            headers.CHARACTER: self._make_node,
            headers.BLOCK_DEVICE: self._make_node,
            headers.FIFO: self._make_node,
        }

    def run(self) -> None:
        """Make every entry."""
        for entry in self._reader:
            try:
                self._make(entry)
            except OSError as exc:
                if exc.errno not in _ARCHIVES_FAULT:
                    raise
                raise InvalidArgument(f"archive: cannot unpack {entry.name[:200]!r}: {exc.strerror}") from exc

    def _make(self, entry: Entry) -> None:
        path = clean_name(entry.name, limit_bytes=self._limits.path_bytes)
        if not path:
            self._take_root(entry)
            return
        if path.startswith(WHITEOUT_META) and path != OPAQUE:
            return  # aufs kept its own records under such names; no layer means them
        self.hides_below |= path == OPAQUE
        parent, _, name = path.rpartition(b"/")
        parent_fd = self._directories.find_or_make(parent)
        if name.startswith(WHITEOUT):
            self._make_whiteout(parent_fd, name)
        elif entry.kind == headers.DIRECTORY:
            self._make_directory(entry, parent_fd, name, path)
        else:
            self._make_other(entry, parent_fd, name)

    def _take_root(self, entry: Entry) -> None:
        if entry.kind != headers.DIRECTORY:
            raise InvalidArgument(f"archive: the root {entry.name[:200]!r} is no directory")
        set_by_descriptor(self._root_fd, entry)
        self._times.add(b"", entry.mtime_ns)
        self._directories.unnamed.discard(b"")

    def _make_whiteout(self, parent_fd: int, name: bytes) -> None:
        """Hide a name of the layers below; what this layer has itself stays (OCI, layer.md)."""
        if name.startswith(WHITEOUT_META):
            if name == OPAQUE:
                make_opaque(parent_fd)
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise InvalidArgument(f"archive: whiteout {name!r} hides nothing that can be hidden")
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent_fd)
        except FileExistsError:
            if stat.S_ISDIR(_lstat(parent_fd, hidden).st_mode):
                fd = os.open(hidden, _OLD_DIRECTORY, dir_fd=parent_fd)
                try:
                    make_opaque(fd)
                finally:
                    os.close(fd)

    def _make_directory(self, entry: Entry, parent_fd: int, name: bytes, path: bytes) -> None:
        hides_below = was_link = False
        try:
            os.mkdir(name, 0o700, dir_fd=parent_fd)
        except FileExistsError:
            status = _lstat(parent_fd, name)
            if not stat.S_ISDIR(status.st_mode):
                hides_below, was_link = is_whiteout(status), stat.S_ISLNK(status.st_mode)
                os.unlink(name, dir_fd=parent_fd)
                os.mkdir(name, 0o700, dir_fd=parent_fd)
        fd = os.open(name, _OLD_DIRECTORY, dir_fd=parent_fd)
        try:
            set_by_descriptor(fd, entry)
            if hides_below:
                make_opaque(fd)
        except BaseException:
            os.close(fd)
            raise
        if was_link:
            self._directories.forget()  # cached paths may have led through it
        self._directories.keep(path, fd)
        self._times.add(path, entry.mtime_ns)
        self._directories.unnamed.discard(path)

    def _make_other(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        make = self._makers[entry.kind]
        try:
            make(entry, parent_fd, name)
        except FileExistsError:
            if entry.kind == headers.HARD_LINK and self._is_linked(entry, parent_fd, name):
                return
            self._clear(parent_fd, name)
            make(entry, self._directories.find_or_make(_parent_of(entry, self._limits)), name)

    def _clear(self, parent_fd: int, name: bytes) -> None:
        """Remove what an earlier entry made at a name; a later one counts."""
        status = _lstat(parent_fd, name)
        if stat.S_ISDIR(status.st_mode):
            self.size_bytes -= tree_size(f"/proc/self/fd/{parent_fd}/{os.fsdecode(name)}")
            remove_tree_at(parent_fd, name)
        else:
            self.size_bytes -= status.st_size if status.st_nlink == 1 else 0
            os.unlink(name, dir_fd=parent_fd)
        if stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode):
            self._directories.forget()

    def _make_file(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent_fd)
        try:
            if entry.sparse is None:
                for piece in self._reader.data():
                    written = os.write(fd, piece)
                    if written != len(piece):  # the disk is nearly full: the next write says so
                        write_all(fd, bytes(piece[written:]))
            else:
                self._write_parts(fd, entry.sparse)
                os.ftruncate(fd, entry.size)
            set_by_descriptor(fd, entry)
        finally:
            os.close(fd)
        self.size_bytes += entry.size

    def _write_parts(self, fd: int, parts: list[tuple[int, int]]) -> None:
        """Write the stored data where the map says; pieces and parts end at different places."""
        pieces = self._reader.data()
        piece = memoryview(b"")
        for offset, length in parts:
            os.lseek(fd, offset, os.SEEK_SET)
            while length:
                piece = piece or next(pieces)
                write_all(fd, bytes(piece[:length]))
                length, piece = length - len(piece[:length]), piece[length:]

    def _make_hard_link(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        target_fd, target = self._find_target(entry)
        # The look-up may have closed the parent's descriptor.
        parent_fd = self._directories.find(_parent_of(entry, self._limits))
        try:
            os.link(target, name, src_dir_fd=target_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
        except PermissionError as exc:  # link(2): a directory
            raise InvalidArgument(
                f"archive: hard link {entry.name[:200]!r} to a directory or unlinkable file"
            ) from exc

    def _find_target(self, entry: Entry) -> tuple[int, bytes]:
        target = clean_name(entry.linkname, limit_bytes=self._limits.path_bytes)
        parent, _, name = target.rpartition(b"/")
        if not name:
            raise InvalidArgument(f"archive: hard link {entry.name[:200]!r} to the root")
        return self._directories.find(parent), name

    def _is_linked(self, entry: Entry, parent_fd: int, name: bytes) -> bool:
        target_fd, target = self._find_target(entry)
        there = _lstat(target_fd, target)
        here = _lstat(self._directories.find(_parent_of(entry, self._limits)), name)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def _make_symlink(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        os.symlink(entry.linkname, name, dir_fd=parent_fd)
        self.size_bytes += len(entry.linkname)
        set_by_name(parent_fd, name, entry)

    @staticmethod
    def _make_node(entry: Entry, parent_fd: int, name: bytes) -> None:
        kinds = {
            headers.CHARACTER: stat.S_IFCHR,
            headers.BLOCK_DEVICE: stat.S_IFBLK,
            headers.FIFO: stat.S_IFIFO,
        }
        os.mknod(name, kinds[entry.kind] | 0o600, os.makedev(*entry.device), dir_fd=parent_fd)
        set_by_name(parent_fd, name, entry)


def _parent_of(entry: Entry, limits: Limits) -> bytes:
    return clean_name(entry.name, limit_bytes=limits.path_bytes).rpartition(b"/")[0]


def _lstat(directory_fd: int, name: bytes) -> os.stat_result:
    return os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
