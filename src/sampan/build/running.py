"""RUN: its arguments, environment, mounts, key and execution."""

from __future__ import annotations

import codecs
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sampan.build import instructions as i
from sampan.build.cachemounts import CacheMounts, Seed
from sampan.build.confidential import Confidential
from sampan.build.config import environment_of, join_workdir
from sampan.build.copying import Wish, copy_selection
from sampan.build.failed_steps import FailedSteps
from sampan.build.host import Cancel, Command, Host, Ran, StepMount
from sampan.build.mount_options import parse_mount
from sampan.build.mount_points import remove_mount_points
from sampan.build.request import BuildRequest
from sampan.build.selecting import Selection, select, selection_digest
from sampan.build.stages import PROXIES
from sampan.build.state import StageState
from sampan.build.trees import Tree
from sampan.build.words import WordError, Words
from sampan.errors import Forbidden, InvalidArgument, ProcessFailed
from sampan.store.built import top_of
from sampan.store.trees import remove_tree

_SHELL = ("/bin/sh", "-c")
_PIPES = "/dev/pipes"


@dataclass(frozen=True, slots=True)
class BoundFiles:
    """A bind mount of files: what was selected is copied beside and bound, so writes are discarded.

    Or a cache mount with `from`, which begins with them.
    """

    mount: i.Mount
    selection: Selection
    name: str  # of the file if it is one, "" for a directory


@dataclass(frozen=True, slots=True)
class RunStep:
    """A RUN with everything put in."""

    argv: tuple[str, ...]
    environment: tuple[str, ...]
    directory: str
    mounts: tuple[i.Mount, ...]
    bound: tuple[BoundFiles, ...]
    scripts: tuple[tuple[str, str], ...]  # name below /dev/pipes, content
    network: str
    document: dict[str, object]
    created_by: str


class CommandFailed(ProcessFailed):
    """The command of a step ended with a code other than 0. kept: the id of what it left, "" for none."""

    def __init__(self, argv: Sequence[str], exit_code: int, *, kept: str = "") -> None:
        self.shown = " ".join(argv)
        self.kept = kept
        super().__init__(
            f"The command '{self.shown}' returned a non-zero code: {exit_code}", exit_code=exit_code
        )


FindTree = Callable[[str], Tree]


def plan_run(
    run: i.Run, state: StageState, request: BuildRequest, words: Words, find_tree: FindTree
) -> RunStep:
    """Put variables into a RUN and make its key's document.

    Raises:
        WordError: a mount is malformed. NotFound: what it binds is not there.
    """
    _check_entitlements(run, request)
    shell = tuple(state.defaults.Shell or _SHELL)
    argv, scripts = _arguments(run, shell)
    arguments = state.visible_arguments()
    proxies = {
        name: value
        for name, value in request.build_args.items()
        if name in PROXIES and value is not None and name not in arguments
    }
    own = environment_of(state.defaults)
    environment = [f"{name}={value}" for name, value in {**arguments, **own}.items()]
    directory = state.defaults.WorkingDir or "/"
    mounts = tuple(_mount(text, words, state) for text in run.mounts)
    bound = tuple(_bind(mount, find_tree) for mount in mounts if _has_files(mount))
    network = {"default": request.network, "none": "none", "host": "host"}[run.network]
    document: dict[str, object] = {
        "op": "run",
        "below": top_of(state.stack) or "scratch",
        "argv": list(argv),
        "environment": environment,
        "directory": directory,
        "user": state.defaults.User,
        "network": run.network if run.network != "default" else request.network or "default",
        "security": run.security,
        "hosts": sorted(one.partition(":")[0] for one in request.extra_hosts),
        "platform": str(state.platform),
        "scripts": [list(script) for script in scripts],
        "mounts": [_shape(mount) for mount in mounts],
        "content": [selection_digest(one.selection, owners=True) for one in bound],
    }
    prefix = (
        f"|{len(arguments)} " + " ".join(f"{name}={value}" for name, value in sorted(arguments.items())) + " "
        if arguments
        else ""
    )
    return RunStep(
        argv=argv,
        environment=tuple(environment + [f"{name}={value}" for name, value in proxies.items()]),
        directory=directory,
        mounts=mounts,
        bound=bound,
        scripts=scripts,
        network=network,
        document=document,
        created_by=prefix + " ".join(argv),
    )


def _check_entitlements(run: i.Run, request: BuildRequest) -> None:
    """Refuse what a Dockerfile may not take for itself."""
    wanted = "security.insecure" if run.security == "insecure" else ""
    if run.network == "host" and request.network != "host":
        wanted = "network.host"
    if wanted and wanted not in request.entitlements:
        raise Forbidden(f"granting entitlement {wanted} is not allowed by build daemon configuration")


