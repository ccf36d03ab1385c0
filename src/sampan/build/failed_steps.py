"""What a RUN that failed has left, kept to be looked at: `sampan builder debug`, `sampan build --debug`.

```
<data-root>/build-failed/<id>/step.json     layers below, configuration, command
                              diff/         the upper directory of the step, until it is first looked at
```

Keeping it is one rename. When it is looked at it becomes a layer, and an image for as long as somebody
looks: everything that runs containers can then run one of it. The last few failures are kept; `builder prune`
forgets all of them.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Final

import msgspec

from sampan import log
from sampan.build.config import Defaults
from sampan.build.host import Host
from sampan.build.state import StageState, format_time
from sampan.errors import Conflict, NotFound
from sampan.ids import Digest
from sampan.kernel.files import write_atomic
from sampan.spec.image import ImageConfig, Platform
from sampan.store.built import Built, BuiltLayer, Stack, top_of
from sampan.store.trees import remove_tree, tree_size

_MOST: Final = 8
_SHELL: Final = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class FailedStep:
    """One failure, for listings. line: as it stands in the Dockerfile; code: its command's."""

    id: str
    line: str
    code: int
    created_ns: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FailedImage:
    """An image of a failure. argv: the command that failed; network: which it was on, "" for the default."""

    id: Digest
    argv: tuple[str, ...]
    network: str


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    """`step.json`. layer: of the step's own changes, once it was looked at."""

    line: str
    code: int
    created_ns: int
    stack: list[BuiltLayer]
    defaults: Defaults
    platform: Platform
    argv: list[str]
    network: str
    layer: BuiltLayer | None = None


class FailedSteps:
    """All failures of one engine; thread-safe."""

    def __init__(self, host: Host, built: Built) -> None:
        self._host = host
        self._built = built
        self._lock = threading.Lock()

    def keep(
        self,
        upper: str,
        state: StageState,
        *,
        line: str,
        argv: tuple[str, ...],
        environment: tuple[str, ...],
        network: str,
        code: int,
    ) -> str:
        """Keep what a step has left, and return its id, "" if it cannot be kept; upper is gone then."""
        step_id = os.urandom(6).hex()
        shell = (state.defaults.Shell or _SHELL)[0]
        defaults = msgspec.structs.replace(
            state.defaults,
            Env=list(environment),
            Entrypoint=None,
            Cmd=[shell],
            Healthcheck=None,
            OnBuild=None,
        )
        document = _Document(
            line=line,
            code=code,
            created_ns=time.time_ns(),
            stack=list(state.stack),
            defaults=defaults,
            platform=state.platform,
            argv=list(argv),
            network=network,
        )
        folder = self._path(step_id)
        try:
            os.makedirs(folder, mode=0o700)
            os.rename(upper, f"{folder}/diff")
            self._write(step_id, document)
        except OSError as exc:  # the disk is full: the step's own error is what counts
            log.warning("a failed step cannot be kept", reason=exc)
            remove_tree(folder)
            return ""
        with self._lock:
            self._limit()
        return step_id

    def _limit(self) -> None:
        """Forget what is older than the last few, and what is not whole."""
        kept = {one.id for one in self.all()[:_MOST]}
        for name in set(self._names()) - kept:
            remove_tree(self._path(name))

    def all(self) -> list[FailedStep]:
        """Return every failure, the last one first."""
        found = []
        for name in self._names():
            try:
                document = self._read(name)
            except NotFound:
                continue
            size = tree_size(f"{self._path(name)}/diff") if document.layer is None else 0
            found.append(FailedStep(name, document.line, document.code, document.created_ns, size))
        return sorted(found, key=lambda one: -one.created_ns)

    def open(self, unsafe_id: str) -> FailedImage:
        """Make an image of a failure; the beginning of an id is enough. Whoever asked removes the image.

        Raises:
            NotFound: there is no such failure, or layers below it were removed. Conflict: there are several.
        """
        step_id = self._find(unsafe_id)
        with self._lock:
            document = self._read(step_id)
            stack: Stack = tuple(document.stack)
            with self._built.held(stack):
                if not self._built.has(stack):
                    raise NotFound(f"layers below the failed step {step_id} were removed: build again")
                layer = document.layer or self._make_layer(step_id, document, stack)
                whole = stack if layer is None else (*stack, layer)
                image_id = self._built.make_image(whole, self._config(document, whole))
        return FailedImage(image_id, tuple(document.argv), document.network)

    def _make_layer(self, step_id: str, document: _Document, stack: Stack) -> BuiltLayer | None:
        path = f"{self._path(step_id)}/diff"
        if not os.path.isdir(path):
            return None  # it had changed nothing

        def keep(layer: BuiltLayer | None) -> None:
            self._write(step_id, msgspec.structs.replace(document, layer=layer))

        return self._built.add(stack, path, keep=keep)

    def _config(self, document: _Document, stack: Stack) -> ImageConfig:
        created = format_time(document.created_ns)
        return StageState(document.defaults, stack, document.platform, created=created).config()

    def _find(self, unsafe_id: str) -> str:
        found = [name for name in self._names() if unsafe_id and name.startswith(unsafe_id)]
        if not found:
            raise NotFound(f"no failed step {unsafe_id!r} is kept", hint="sampan builder debug lists them")
        if len(found) > 1:
            raise Conflict(f"several failed steps begin with {unsafe_id!r}")
        return found[0]

    def remove(self, step_id: str) -> int:
        """Forget a failure; return the bytes that came free."""
        path = self._path(step_id)
        try:
            document = self._read(step_id)
        except NotFound:
            document = None
        size = tree_size(path)
        remove_tree(path)
        if document is not None and document.layer is not None:
            chain = top_of((*document.stack, document.layer))
            assert chain is not None  # there is a layer
            size += self._built.layer_size(chain)
            self._built.forget([chain])
        return size

    def _path(self, step_id: str) -> str:
        return f"{self._host.failed}/{step_id}"

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._host.failed)
        except FileNotFoundError:
            return []

    def _write(self, step_id: str, document: _Document) -> None:
        write_atomic(f"{self._path(step_id)}/step.json", msgspec.json.encode(document))

    def _read(self, step_id: str) -> _Document:
        try:
            with open(f"{self._path(step_id)}/step.json", "rb") as file:
                return msgspec.json.decode(file.read(), type=_Document)
        except (OSError, msgspec.MsgspecError) as exc:
            raise NotFound(f"the failed step {step_id} is not whole") from exc
