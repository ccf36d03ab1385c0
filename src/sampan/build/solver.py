"""All stages of a build: one thread each, `COPY --from` waits for the stage it names. docs/build.md."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from sampan.build import instructions as i
from sampan.build.bases import Bases, OpenContexts, copy_of_context, misfit
from sampan.build.cache import StepCache
from sampan.build.cache_export import export_caches
from sampan.build.cache_format import Used, write_inline
from sampan.build.cache_import import ImportedSteps
from sampan.build.cachemounts import CacheMounts
from sampan.build.config import with_path
from sampan.build.failed_steps import FailedSteps
from sampan.build.fetching import Fetcher, OpenRemotes
from sampan.build.finishing import read_epoch_ns, squash
from sampan.build.graph import Graph, Watcher
from sampan.build.host import Cancel, Host
from sampan.build.index import Index
from sampan.build.ordering import InOrder
from sampan.build.parsing import Dockerfile, other_syntax, parse_dockerfile, parse_trigger
from sampan.build.request import BuildRequest, BuildResult, FilesSource, Output, find_dockerfile
from sampan.build.running import CommandFailed, Runner
from sampan.build.stages import PROXIES, Stage, Stages, plan_stages
from sampan.build.state import StageState
from sampan.build.stepping import Stepper
from sampan.build.syntax import DockerfileError
from sampan.build.trees import RootTree, Tree
from sampan.build.triggers import reach_triggers
from sampan.build.voices import StageVoice
from sampan.build.words import WordError
from sampan.errors import InvalidArgument, SampanError
from sampan.spec.image import ContainerDefaults, ImageConfig, Platform
from sampan.store.built import Built, Stack
from sampan.store.digests import chain_ids
from sampan.store.platforms import host_platform, parse_platform, without_usual_variant

if TYPE_CHECKING:
    from sampan.build.checking import Checked

_INLINE: Final = "BUILDKIT_INLINE_CACHE"
_ALWAYS_USED: Final = frozenset(
    ("SOURCE_DATE_EPOCH", _INLINE, "BUILDKIT_CONTEXT_KEEP_GIT_DIR", "BUILDKIT_SYNTAX",
     "BUILDKIT_DOCKERFILE_CHECK", "BUILDKIT_CACHE_MOUNT_NS", "BUILDKIT_SANDBOX_HOSTNAME",
     "BUILDKIT_MULTI_PLATFORM", "BUILDKIT_BUILD_NAME")
)  # fmt: skip


class Builder:
    """Builds images; thread-safe, one for an engine."""

    def __init__(self, host: Host, cache: StepCache, built: Built) -> None:
        self.host = host
        self.cache = cache
        self._built = built
        self.mounts = CacheMounts(host)
        self.failed = FailedSteps(host, built)
        self.fetcher = Fetcher(host)

    def prepare(self, request: BuildRequest, context: Index) -> Plan:
        """Read the Dockerfile and find what is to be done; nothing is done yet.

        Raises:
            InvalidArgument, NotFound: it is wrong; the client is told before any output.
        """
        read_epoch_ns(request)
        name, raw = find_dockerfile(request, context)
        dockerfile = parse_dockerfile(raw, file=name)
        context.ignore(name, everything=request.ignores, given=request.ignore)
        own = without_usual_variant(host_platform())
        platform = own
        if request.platform:
            platform = without_usual_variant(parse_platform(request.platform))
        stages = plan_stages(
            dockerfile,
            build_args=request.build_args,
            target=request.target,
            platform=platform,
            build_platform=own,
            contexts=request.contexts.keys(),
        )
        return Plan(request, dockerfile, stages, platform)

    def check(self, request: BuildRequest, context: Index) -> Checked:
        """Look for what is hardly meant; nothing is done. Raises InvalidArgument as `prepare`."""
        from sampan.build.checking import check

        return check(self.host, request, context)

    def run(
        self,
        plan: Plan,
        context: Index,
        output: Output,
        cancel: Cancel,
        *,
        watcher: Watcher | None = None,
    ) -> BuildResult:
        """Do a plan, and name the image. watcher: is told step by step, beside output.

        Raises:
            SampanError: a step failed, or the build was cancelled.
        """
        stages = reach_triggers(
            plan.stages,
            plan.request,
            Bases(self.host, plan.request, output, cancel),
            escape=plan.dockerfile.tree.escape,
        )
        plan = replace(plan, stages=stages)
        with ExitStack() as stack:
            run = _BuildRun(
                self.host,
                self.cache,
                self._built,
                self.mounts,
                self.failed,
                self.fetcher,
                plan,
                context,
                output,
                cancel,
                watcher,
            )
            stack.enter_context(run)
            return run.run()


@dataclass(frozen=True, slots=True)
class Plan:
    """A build that can begin."""

    request: BuildRequest
    dockerfile: Dockerfile
    stages: Stages
    platform: Platform


class _BuildRun:
    """One build under way; a `stepping.Trees`. Use it in a `with`: it keeps roots of stages open."""

    def __init__(
        self,
        host: Host,
        cache: StepCache,
        built: Built,
        mounts: CacheMounts,
        failed: FailedSteps,
        fetcher: Fetcher,
        plan: Plan,
        context: Index,
        output: Output,
        cancel: Cancel,
        watcher: Watcher | None,
    ) -> None:
        self._host = host
        self._cache = cache
        self._built = built
        self._plan = plan
        self._context = context
        self._output = output
        self._cancel = cancel
        self._runner = Runner(host, mounts, failed, plan.request, cancel)
        self._bases = Bases(host, plan.request, output, cancel)
        self._files = OpenContexts()
        self._remotes = OpenRemotes(fetcher, plan.request, cancel)
        self._imported = ImportedSteps(host, plan.request, output, cancel)
        self._traces: dict[int, list[Used]] = {index: [] for index in plan.stages.reached}
        self._order = InOrder(plan.stages.reached)
        self._states: dict[int, StageState] = {}
        self._ended = {index: threading.Event() for index in plan.stages.reached}
        self._errors: list[BaseException] = []
        self._used = set(plan.stages.used_build_args)
        self._opened = ExitStack()
        self._open_lock = threading.Lock()
        self._trees: dict[str, RootTree] = {}
        self._parents: dict[int, str] = {}
        self._steps = _Steps(plan)
        self._graph = Graph(
            plan.dockerfile,
            plan.stages,
            watcher,
            platform=str(plan.platform) if plan.request.of_several else "",
        )

    def __enter__(self) -> _BuildRun:
        return self

    def __exit__(self, *_error: object) -> None:
        self._opened.close()
        self._files.close()
        self._remotes.close()
        self._cache.note_uses()

    def run(self) -> BuildResult:
        """Run every stage that is reached, then finish the image."""
        plan = self._plan
        if other := other_syntax(plan.dockerfile, plan.request.build_args):
            self._output.warn(f"the frontend {other} is not run: the file is read as docker/dockerfile")
        for number, argument in enumerate(plan.dockerfile.arguments, 1):
            self._output.text(f"Step {number}/{self._steps.total} : {argument.node.original}\n")
        threads = [
            threading.Thread(
                target=self._run_stage, args=(plan.stages.all[index],), name=f"build stage {index}"
            )
            for index in plan.stages.reached
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            error = self._errors[0]
            if isinstance(error, CommandFailed) and error.kept:
                self._output.kept(error.kept)
            raise error
        return self._finish()

    def _finish(self) -> BuildResult:
        plan, request = self._plan, self._plan.request
        state = self._states[plan.stages.target]
        with self._built.held(state.stack), ExitStack() as held:
            if request.squash:
                state = squash(state, self._built, self._cache)
                held.enter_context(self._built.held(state.stack))
            config = self._with_inline(state.config(labels=request.labels), state)
            image_id = self._built.make_image(state.stack, config, references=list(request.tags))
            export_caches(self._host, request, self._output, own=self._own_steps(), every=self._all_steps)
        self._output.image(image_id)
        unused = sorted(set(request.build_args) - self._used - set(PROXIES) - _ALWAYS_USED)
        if unused:
            self._output.text(f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n")
        self._output.text(f"Successfully built {image_id.removeprefix('sha256:')[:12]}\n")
        for tag in request.tags:
            self._output.text(f"Successfully tagged {tag.familiar}\n")
        return BuildResult(image_id, self._bases.used())

    def _own_steps(self) -> list[Used]:
        """Return the steps of the target, and of the stages it begins with."""
        found: list[Used] = []
        index: int | str = self._plan.stages.target
        while isinstance(index, int):
            found[:0] = self._traces[index]
            index = self._plan.stages.all[index].base
        return found

    def _all_steps(self) -> list[Used]:
        return [step for index in self._plan.stages.reached for step in self._traces[index]]

    def _with_inline(self, config: ImageConfig, state: StageState) -> ImageConfig:
        """Put the steps of an image into its configuration, if that is wanted."""
        request = self._plan.request
        wanted = any(one.option.kind == "inline" for one in request.cache_to)
        if not wanted and (request.build_args.get(_INLINE) or "").lower() not in ("1", "t", "true"):
            return config
        if request.squash:
            self._output.warn("an image of one layer (--squash) has no inline cache")
            return config
        chain = chain_ids([layer.diff_id for layer in state.stack])
        return msgspec.structs.replace(config, cache=write_inline(self._own_steps(), chain))

    def _run_stage(self, stage: Stage) -> None:
        try:
            self._do_stage(stage)
        except BaseException as exc:
            if not self._cancel.is_set or not self._errors:
                self._errors.append(exc)
            self._cancel.set()
        finally:
            self._order.end(stage.index)
            self._ended[stage.index].set()

    def _do_stage(self, stage: Stage) -> None:
        voice = StageVoice(self._order, stage.index, self._output, self._graph)
        head = stage.parsed.head
        with ExitStack() as held:
            with self._graph.doing(stage.index, head):
                state = self._begin(stage)
                held.enter_context(self._built.held(state.stack))
            self._announce(voice, head)
            own_id = state.short_id() if state.stack else ""
            voice.say(f" ---> {self._parents.get(stage.index, own_id)}\n")
            stepper = self._make_stepper(stage, state, voice)
            if self._has_files(stage):
                self._do(stepper, copy_of_context(head, str(stage.base)))
            triggers = list(state.defaults.OnBuild or ())
            if triggers:
                state.defaults = msgspec.structs.replace(state.defaults, OnBuild=None)
                voice.say(f"# Executing {len(triggers)} build trigger{'s' if len(triggers) > 1 else ''}\n")
            for text in triggers:
                one = parse_trigger(text, head.node, escape=self._plan.dockerfile.tree.escape)
                self._do(stepper, one)
                held.enter_context(self._built.held(state.stack))
            for one in stage.parsed.body:
                self._announce(voice, one)
                with self._graph.doing(stage.index, one):
                    self._do(stepper, one)
                held.enter_context(self._built.held(state.stack))
            self._opened_later(state.stack)
        self._states[stage.index] = state

    def _opened_later(self, stack: Stack) -> None:
        """Keep a stage's layers for the stages that copy from it, until the build ends."""
        with self._open_lock:
            self._opened.enter_context(self._built.held(stack))

    def _do(self, stepper: Stepper, one: i.Instruction) -> None:
        if self._cancel.is_set:
            raise InvalidArgument("the build was cancelled")
        try:
            stepper.do(one)
        except WordError as exc:
            raise DockerfileError(str(exc), one.node.place) from exc
        except SampanError as exc:
            exc.hint = exc.hint or one.node.place.excerpt()
            raise

    def _announce(self, voice: StageVoice, one: i.Instruction) -> None:
        number = self._steps.number(one)
        shown = one.node.original
        voice.say(f"Step {number}/{self._steps.total} : {shown}")
        voice.say("\n")

    def _begin(self, stage: Stage) -> StageState:
        """Return the state that a stage begins with: of a stage, an image, or nothing."""
        if isinstance(stage.base, int):
            state = self._state_of(stage.base).copy()
            state.defaults = with_path(state.defaults)
            return state
        platform = self._plan.platform
        if stage.platform:
            platform = without_usual_variant(parse_platform(stage.platform))
        if stage.base == "scratch":
            defaults = with_path(ContainerDefaults(WorkingDir="/"))
            return StageState(defaults, (), platform)
        source = self._plan.request.contexts.get(stage.base.lower())
        if isinstance(source, FilesSource):
            return StageState(with_path(ContainerDefaults(WorkingDir="/")), (), platform)
        name = stage.base if source is None else source.name
        wanted = stage.platform or self._plan.request.platform
        base = self._bases.find(name, platform=wanted)
        if not wanted and (wrong := misfit(name, base.config.platform)):
            self._output.warn(wrong)
        self._parents[stage.index] = base.id.removeprefix("sha256:")[:12]
        return StageState(
            with_path(base.config.config),
            base.stack,
            base.config.platform,
            history=list(base.config.history),
            author=base.config.author,
            created=base.config.created,
            inherited=len(base.stack),
            inherited_history=len(base.config.history),
        )

    def _has_files(self, stage: Stage) -> bool:
        """Tell whether a stage begins with the files of a named context."""
        base = stage.base
        return isinstance(base, str) and isinstance(
            self._plan.request.contexts.get(base.lower()), FilesSource
        )

    def _make_stepper(self, stage: Stage, state: StageState, voice: StageVoice) -> Stepper:
        return Stepper(
            host=self._host,
            cache=self._cache,
            request=self._plan.request,
            context=self._context,
            trees=self,
            runner=self._runner,
            remotes=self._remotes,
            state=state,
            stage=stage.index,
            escape=self._plan.dockerfile.tree.escape,
            voice=voice,
            defaults=dict(self._plan.stages.global_arguments),
            used=self._used,
            imported=self._imported,
            trace=self._traces[stage.index],
            cached=not self._is_made_anew(stage),
        )

    def _is_made_anew(self, stage: Stage) -> bool:
        request = self._plan.request
        return request.no_cache or not request.no_cache_stages.isdisjoint((stage.name, str(stage.index)))

    def _state_of(self, index: int) -> StageState:
        self._ended[index].wait()
        state = self._states.get(index)
        if state is None:
            raise InvalidArgument("the build was cancelled")
        return state

    def of(self, name: str, stage: int) -> Tree:
        """Return the files of a stage or image, opened once for the build."""
        index = self._plan.stages.find(name, before=stage)
        if index is not None:
            return self._open(f"stage {index}", self._state_of(index).stack)
        source = self._plan.request.contexts.get(name.lower())
        if isinstance(source, FilesSource):
            return self._files.of(name.lower(), source)
        image = name if source is None else source.name
        base = self._bases.find(image, platform=self._plan.request.platform)
        return self._open(f"image {base.id}", base.stack)

    def _open(self, key: str, stack: Stack) -> Tree:
        with self._open_lock:
            if key not in self._trees:
                self._opened.enter_context(self._built.held(stack))
                self._trees[key] = RootTree(self._opened.enter_context(self._host.open_root(stack)))
            return self._trees[key]


class _Steps:
    """Numbers of instructions, as classic Docker counts them: those of the stages that are built."""

    def __init__(self, plan: Plan) -> None:
        counted: list[i.Instruction] = list(plan.dockerfile.arguments)
        for index in plan.stages.reached:
            parsed = plan.stages.all[index].parsed
            counted += [parsed.head, *parsed.body]
        self.total = len(counted)
        self._numbers = {id(one): number for number, one in enumerate(counted, 1)}

    def number(self, one: i.Instruction) -> int:
        """Return an instruction's number."""
        return self._numbers[id(one)]
