"""Many modules in one file: what a command imports, compiled, for a quicker start. Lean. Decision 0010.

Finding, opening and checking 60 files one by one costs a start 3 ms. A bundle is made for one interpreter by
tools/install_commands.py. A module in it is used only while its source is as it was, by size and time, as in
the interpreter's own cache: an edited checkout runs what was edited, and a missing bundle costs only time.
"""

from __future__ import annotations

import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    # name: (is a package, path of its source, its time in ns, its size in bytes, place and size of the code)
    Entries = dict[str, tuple[bool, str, int, int, int, int]]
else:
    from _frozen_importlib import ModuleSpec


def use_bundle(path: str) -> None:
    """Import from a bundle from here on, where it has a module; one of another interpreter is passed over."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return
    status = posix.fstat(fd)
    size = min(int.from_bytes(posix.pread(fd, 8, 0), "little"), status.st_size)
    try:
        version, entries = marshal.loads(posix.pread(fd, size, 8))  # noqa: S302 -- installed with us
    except (ValueError, EOFError, TypeError):
        version, entries = "", {}
    finally:
        posix.close(fd)
    if version == sys.version:
        sys.meta_path.insert(0, _Finder(path, status.st_ino, entries, 8 + size))


def write_bundle(path: str, sources: dict[str, str]) -> None:
    """Compile modules, `{dotted name: path of the source}`, into a bundle; without docstrings and asserts."""
    entries: Entries = {}
    codes = b""
    for name, source in sources.items():
        with open(source, "rb") as file:
            code = compile(file.read(), source, "exec", dont_inherit=True, optimize=2)
        status = posix.stat(source)
        is_package = source.endswith("/__init__.py")
        dumped = marshal.dumps(code)
        entries[name] = (is_package, source, status.st_mtime_ns, status.st_size, len(codes), len(dumped))
        codes += dumped
    index = marshal.dumps((sys.version, entries))
    temporary = f"{path}.new"
    with open(temporary, "wb") as file:
        file.write(len(index).to_bytes(8, "little") + index + codes)
    posix.rename(temporary, path)


class _Finder:
    """A finder and loader over the entries of a bundle: importlib's protocol, without importlib.

    No descriptor is kept: one that a program's caller did not give it could be taken for one that he did.
    """

    def __init__(self, path: str, inode: int, entries: Entries, codes_at: int) -> None:
        self._path = path
        self._inode = inode
        self._entries = entries
        self._codes_at = codes_at

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        entry = self._entries.get(name)
        if entry is None:
            return None
        is_package, source, time_ns, size, _, _ = entry
        try:
            now = posix.stat(source)
        except OSError:
            return None
        if now.st_mtime_ns != time_ns or now.st_size != size:
            return None
        spec = ModuleSpec(name, self, origin=source)  # type: ignore[arg-type]  # a loader by its methods
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [source.removesuffix("/__init__.py")]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Let the interpreter make the module."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self._read_code(module.__name__), module.__dict__)  # noqa: S102 -- as every import does

    def _read_code(self, name: str) -> CodeType:
        _, source, _, _, place, length = self._entries[name]
        fd = posix.open(self._path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            if posix.fstat(fd).st_ino == self._inode:
                code: CodeType = marshal.loads(posix.pread(fd, length, self._codes_at + place))  # noqa: S302
                return code
        finally:
            posix.close(fd)
        with open(source, "rb") as file:  # another bundle was installed meanwhile: its places are others
            return compile(file.read(), source, "exec", dont_inherit=True)
