"""Remote sources of builds: files by HTTP and git repositories, as trees. docs/build.md, "From elsewhere"."""

from __future__ import annotations

import os
import re
import threading
from functools import cached_property
from typing import TYPE_CHECKING

from sampan.build.host import Cancel, Host
from sampan.build.index import Index
from sampan.build.remotes import GitSource, Remote, find_remote
from sampan.build.request import BuildRequest
from sampan.errors import InvalidArgument, NotFound
from sampan.kernel.constants import RESOLVE_NO_SYMLINKS
from sampan.kernel.resolve import open_in_root

if TYPE_CHECKING:
    from sampan.build.downloads import Downloads
    from sampan.build.git import Checkouts

_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
_COMMIT = re.compile(r"(?:sha1:)?([0-9a-f]{6,64})")


class Fetcher:
    """What is kept of remote sources, for all builds; thread-safe. Loaded late: most builds have none."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._folder = host.downloads

    @cached_property
    def _downloads(self) -> Downloads:
        from sampan.build.downloads import Downloads

        return Downloads(self._folder)

    @cached_property
    def _checkouts(self) -> Checkouts:
        from sampan.build.git import Checkouts

        return Checkouts(self._folder, self._host.private)

    def open_context(self, text: str, request: BuildRequest, cancel: Cancel) -> Index:
        """Fetch a whole context: a repository, an archive, or a Dockerfile alone; the caller closes it.

        Raises:
            InvalidArgument: text is no such place. SampanError: it cannot be had.
        """
        from sampan.build.context import Context
        from sampan.build.copying import is_archive, open_file

        remote = find_remote(text, context=True)
        if remote is None:
            raise InvalidArgument(f"unable to prepare context: {text!r} is neither a URL nor a repository")
        found = self.open(remote, request, checksum="", keep_git=_keeps_git(request), cancel=cancel)
        if isinstance(remote, GitSource):
            return found
        with found:
            item = found.find(remote.name)
            assert item is not None
            if is_archive(found, item):
                return Context.read(open_file(found, item), self._new_path())
            return Context.of_file(request.dockerfile, found.data(item), self._new_path())

    def _new_path(self) -> str:
        return f"{self._host.temporary}/context-{os.urandom(8).hex()}"

    def open(
        self, remote: Remote, request: BuildRequest, *, checksum: str, keep_git: bool, cancel: Cancel
    ) -> Index:
        """Fetch a source; the caller closes it.

        Raises:
            InvalidArgument: the checksum is malformed, or another. SampanError: it cannot be had.
        """
        if isinstance(remote, GitSource):
            return self._open_git(remote, request, checksum=checksum, keep_git=keep_git, cancel=cancel)
        match = _SHA256.fullmatch(checksum) if checksum else None
        if checksum and match is None:
            raise InvalidArgument(f"invalid checksum {checksum!r}: write sha256: and 64 hexadecimal digits")
        return self._downloads.open(remote, checksum=match[1] if match else "", cancel=cancel)

    def _open_git(
        self, source: GitSource, request: BuildRequest, *, checksum: str, keep_git: bool, cancel: Cancel
    ) -> Index:
        match = _COMMIT.fullmatch(checksum) if checksum else None
        if checksum and match is None:
            raise InvalidArgument(f"invalid checksum {checksum!r}: write the first digits of a commit")
        from sampan.build.directory import DirectoryContext
        from sampan.build.known_digests import KnownDigests

        path, commit = self._checkouts.get(
            source, keep_git=keep_git, secrets=request.secrets, agents=request.agents, cancel=cancel
        )
        if match is not None and not commit.startswith(match[1]):
            raise InvalidArgument(f"expected checksum to match {match[1]}, got {commit} ({source.url})")
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if source.folder:
            top = fd
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY
                fd = open_in_root(top, source.folder, flags, resolve=RESOLVE_NO_SYMLINKS)
            except OSError as exc:
                raise NotFound(f"{source.url} has no folder {source.folder!r} at {commit}") from exc
            finally:
                os.close(top)
        return DirectoryContext(fd, KnownDigests(f"{self._folder}/digests", f"{path}/{source.folder}"))


def _keeps_git(request: BuildRequest) -> bool:
    return request.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR") in ("1", "true")


class OpenRemotes:
    """Remote sources of one build, open until it ends; any of its stages may ask."""

    def __init__(self, fetcher: Fetcher, request: BuildRequest, cancel: Cancel) -> None:
        self._fetcher = fetcher
        self._request = request
        self._cancel = cancel
        self._lock = threading.Lock()
        self._locks: dict[object, threading.Lock] = {}
        self._open: dict[object, Index] = {}

    def of(self, remote: Remote, *, checksum: str, keep_git: bool) -> Index:
        """Return a source's files; see `Fetcher.open`."""
        key = (remote, checksum, keep_git)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._open:
                self._open[key] = self._fetcher.open(
                    remote, self._request, checksum=checksum, keep_git=keep_git, cancel=self._cancel
                )
            return self._open[key]

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()
