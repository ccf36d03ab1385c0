"""Which files a COPY takes, and the digest of them that its key has. Writes nothing."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sampan.build.patterns import PatternList, compile_match, is_pattern
from sampan.build.trees import Item, Tree, content_digest, learn_digests, resolve, walk
from sampan.errors import InvalidArgument, NotFound
from sampan.store.archive import headers


@dataclass(frozen=True, slots=True)
class Picked:
    """One file or directory to make: name is its path below the destination.

    single: a source that is a file; whether it lies in the destination or is it, the destination decides.
    raw: an archive stays one.
    """

    tree: Tree
    item: Item
    name: str
    single: bool = False
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """Everything one COPY takes. matches: sources that were found, patterns counted by their files."""

    picked: tuple[Picked, ...]
    matches: int
    has_directory: bool

    @property
    def must_be_directory(self) -> bool:
        """Whether the destination can only be a directory."""
        return self.matches != 1 or self.has_directory


def select(tree: Tree, sources: Sequence[str], *, parents: bool, excludes: Sequence[str]) -> Selection:
    """Find what sources name in a tree.

    Raises:
        NotFound: one that is no pattern is not there.
        InvalidArgument: a pattern is malformed.
    """
    left_out = PatternList(excludes)
    picked: list[Picked] = []
    matches, has_directory = 0, False
    for source in sources:
        for item, path in _matches(tree, source, parents=parents):
            matches += 1
            has_directory |= item.is_directory
            picked += _pick(tree, item, path, left_out, parents=parents)
    return Selection(tuple(picked), matches, has_directory)


def _matches(tree: Tree, source: str, *, parents: bool) -> Iterator[tuple[Item, str]]:
    """Yield what a source means, with the path it was found by, less what is before a pivot (`/./`)."""
    pivot = ""
    if parents and "/./" in f"/{source}":
        pivot = posixpath.normpath("/" + source[: f"/{source}".index("/./")]).strip("/")
    clean = posixpath.normpath("/" + source).strip("/")
    if not is_pattern(source):
        item = resolve(tree, clean)
        if item is None:
            raise NotFound(f'"/{clean}": not found')
        yield item, _kept(clean, pivot)
        return
    pattern = compile_match(clean, deep=parents)
    found = sorted(
        (path for path in _candidates(tree, clean, deep=parents) if pattern.fullmatch(path)),
        key=lambda path: path.split("/"),
    )
    for path in found:
        item = resolve(tree, path)
        if item is not None:
            yield item, _kept(path, pivot)


def _kept(path: str, pivot: str) -> str:
    return path[len(pivot) :].strip("/") if pivot and path.startswith(pivot) else path


def _candidates(tree: Tree, pattern: str, *, deep: bool) -> Iterator[str]:
    """Yield the paths that a pattern may match: those of its depth, or all."""
    parts = pattern.split("/")
    pending = [""]
    while pending:
        path = pending.pop()
        depth = path.count("/") + 1 if path else 0
        if path and (deep or depth == len(parts)):
            yield path
        if not deep and depth >= len(parts):
            continue
        item = tree.find(path)
        if item is None or not item.is_directory:
            continue
        for name in tree.names(path):
            if deep or compile_match(parts[depth]).fullmatch(name):
                pending.append(posixpath.join(path, name))


def _pick(tree: Tree, item: Item, path: str, left_out: PatternList, *, parents: bool) -> Iterator[Picked]:
    if not item.is_directory:
        name = path if parents else posixpath.basename(path)
        if not left_out.matches(posixpath.basename(path)) and not left_out.matches(item.path):
            yield Picked(tree, item, name, single=not parents)
        return
    base = path if parents else ""
    if base:
        yield Picked(tree, item, base)
    above = len(item.path) + 1 if item.path else 0
    below = f"{base}/" if base else ""
    for found in walk(tree, item):
        inside = found.path[above:]
        if left_out and (left_out.matches(inside) or left_out.matches(found.path)):
            continue
        yield Picked(tree, found, below + inside)


def selection_digest(selection: Selection, *, owners: bool) -> str:
    """Return the digest of what was selected; times are not in it. owners: uid and gid count."""
    learn_digests((one.tree, one.item) for one in selection.picked)
    digest = hashlib.sha256()
    seen: dict[object, str] = {}
    for one in selection.picked:
        item = one.item
        entry = item.entry
        facts = (
            one.name,
            entry.kind,
            entry.mode,
            (entry.uid, entry.gid) if owners else None,
            entry.linkname,
            entry.device,
            sorted(entry.xattrs.items()) if entry.xattrs else (),
            "" if item.same is None or (first := seen.setdefault(item.same, one.name)) == one.name else first,
            (item.digest or content_digest(one.tree, item)) if entry.kind == headers.REGULAR else "",
        )
        digest.update(repr(facts).encode())
    return digest.hexdigest()


def check_destination(selection: Selection, destination: str, *, keyword: str) -> None:
    """Refuse several files for one name.

    Raises:
        InvalidArgument: in Docker's words.
    """
    files = selection.matches > 1
    if files and not destination.endswith("/"):
        raise InvalidArgument(
            f"When using {keyword} with more than one source file, "
            "the destination must be a directory and end with a /"
        )
