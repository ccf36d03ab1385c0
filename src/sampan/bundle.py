"""Many modules in one file: what a command imports, compiled, for a quicker start. Lean. Decision 0010.

Finding, opening and checking 60 files one by one costs a start 3 ms. A bundle is made for one interpreter by
tools/install_commands.py. A module in it is used only while its source is as it was, by size and time, as in
the interpreter's own cache: an edited checkout runs what was edited, and a missing bundle costs only time.

File: the size of the index and of what is read along with it (8 bytes each), the index, the code of each
module. Those of the quick paths are read along with the index, the others one by one. C modules of the
standard library are named by their files, so that nobody searches the directories of the path for them.

The commands have this very module compiled beside the bundle (`write_loader`), which saves them the search
for it. What a subcommand imports is known, in order: it is loaded ahead, without importlib's way to find it.
"""

# No `from __future__ import annotations` here: finding that module lists the directories of the whole path,
# as there is no bundle yet.
import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ExtensionFileLoader, ModuleSpec
    from importlib.util import module_from_spec
    from types import CodeType, ModuleType

    # name: (is a package, path of its source, its time in ns, its size in bytes, place and size of the code)
    Entry = tuple[bool, str, int, int, int, int]
    Entries = dict[str, Entry]
    # subcommand: modules, each behind those that it imports, but a package before what is in it
    Orders = dict[str, list[str]]
else:
    from _frozen_importlib import ModuleSpec, module_from_spec
    from _frozen_importlib_external import ExtensionFileLoader

_HEADER = 16  # bytes


def use_bundle(path: str, subcommand: str = "") -> None:
    """Import from a bundle from here on, where it has a module; one of another interpreter is passed over.

    What subcommand will import is loaded at once, if the bundle knows it.
    """
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return
    try:
        status = posix.fstat(fd)
        header = posix.pread(fd, _HEADER, 0)
        size = int.from_bytes(header[:8], "little")
        read = min(size + int.from_bytes(header[8:], "little"), status.st_size)
        head = memoryview(posix.pread(fd, read, _HEADER))
    finally:
        posix.close(fd)
    try:
        version, entries, extensions, orders = marshal.loads(head[:size])  # noqa: S302 -- installed with us
    except (ValueError, EOFError, TypeError):
        return
    if version == sys.version:
        finder = _Finder(path, status.st_ino, entries, head[size:], _HEADER + size)
        sys.meta_path[:0] = [finder, _Extensions(extensions)]
        finder.load(orders.get(subcommand, ()))


def write_bundle(
    path: str,
    sources: dict[str, str],
    *,
    orders: "Orders | None" = None,
    extensions: dict[str, str] | None = None,
) -> None:
    """Compile modules, `{dotted name: path of the source}`, into a bundle; without docstrings and asserts.

    orders: what the quick paths import; it is read along with the index. extensions: `{name: path}` of C
    modules that they import.
    """
    orders = orders or {}
    quick = {name: None for names in orders.values() for name in names}
    entries: Entries = {}
    codes = b""
    quick_size = 0
    sources = {name: sources[name] for name in (*quick, *sources) if name in sources}
    for name, source in sources.items():
        with open(source, "rb") as file:
            dumped = marshal.dumps(_compile(file.read(), source))
        status = posix.stat(source)
        is_package = source.endswith("/__init__.py")
        entries[name] = (is_package, source, status.st_mtime_ns, status.st_size, len(codes), len(dumped))
        codes += dumped
        if name in quick:
            quick_size = len(codes)
    index = marshal.dumps((sys.version, entries, extensions or {}, orders))
    header = len(index).to_bytes(8, "little") + quick_size.to_bytes(8, "little")
    _replace(path, header + index + codes)


def write_loader(path: str) -> None:
    """Write this module, compiled: `exec(marshal.loads(…))` of it gives `use_bundle`."""
    with open(__file__, "rb") as file:
        _replace(path, marshal.dumps(_compile(file.read(), __file__)))


def _replace(path: str, data: bytes) -> None:
    temporary = f"{path}.new"
    with open(temporary, "wb") as file:
        file.write(data)
    posix.rename(temporary, path)


def _compile(text: bytes, source: str) -> "CodeType":
    """Compile a module without what costs a start and is for readers alone.

    `from __future__ import …` becomes a flag. Functions lose their annotations; classes keep theirs, which
    `lean.record` reads.
    """
    import __future__

    import ast

    tree = ast.parse(text, source)
    flags = 0
    for node in list(tree.body):
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            tree.body.remove(node)
            for name in node.names:
                flags |= getattr(__future__, name.name).compiler_flag
    for part in ast.walk(tree):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            part.returns = None
        elif isinstance(part, ast.arg):
            part.annotation = None
    code: CodeType = compile(tree, source, "exec", flags=flags, dont_inherit=True, optimize=2)
    return code


class _Finder:
    """A finder and loader over the entries of a bundle: importlib's protocol, without importlib.

    No descriptor is kept: one that a program's caller did not give it could be taken for one that he did.
    """

    def __init__(self, path: str, inode: int, entries: "Entries", first: memoryview, codes_at: int) -> None:
        self._path = path
        self._inode = inode
        self._entries = entries
        self._first = first
        self._codes_at = codes_at

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        entry = self._entries.get(name)
        return None if entry is None or not _is_current(entry) else self._spec(name, entry)

    def _spec(self, name: str, entry: "Entry") -> "ModuleSpec":
        is_package, source, _, _, _, _ = entry
        spec = ModuleSpec(name, self, origin=source)  # type: ignore[arg-type]  # a loader by its methods
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [source.removesuffix("/__init__.py")]
        return spec

    def load(self, names: "Sequence[str]") -> None:
        """Import modules in the order of `Orders`; an edited source ends it."""
        for name in names:
            if name in sys.modules:  # its package has imported it
                continue
            entry = self._entries[name]
            if not _is_current(entry):
                return
            module = sys.modules[name] = module_from_spec(self._spec(name, entry))
            try:
                self.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
            parent, _, last = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], last, module)

    def create_module(self, spec: "ModuleSpec") -> None:
        """Let the interpreter make the module."""

    def exec_module(self, module: "ModuleType") -> None:
        exec(self._read_code(self._entries[module.__name__]), module.__dict__)  # noqa: S102 -- as every import does

    def _read_code(self, entry: "Entry") -> "CodeType":
        _, source, _, _, place, length = entry
        if place + length <= len(self._first):
            return marshal.loads(self._first[place : place + length])  # type: ignore[no-any-return]  # noqa: S302
        fd = posix.open(self._path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            if posix.fstat(fd).st_ino == self._inode:
                return marshal.loads(posix.pread(fd, length, self._codes_at + place))  # type: ignore[no-any-return]  # noqa: S302
        finally:
            posix.close(fd)
        with open(source, "rb") as file:  # another bundle was installed meanwhile: its places are others
            return _compile(file.read(), source)


def _is_current(entry: "Entry") -> bool:
    """Tell whether a module's source is as it was when it was bundled."""
    _, source, time_ns, size, _, _ = entry
    try:
        now = posix.stat(source)
    except OSError:
        return False
    return now.st_mtime_ns == time_ns and now.st_size == size


class _Extensions:
    """A finder of C modules whose files are known."""

    def __init__(self, paths: dict[str, str]) -> None:
        self._paths = paths

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        found = self._paths.get(name)
        if found is None:
            return None
        try:
            posix.stat(found)
        except OSError:
            return None
        return ModuleSpec(name, ExtensionFileLoader(name, found), origin=found)
