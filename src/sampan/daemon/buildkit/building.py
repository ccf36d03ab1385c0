"""One build for a client: Dockerfile first, what it ignores, then the context, then the steps.

Runs in a worker thread; what it asks of the client it asks of the session's loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sampan.build.ignore import read_patterns
from sampan.build.index import IGNORE
from sampan.build.request import FilesSource, ImageSource
from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.caches import Caches
from sampan.daemon.buildkit.inputs import Inputs
from sampan.daemon.buildkit.lending import Lender
from sampan.daemon.buildkit.options import Local, NamedSource, Sources, read_request, read_sources
from sampan.daemon.buildkit.progress import Progress
from sampan.daemon.buildkit.sessions import Session
from sampan.daemon.buildkit.version2 import UPLOAD

if TYPE_CHECKING:
    from sampan.build.host import Cancel
    from sampan.build.index import Index
    from sampan.build.request import BuildRequest, Source
    from sampan.engine.engine import Engine


class Builder:
    """Builds for one call of `LLBBridge/Solve`."""

    def __init__(
        self,
        engine: Engine,
        session: Session,
        progress: Progress,
        cancel: Cancel,
        *,
        upload: Callable[[], Coroutine[Any, Any, Index]],
    ) -> None:
        """upload: waits for the context that is sent beside the session."""
        self._upload = upload
        self._engine = engine
        self._session = session
        self._progress = progress
        self._cancel = cancel

    def build(
        self, options: Mapping[str, str], solve: m.ControlSolveRequest, *, tags: Sequence[str]
    ) -> tuple[Sequence[str], dict[str, str]]:
        """Build, and return the images' ids as `build_in`, and what the client is told beside them.

        Raises:
            SampanError: as `engine.builds.build`. GRPCError: the client refuses something.
            ConnectionError: it has gone.
        """
        sources = read_sources(options)
        lender, caches = Lender(self._session), Caches(self._session)
        request = replace(
            read_request(
                options, dockerfile=sources.dockerfile, tags=tags, entitlements=list(solve.entitlements)
            ),
            registry_auth=lender.registry_auth,
            secrets=lender,
            agents=lender,
            cache_from=caches.imports(options, solve),
            cache_to=caches.exports(solve),
        )
        with ExitStack() as held:
            inputs = Inputs(self._engine.builds, self._session, self._progress, held)
            contexts = {
                name: self._named(inputs, request, name, source) for name, source in sources.named.items()
            }
            request = replace(request, contexts=contexts)
            request, context = self._open(inputs, request, sources)
            with context:
                image_ids = self._engine.builds.build_in(
                    request,
                    context,
                    output=self._progress,
                    cancel=self._cancel,
                    begin=_nothing,
                    watcher=self._progress,
                )
        return image_ids, caches.told

    def answer(self, name: str, options: Mapping[str, str], solve: m.ControlSolveRequest) -> dict[str, bytes]:
        """Answer a question about the Dockerfile; nothing is built, and of the context little is read.

        Raises:
            SampanError: the Dockerfile is wrong; else as `build`.
        """
        from sampan.daemon.buildkit.subrequests import answer

        sources = read_sources(options)
        request = read_request(
            options, dockerfile=sources.dockerfile, tags=(), entitlements=list(solve.entitlements)
        )
        builds = self._engine.builds
        with ExitStack() as held:
            inputs = Inputs(builds, self._session, self._progress, held)
            if isinstance(sources.context, Local):
                document, ignore = inputs.load_dockerfile(sources.dockerfile_directory, sources.dockerfile)
                if ignore is None:
                    ignore = "\n".join(inputs.load_ignored(sources.context.name)).encode()
                request = replace(request, document=document, ignore=ignore)
            else:
                request, context = self._open(inputs, request, sources)
                with context:
                    from sampan.build.request import find_dockerfile

                    name_there, raw = find_dockerfile(request, context)
                    request = replace(request, dockerfile=name_there, document=raw)
        return answer(builds, name, request)

    def _open(self, inputs: Inputs, request: BuildRequest, sources: Sources) -> tuple[BuildRequest, Index]:
        """Open the main context; a Dockerfile that lies beside it goes into the request."""
        ignore: bytes | None = None
        if sources.dockerfile_directory:
            document, ignore = inputs.load_dockerfile(sources.dockerfile_directory, sources.dockerfile)
            request = replace(request, document=document)
        if isinstance(sources.context, Local):
            directory = sources.context.name
            own = f"{sources.dockerfile}{IGNORE}"
            exclude = inputs.load_ignored(directory) if ignore is None else read_patterns(ignore, file=own)
            shown = "[internal] load build context"
            return request, inputs.open_directory(directory, exclude=exclude, shown=shown)
        request = replace(request, ignores=True, ignore=ignore)
        if sources.context.url == UPLOAD:
            with self._progress.node("[internal] load the build context that is sent"):
                return request, self._session.wait(self._upload())
        if sources.context.is_upload:
            return request, inputs.receive_archive(sources.context.url)
        with self._progress.node(f"[internal] load remote build context {sources.context.url}"):
            return request, self._engine.builds.fetch(sources.context.url, request, self._cancel)

    def _named(self, inputs: Inputs, request: BuildRequest, name: str, source: NamedSource) -> Source:
        if source.image:
            return ImageSource(source.image)
        return FilesSource(self._opener(inputs, request, name, source))

    def _opener(
        self, inputs: Inputs, request: BuildRequest, name: str, source: NamedSource
    ) -> Callable[[], Index]:
        if source.url:
            return lambda: self._engine.builds.fetch(source.url, request, self._cancel)

        def open_directory() -> Index:
            exclude = inputs.load_ignored(source.local)
            shown = f"[context {name}] load from client"
            return inputs.open_directory(source.local, exclude=exclude, shown=shown)

        return open_directory


def _nothing() -> None:
    """Begin: the client is told by the progress."""
