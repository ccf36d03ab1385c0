"""The images and named contexts that a build begins with or copies from: each is found, or pulled, once."""

from __future__ import annotations

import threading
from dataclasses import replace

from sampan.build import instructions as i
from sampan.build.host import Base, Cancel, Fetch, Host
from sampan.build.index import Index
from sampan.build.request import BuildRequest, FilesSource, Output
from sampan.spec.image import Platform
from sampan.store.platforms import host_platform


class Bases:
    """Images of a build by name and platform; any of its stages may ask."""

    def __init__(self, host: Host, request: BuildRequest, output: Output, cancel: Cancel) -> None:
        self._host = host
        self._fetch = Fetch(
            always=request.pull, auth=request.registry_auth, report=output.pull, cancel=cancel
        )
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._found: dict[tuple[str, str], Base] = {}

    def find(self, name: str, *, platform: str) -> Base:
        """Return an image; two stages that ask for the same one wait for one pull.

        Raises:
            SampanError: see `Host.find_base`.
        """
        key = (name, platform)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._found:
                self._found[key] = self._host.find_base(name, platform=platform, fetch=self._fetch)
            return self._found[key]

    def used(self) -> list[tuple[str, str]]:
        """Return what was found, by name: each image's name and the digest of its manifest."""
        with self._lock:
            return sorted({(name, base.manifest) for (name, _), base in self._found.items()})


def misfit(name: str, actual: Platform) -> str:
    """Say that an image that was begun with is for another machine than this one; "" if it is not."""
    own = host_platform()
    if (own.os, own.architecture) == (actual.os or own.os, actual.architecture or own.architecture):
        return ""
    return f'Base image {name} was pulled with platform "{actual}", expected "{own}" for current build'


class OpenContexts:
    """Named contexts that are files, open for as long as the build."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Index] = {}

    def of(self, name: str, source: FilesSource) -> Index:
        """Return a context's files."""
        with self._lock:
            if name not in self._open:
                self._open[name] = source.open()
            return self._open[name]

    def close(self) -> None:
        """Close all."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()


def copy_of_context(head: i.From, name: str) -> i.Copy:
    """Return the step by which a stage begins with a context's files."""
    node = replace(head.node, keyword="COPY")
    return i.Copy(node=node, sources=("/",), destination="/", from_=name)
