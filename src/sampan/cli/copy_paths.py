"""What `cp` makes of its two paths: docker's rules, those of cp(1) with `/` and `/.` at the end. Lean.

Source: docker/cli, cli/command/container/cp.go; moby, pkg/archive/copy.go ("docker cp" in Docker's manual).
"""

from __future__ import annotations

from posixpath import dirname, join, normpath

from sampan.cli.outcome import Failed
from sampan.lean import record


@record
class Place:
    """One end of a copy. rebase: the name its top entry gets in place of the path's last one, "" for none."""

    path: str
    exists: bool = False
    is_dir: bool = False
    rebase: str = ""


@record
class Route:
    """Where an archive is to be extracted, and how names in it change: old at their beginning to new."""

    folder: str
    old: str = ""
    new: str = ""

    def rename(self, name: bytes) -> bytes:
        """Return the name for an entry of the archive."""
        if self.old == self.new:
            return name
        return name.replace(
            self.old.encode("utf-8", "surrogateescape"), self.new.encode("utf-8", "surrogateescape"), 1
        )


def split_argument(text: str) -> tuple[str, str]:
    """Return container and path; the container is "" for a path of this machine.

    A path that holds a colon is written with a `/` or `.` in front.
    """
    container, colon, path = text.partition(":")
    if text.startswith("/") or not colon or container.startswith("."):
        return "", text
    return container, path


def base_name(path: str) -> str:
    """Return the last name of a path as Go's filepath.Base: `.` for nothing, `/` for the root."""
    if not path:
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"


def keep_end(clean: str, original: str) -> str:
    """Return a cleaned path with the `/` or `/.` that the original ends in."""
    if base_name(clean) != "." and base_name(original) == ".":
        clean = join(clean, ".")
    if not clean.endswith("/") and original.endswith("/"):
        clean += "/"
    return clean


def split_entry(path: str) -> tuple[str, str]:
    """Return directory and last name of a path; a `.` at the end is a name."""
    clean = normpath(path)
    if base_name(path) == ".":
        clean = join(clean, ".")
    return dirname(clean) or ".", base_name(clean)


def rebase(path: str, resolved: str) -> tuple[str, str]:
    """Return a link's target as the new path, and the name that was asked for if that is another one."""
    if base_name(path) == "." and base_name(resolved) != ".":
        resolved += "/."
    if path.endswith("/") and not resolved.endswith("/"):
        resolved += "/"
    wanted = base_name(path)
    return resolved, wanted if wanted != base_name(resolved) else ""


def plan_route(source: Place, target: Place) -> Route:
    """Return where to extract what was packed of source, so that it becomes target.

    Raises:
        Failed: a directory onto a file, or a file where a directory is asked for.
    """
    folder, new = split_entry(target.path)
    old = source.rebase or split_entry(source.path)[1]
    if target.exists and target.is_dir:
        return Route(folder=target.path)
    if target.exists and source.is_dir:
        raise Failed("cannot copy directory")
    if (
        not target.exists
        and not source.is_dir
        and (target.path.endswith("/") or base_name(target.path) == ".")
    ):
        raise Failed("no such directory")
    return Route(folder=folder, old="" if old == "/" else old, new=new)
