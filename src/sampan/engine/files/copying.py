"""Copy files into containers and out of them, as tar streams (API 1.51, `/containers/{id}/archive`)."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.files.container_paths import (
    PathStat,
    base_name,
    clean_path,
    open_path,
    path_error,
    resolve,
    stat_path,
)
from sampan.engine.files.container_root import OpenRoot, file_mounts, open_root
from sampan.engine.observing.events import container_event
from sampan.engine.records import Record
from sampan.engine.volumes.mount_points import mount_points
from sampan.errors import Conflict, InvalidArgument, NotFound, SampanError
from sampan.ids import ContainerId
from sampan.kernel.files import file_system_type
from sampan.kernel.resolve import open_in_root
from sampan.lean import Undo
from sampan.store.archive.compression import CHUNK_BYTES, PlainStream
from sampan.store.archive.packing import Packer
from sampan.store.archive.placing import Rules, place
from sampan.store.archive.readable import Readable
from sampan.store.archive.walking import Found
from sampan.store.archive.writer import Sink, TarWriter

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# File systems whose files are no files: reading one acts, blocks, or never ends. Source: linux/magic.h.
_KERNELS = frozenset(
    {
        0x9FA0,  # proc
        0x62656572,  # sysfs
        0x27E0EB,  # cgroup
        0x63677270,  # cgroup2
        0x1CD1,  # devpts
        0x19800202,  # mqueue
        0x64626720,  # debugfs
        0x74726163,  # tracefs
        0x73636673,  # securityfs
        0xCAFE4A11,  # bpf
        0x62656570,  # configfs
        0x65735543,  # fusectl
        0x42494E4D,  # binfmt_misc
        0x6E736673,  # nsfs
        0xDE5E81E4,  # efivarfs
        0x6165676C,  # pstore
        0x7655821,  # resctrl
    }
)


class OpenArchive:
    """A file or directory of a container, ready to be packed; use it in a `with`."""

    def __init__(self, root: OpenRoot, fd: int, path: str, mounted: frozenset[str]) -> None:
        self._root = root
        self._fd = fd
        self._shown = os.fsencode(base_name(path))
        self._place = resolve(root.fd, path)
        self._mounted = mounted
        self.stat: PathStat = stat_path(root.fd, fd, path)

    def write(self, sink: Sink) -> None:
        """Pack it; the top entry has the last name of the path that was asked for."""
        writer = TarWriter(sink)
        Packer(writer, enters=self._enters).add(self._fd, shown=self._shown)
        writer.finish()

    def _enters(self, found: Found) -> bool:
        """Go into mounts that the user asked for; /proc, /sys and /dev are empty, as in Docker."""
        inside = os.fsdecode(found.path[len(self._shown) :]).strip("/")
        path = f"{self._place.rstrip('/')}/{inside}"
        is_ours = any(path == place or path.startswith(f"{place}/") for place in self._mounted)
        return is_ours and not is_kernels(found.fd)

    def close(self) -> None:
        """Give the container's root back; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._root.close()

    def __enter__(self) -> OpenArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_kernels(fd: int) -> bool:
    """Tell whether what fd is lies on a file system that the kernel makes up."""
    return file_system_type(fd) in _KERNELS


def find_path(core: Core, container: Container, path: str, *, ref: str) -> PathStat:
    """See `Containers.find_path`."""
    with open_root(core, container) as root:
        wanted = clean_path(path)
        fd = open_path(root.fd, wanted, ref=ref)
        try:
            return stat_path(root.fd, fd, wanted)
        finally:
            os.close(fd)


def open_archive(core: Core, container: Container, path: str, *, ref: str) -> OpenArchive:
    """See `Containers.open_archive`."""
    mounted = frozenset(mount.destination for mount in mount_points(container.record))
    with Undo() as undo:
        root = open_root(core, container)
        undo.add(root.close)
        wanted = clean_path(path)
        fd = open_path(root.fd, wanted, ref=ref)
        undo.add(os.close, fd)
        if is_kernels(fd):
            raise NotFound(f"Could not find the file {wanted} in container {ref}")
        opened = OpenArchive(root, fd, wanted, mounted)
        undo.commit()
    core.events.emit(container_event(container, "archive-path"))
    return opened


def extract(
    core: Core,
    container: Container,
    path: str,
    stream: Readable,
    *,
    ref: str,
    keep_kinds: bool,
    own_by_user: bool,
) -> None:
    """See `Containers.extract`."""
    with open_root(core, container) as root:
        folder = _find_folder(core, root, container.record, path, ref=ref)
        rules = Rules(keep_kinds=keep_kinds, owner=_owner(core, container.record) if own_by_user else None)
        plain = PlainStream(stream)
        try:
            place(
                lambda: plain.read(CHUNK_BYTES),
                root.fd,
                os.fsencode(folder.strip("/")),
                rules,
                spool_directory=core.paths.temporary,
            )
            while plain.read(CHUNK_BYTES):
                pass  # the client may wait until everything is taken
        except OSError as exc:
            raise _extract_error(exc, folder) from exc
    core.events.emit(container_event(container, "extract-to-dir"))


def _find_folder(core: Core, root: OpenRoot, record: Record, path: str, *, ref: str) -> str:
    """Return the resolved path of the directory to extract to, which can be written to.

    Differs: a writable tmpfs over a read-only root is written to; Docker refuses that.
    """
    folder = resolve(root.fd, clean_path(path))
    try:
        fd = open_in_root(root.fd, folder, os.O_PATH | os.O_DIRECTORY)
    except NotADirectoryError as exc:
        raise InvalidArgument("extraction point is not a directory") from exc
    except OSError as exc:
        raise path_error(exc, path, ref=ref) from exc
    try:
        if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            raise InvalidArgument(_read_only_text(core, record, folder))
    finally:
        os.close(fd)
    return folder


def _read_only_text(core: Core, record: Record, folder: str) -> str:
    for mount in file_mounts(core, record):
        if folder == mount.destination or folder.startswith(f"{mount.destination}/"):
            return "mounted volume is marked read-only"
    return "container rootfs is marked read-only"


def _owner(core: Core, record: Record) -> tuple[int, int] | None:
    """Return whom everything shall belong to: the container's user, None if it has none (as Docker)."""
    if not record.config.User:
        return None
    try:
        user = core.users.find(record, core.store.snapshots.get(ContainerId(record.id)))
    except NotFound as exc:
        raise Conflict(f"container {record.id} is marked for removal") from exc
    return user.uid, user.gid


def _extract_error(error: OSError, folder: str) -> Exception:
    """Return what stopped an extraction, in words; an unexpected error is returned as it is."""
    if error.errno in _FULL:
        return SampanError(
            f"cannot extract to {folder}: no space left on device",
            hint="what was extracted until then is there; no file is there in part",
        )
    if error.errno == errno.EROFS:
        return InvalidArgument("mounted volume is marked read-only")
    if error.errno == errno.EBUSY:
        return Conflict(f"cannot replace what is mounted below {folder}: device or resource busy")
    if error.errno in (errno.EPERM, errno.EACCES):
        return Conflict(f"cannot extract to {folder}: {error.strerror}")
    return error