def _arguments(run: i.Run, shell: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the words to run, and files that are shown below /dev/pipes."""
    text = run.command.words[0]
    if not run.command.is_shell:
        return run.command.words, ()
    if not run.heredocs:
        return (*shell, text), ()
    first = run.heredocs[0]
    if len(run.heredocs) == 1 and len(text.split()) == 1:
        if first.content.startswith("#!"):
            return (f"{_PIPES}/{first.name}",), ((first.name, first.content),)
        return (*shell, first.content), ()
    documents = "".join(f"\n{one.content}{one.name}" for one in run.heredocs)
    return (*shell, text + documents), ()


def _mount(text: str, words: Words, state: StageState) -> i.Mount:
    mount = parse_mount(text, words.expand)
    if mount.kind in ("secret", "ssh") and not mount.target:
        return mount
    target = posixpath.normpath(join_workdir(state.defaults, mount.target))
    if target == "/":
        raise WordError("invalid mount target '/'")
    return i.Mount(
        **{
            name: getattr(mount, name)
            for name in i.Mount.__dataclass_fields__
            if name not in ("target", "id")
        },
        target=target,
        id=mount.id or (target if mount.kind == "cache" else ""),
    )


def _shape(mount: i.Mount) -> list[object]:
    return [mount.kind, mount.target, mount.read_only, mount.id, mount.env, mount.size_bytes]


def _has_files(mount: i.Mount) -> bool:
    return mount.kind == "bind" or (mount.kind == "cache" and bool(mount.from_))


def _bind(mount: i.Mount, find_tree: FindTree) -> BoundFiles:
    tree = find_tree(mount.from_)
    source = posixpath.normpath("/" + mount.source).strip("/")
    selection = select(tree, [source or "."], parents=False, excludes=())
    name = "" if selection.has_directory else selection.picked[0].name
    if name and mount.kind == "cache":
        raise WordError(f"a cache mount is a directory, and {mount.source} of {mount.from_} is none")
    return BoundFiles(mount, selection, name)


class Runner:
    """Runs RUN steps of one build."""

    def __init__(
        self, host: Host, caches: CacheMounts, failed: FailedSteps, request: BuildRequest, cancel: Cancel
    ) -> None:
        self._host = host
        self._failed = failed
        self._caches = caches
        self._request = request
        self._cancel = cancel

    @contextmanager
    def run(
        self, step: RunStep, run: i.Run, state: StageState, *, started: Callable[[str], None],
        say: Callable[[str], None],
    ) -> Iterator[str]:  # fmt: skip
        """Run a step; yields the directory of what it changed.

        Raises:
            CommandFailed: its code is not 0. SampanError: it cannot be started.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with ExitStack() as stack:
            mounts, variables = self._prepare(step, stack)
            command = Command(
                argv=step.argv,
                environment=(*step.environment, *variables),
                directory=step.directory,
                user=state.defaults.User,
                network=step.network,
                privileged=run.security == "insecure",
                extra_hosts=tuple(self._request.extra_hosts),
                architecture=state.platform.architecture,
                limits=self._request.limits,
                mounts=mounts,
                started=started,
                output=lambda data: say(decoder.decode(data)),
                cancel=self._cancel,
            )
            ran = stack.enter_context(self._host.run(state.stack, command))
            if self._cancel.is_set:
                raise InvalidArgument("the build was cancelled")
            remove_mount_points(ran.upper, self._host.lower(state.stack), [mount.target for mount in mounts])
            if ran.code:
                kept = self._keep(ran, step, run, state)
                raise CommandFailed(step.argv, ran.code, kept=kept)
            yield ran.upper

    def _keep(self, ran: Ran, step: RunStep, run: i.Run, state: StageState) -> str:
        """Keep what a failed step has left; return its id."""
        environment = [one for one in step.environment if one.partition("=")[0] not in PROXIES]
        return self._failed.keep(
            ran.upper,
            state,
            line=run.node.original,
            argv=step.argv,
            environment=tuple(environment),
            network=step.network,
            code=ran.code,
        )

    def _prepare(self, step: RunStep, stack: ExitStack) -> tuple[tuple[StepMount, ...], list[str]]:
        """Make what is mounted, in the order of the instruction; return it, and variables of secrets."""
        private = Confidential(
            self._request.secrets,
            self._request.agents,
            lambda: self._private_folder(stack),
            stack,
        )
        folder = f"{self._host.temporary}/build-{os.urandom(8).hex()}"
        os.mkdir(folder, 0o700)
        stack.callback(remove_tree, folder)
        made: list[StepMount] = []
        bound = iter(step.bound)
        for number, mount in enumerate(step.mounts):
            if mount.kind == "bind":
                made.append(self._bind(next(bound), f"{folder}/{number}"))
            elif mount.kind == "cache":
                seed = self._seed(next(bound)) if _has_files(mount) else None
                path = stack.enter_context(self._caches.use(mount, seed))
                made.append(
                    StepMount(kind="bind", source=path, target=mount.target, read_only=mount.read_only)
                )
            elif mount.kind == "tmpfs":
                made.append(StepMount(kind="tmpfs", target=mount.target, size_bytes=mount.size_bytes))
            else:
                one = private.secret(mount) if mount.kind == "secret" else private.agent(mount)
                made += [one] if one is not None else []
        for number, (name, content) in enumerate(step.scripts):
            path = f"{folder}/script-{number}"
            with open(path, "x", encoding="utf-8") as file:
                file.write(content)
            os.chmod(path, 0o755)  # noqa: S103 -- the user of the step runs it; its folder is 0700
            made.append(StepMount(kind="bind", source=path, target=f"{_PIPES}/{name}", read_only=True))
        return tuple(made), private.environment

    def _private_folder(self, stack: ExitStack) -> str:
        path = f"{self._host.private}/{os.urandom(8).hex()}"
        os.makedirs(path, mode=0o700)
        stack.callback(remove_tree, path)
        return path

    def _seed(self, bound: BoundFiles) -> Seed:
        return Seed(selection_digest(bound.selection, owners=True), lambda path: self._fill(bound, path))

    def _fill(self, bound: BoundFiles, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            copy_selection(fd, bound.selection, Wish(destination="/"), spool_directory=self._host.temporary)
        finally:
            os.close(fd)

    def _bind(self, bound: BoundFiles, path: str) -> StepMount:
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)  # noqa: S103 -- the user of the step reads it; the folder above is 0700
        self._fill(bound, path)
        source = f"{path}/{bound.name}" if bound.name else path
        return StepMount(
            kind="bind", source=source, target=bound.mount.target, read_only=bound.mount.read_only
        )
