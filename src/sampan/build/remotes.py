"""What a source of ADD, or a context, is by its name: a URL, a git repository, or a path. Pure.

Source: BuildKit, util/gitutil and `docker build` reference, "Git repositories".
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from sampan.errors import InvalidArgument

_SCP = re.compile(r"[A-Za-z0-9_.\-]+@[A-Za-z0-9_.\-]+:[^:].*")
_GIT_HTTP = re.compile(r"https?://.*\.git(?:[#?].*)?$", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_HOSTED = ("github.com/", "gitlab.com/", "bitbucket.org/")


@dataclass(frozen=True, slots=True)
class GitSource:
    """A repository. ref: branch, tag, or commit, "" for its HEAD; folder: what of it is meant."""

    url: str
    ref: str = ""
    folder: str = ""

    @property
    def is_commit(self) -> bool:
        """Whether ref names a commit in full, which can never mean another one."""
        return _COMMIT.fullmatch(self.ref) is not None


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A file by HTTP. name: the last part of its path, "" if there is none."""

    url: str
    name: str


Remote = GitSource | UrlSource


def find_remote(text: str, *, context: bool = False) -> Remote | None:
    """Return what a source means, None for a path. context: `github.com/…` is a repository, as for `build`.

    Raises:
        InvalidArgument: a git source's folder leads out.
    """
    lower = text.lower()
    is_git = lower.startswith(("git://", "ssh://", "git@")) or _SCP.fullmatch(text) is not None
    if is_git or _GIT_HTTP.fullmatch(text):
        return _git(text)
    if context and lower.startswith(_HOSTED):
        return _git(f"https://{text}")
    if lower.startswith(("http://", "https://")):
        name = posixpath.basename(unquote(urlsplit(text).path))
        return UrlSource(text, "" if name in (".", "..") else name)
    return None


def _git(text: str) -> GitSource:
    url, _, fragment = text.partition("#")
    ref, _, folder = fragment.partition(":")
    clean = posixpath.normpath("/" + folder).strip("/")
    if ".." in folder.split("/") and not clean:
        raise InvalidArgument(f"{text}: folder {folder!r} is not in the repository")
    if url.startswith("-") or ref.startswith("-"):
        raise InvalidArgument(f"{text!r} is no git repository")
    return GitSource(url, ref, clean)
