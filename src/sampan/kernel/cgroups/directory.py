"""One opened cgroup directory: files are read and written through its descriptor only. Lean (decision 0002).

A cgroup path may come from an annotation or another program (CVE-2023-6476, CVE-2025-47291): it is checked
as text, then opened below the mount point's descriptor, without links and without leaving the file system.
"""

from __future__ import annotations

import errno
import os

from sampan.errors import InvalidArgument
from sampan.kernel import constants
from sampan.kernel.resolve import openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sampan.kernel.cgroups.hierarchy import Tree

_RESOLVE = (
    constants.RESOLVE_BENEATH
    | constants.RESOLVE_NO_SYMLINKS
    | constants.RESOLVE_NO_MAGICLINKS
    | constants.RESOLVE_NO_XDEV
)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ_SIZE = 65536
_MAX_DEPTH = 64


def clean_path(raw_path: str) -> str:
    """Check a cgroup path as text and return it without doubled and final slashes; a leading slash stays.

    Raises:
        InvalidArgument: the path is empty or a root, has `..`, a NUL or a newline, or is over 64 levels deep.
    """
    parts = [part for part in raw_path.split("/") if part not in ("", ".")]
    if not parts:
        raise InvalidArgument(f"cgroup path {raw_path!r} names no cgroup below the root")
    if ".." in parts:
        raise InvalidArgument(f"cgroup path {raw_path!r} must not contain '..'")
    if "\0" in raw_path or "\n" in raw_path:
        raise InvalidArgument(f"cgroup path {raw_path!r} must not contain a NUL or a newline")
    if len(parts) > _MAX_DEPTH or any(len(os.fsencode(part)) > 255 for part in parts):
        raise InvalidArgument(f"cgroup path {raw_path[:80]!r}… is too long")
    return ("/" if raw_path.startswith("/") else "") + "/".join(parts)


class Directory:
    """A cgroup directory held by descriptor; path is only for messages.

    Every method raises OSError with the path of the cgroup file in it.
    """

    __slots__ = ("fd", "path")

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd != -1:
            os.close(fd)

    def open(self, name: str, flags: int) -> int:
        """Open a file of this cgroup, close-on-exec; the caller closes it."""
        try:
            return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self.fd)
        except OSError as exc:
            exc.filename = f"{self.path}/{name}"
            raise

    def read(self, name: str) -> str:
        """Return the content of a cgroup file."""
        fd = self.open(name, os.O_RDONLY)
        try:
            text = os.read(fd, _READ_SIZE)
            while chunk := os.read(fd, _READ_SIZE):
                text += chunk
        except OSError as exc:
            exc.filename = f"{self.path}/{name}"
            raise
        finally:
            os.close(fd)
        return text.decode("ascii", "replace")

    def find(self, name: str) -> str | None:
        """Return the content of a cgroup file, or None when this kernel does not have it."""
        try:
            return self.read(name)
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
                raise
            return None

    def write(self, name: str, value: str) -> None:
        """Write value to a cgroup file in one call, as the kernel wants it."""
        self.write_lines(name, (value,))

    def write_lines(self, name: str, lines: Sequence[str]) -> None:
        """Write lines to a cgroup file that takes one at a call, in order."""
        fd = self.open(name, os.O_WRONLY)
        try:
            for line in lines:
                os.write(fd, os.fsencode(line))
        except OSError as exc:
            exc.filename = f"{self.path}/{name}"
            raise
        finally:
            os.close(fd)

    def child(self, name: str) -> Directory:
        """Open a child cgroup by its name; what is mounted over it is refused."""
        return open_below(self, name)

    def children(self) -> list[str]:
        """Return the names of the child cgroups; of a cgroup that is gone there are none."""
        try:
            with os.scandir(self.fd) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            return []

    def walk(self) -> Iterator[Directory]:
        """Yield the cgroups below, parents first; each is closed when the next is asked for.

        Holds one descriptor and no stack frames: what lives in a cgroup decides how deep it is.
        """
        here = Directory(os.dup(self.fd), self.path)
        pending = [here.children()]
        try:
            while pending:
                if not pending[-1]:
                    pending.pop()
                    if pending:
                        here = here.leave()
                    continue
                try:
                    child = here.child(pending[-1].pop())
                except FileNotFoundError:
                    continue
                here.close()
                here = child
                yield here
                pending.append(here.children())
        finally:
            here.close()

    def remove_children(self) -> None:
        """Remove every cgroup below, deepest first; those that are gone or come to be gone are fine."""
        here = Directory(os.dup(self.fd), self.path)
        names: list[str] = []
        pending = [here.children()]
        try:
            while True:
                if pending[-1]:
                    name = pending[-1].pop()
                    try:
                        child = here.child(name)
                    except FileNotFoundError:
                        continue
                    here.close()
                    here = child
                    names.append(name)
                    pending.append(here.children())
                    continue
                pending.pop()
                if not names:
                    return
                here = here.leave()
                here.remove_child(names.pop())
        finally:
            here.close()

    def leave(self) -> Directory:
        """Close this directory and return its parent."""
        try:
            fd = os.open("..", _DIRECTORY, dir_fd=self.fd)
        finally:
            self.close()
        return Directory(fd, self.path.rpartition("/")[0])

    def make_child(self, name: str) -> bool:
        """Make a child cgroup; tell whether it is new."""
        try:
            os.mkdir(name, 0o755, dir_fd=self.fd)
        except FileExistsError:
            return False
        except OSError as exc:
            exc.filename = f"{self.path}/{name}"
            raise
        return True

    def remove_child(self, name: str) -> None:
        """Remove a child cgroup without processes and children; accepts that it is gone."""
        try:
            os.rmdir(name, dir_fd=self.fd)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENODEV):
                return
            exc.filename = f"{self.path}/{name}"
            raise


def open_root(tree: Tree) -> Directory:
    """Open the mount point of a tree.

    Raises:
        OSError: it is gone; ESTALE: something else is mounted over it since it was detected.
    """
    fd = os.open(tree.mount_point, _DIRECTORY)
    if os.fstat(fd).st_dev != tree.device:
        os.close(fd)
        raise OSError(errno.ESTALE, "another file system is mounted over the cgroup tree", tree.mount_point)
    return Directory(fd, tree.mount_point)


def open_below(root: Directory, path: str) -> Directory:
    """Open the cgroup at path, relative to root, following no link and leaving no mount."""
    if not path:
        return Directory(os.dup(root.fd), root.path)
    full_path = f"{root.path}/{path}"
    try:
        return Directory(openat2(root.fd, path, _DIRECTORY, resolve=_RESOLVE), full_path)
    except OSError as exc:
        exc.filename = full_path
        raise
