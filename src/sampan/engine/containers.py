"""Containers: the verbs of the Docker API on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sampan.engine.bundle.plan import Document
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.execs.attaching import attach, make_attach_request, prepare_attach
from sampan.engine.files.committing import CommitRequest, commit
from sampan.engine.files.container_paths import PathStat
from sampan.engine.files.copying import OpenArchive, extract, find_path, open_archive
from sampan.engine.files.diffing import Changes, read_changes
from sampan.engine.files.exporting import OpenExport, open_export
from sampan.engine.lifecycle.changing import rename_container, resize_container, unlink_container
from sampan.engine.lifecycle.creating import Creator
from sampan.engine.lifecycle.ending import Ender
from sampan.engine.lifecycle.launching import Starter
from sampan.engine.lifecycle.pruning import prune_containers
from sampan.engine.lifecycle.removing import remove_container
from sampan.engine.lifecycle.stopping import Stopper, StopReport
from sampan.engine.lifecycle.updating import Updater
from sampan.engine.lifecycle.waiting import on_exit
from sampan.engine.logs.clearing import clear_log
from sampan.engine.logs.reader import LogReader, open_log
from sampan.engine.observing.anatomy import read_anatomy
from sampan.engine.observing.explaining import read_explanation
from sampan.engine.observing.inspection import inspect_container
from sampan.engine.observing.listing import list_containers
from sampan.engine.observing.sampler import Give, Sampler
from sampan.engine.observing.statistics import read_stats
from sampan.engine.observing.stats_watch import StatsWatch
from sampan.engine.observing.top import top
from sampan.engine.types import AttachTarget, ExitCallback, LogRequest, Subscription, WaitCondition
from sampan.errors import NotFound
from sampan.spec import docker
from sampan.store.archive.readable import Readable

Filters = Mapping[str, Sequence[str]]  # name → wanted values; the two JSON forms are parsed by the door
Summaries = list[docker.ContainerSummary]
Steps = list[Document]


class Containers:
    """Every verb takes ref: a full id, a name (leading `/` allowed) or a unique prefix of an id.

    All raise NotFound (`No such container: X`), InvalidArgument for an ambiguous prefix, and Conflict
    when the state forbids the verb.
    """

    def __init__(
        self,
        core: Core,
        ender: Ender,
        starter: Starter,
        stopper: Stopper,
        updater: Updater,
        sampler: Sampler,
    ) -> None:
        self._core = core
        self._updater = updater
        self._sampler = sampler
        self._ender = ender
        self._starter = starter
        self._stopper = stopper
        self._creator = Creator(core)

    def create(
        self, request: docker.ContainerCreate, *, name: str = "", platform: str = ""
    ) -> docker.CreateResponse:
        """Check everything, then make the container: record, snapshot, files.

        Raises:
            InvalidArgument: a field is wrong; the message names it.
            Unsupported: a field asks for what this version cannot do.
            NotFound: no such image.
            Conflict: the name is in use.
        """
        return self._creator.create(request, name=name, platform=platform)

    def start(self, ref: str) -> None:
        """Run the container; returns when its program runs.

        Raises:
            NotModified: it runs already.
            CommandNotFound, CommandNotExecutable: the program cannot be run; State keeps code and error.
        """
        self._starter.start(self._core.index.get(ref))

    def stop(
        self, ref: str, *, signal: str = "", timeout_s: int | None = None, now_if_unhandled: bool = False
    ) -> StopReport:
        """Send the stop signal, wait (-1: for ever), then SIGKILL; returns when it has ended.

        now_if_unhandled: do not wait when the first process cannot notice the signal.

        Raises:
            NotModified: it does not run.
        """
        return self._stopper.stop(
            self._settled(ref), signal=signal, timeout_s=timeout_s, now_if_unhandled=now_if_unhandled
        )

    def kill(self, ref: str, signal: str = "KILL") -> None:
        """Send a signal to the container's first process; KILL also waits for its end."""
        try:
            container = self._settled(ref)
        except NotFound as exc:
            raise NotFound(f"cannot kill container: {ref}: {exc}") from exc
        self._stopper.kill(container, signal=signal, ref=ref)

    def restart(self, ref: str, *, signal: str = "", timeout_s: int | None = None) -> None:
        """Stop the container if it runs, then start it."""
        self._stopper.restart(self._settled(ref), signal=signal, timeout_s=timeout_s)

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        """Remove a container that does not run; force kills it first. Files go in the background.

        volumes: the anonymous volumes that only this container has go too. link: ref is the path of a link,
        and nothing but that goes.
        """
        if link:
            unlink_container(self._core, ref)
            return
        remove_container(
            self._core.index.get(ref),
            self._ender,
            self._stopper,
            force=force,
            volumes=volumes,
            ref=ref,
        )

    def rename(self, ref: str, new_name: str) -> None:
        """Give the container another name."""
        rename_container(self._core, self._core.index.get(ref), new_name)

    def pause(self, ref: str) -> None:
        """Freeze every process of the container."""
        self._stopper.pause(self._settled(ref))

    def unpause(self, ref: str) -> None:
        """Let a paused container go on."""
        self._stopper.unpause(self._core.index.get(ref))

    def update(self, ref: str, request: docker.ContainerUpdate) -> docker.UpdateResponse:
        """Change limits of a container; null and zero leave a field alone."""
        return self._updater.update(self._settled(ref), request)

    def resize(self, ref: str, *, height: int, width: int) -> None:
        """Set the size of the container's terminal.

        Raises:
            Conflict: it does not run.
        """
        resize_container(self._core, self._settled(ref), height=height, width=width)

    def top(self, ref: str, args: str = "-ef") -> docker.ContainerTop:
        """List the container's processes as the host's `ps` shows them."""
        return top(self._core, self._settled(ref), args)

    def _settled(self, ref: str) -> Container:
        container = self._core.index.get(ref)
        container.settle()
        return container

    def prepare_attach(self, ref: str) -> AttachTarget:
        """Check that an attach is allowed now, before the connection is taken over.

        Raises:
            Conflict: the container is paused or restarting.
        """
        return prepare_attach(self._core.index.get(ref), ref)

    def attach(
        self,
        ref: str,
        *,
        fd: int,
        framed: bool,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        stream: bool = True,
        logs: bool = False,
        detach_keys: str = "",
        end_frame: bool = False,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        """Hand a connected socket over: the engine duplicates fd, the caller may close its own at once.

        On a created container the socket waits for the start. framed: Docker's 8-byte frames. logs: replay
        the log first. detach_keys: `ctrl-p,ctrl-q` form, "" for the default; heeded on a terminal only.
        end_frame: the client is told the exit code in its stream; the caller, who keeps a duplicate, ends it.
        begin: writes what the client must read first (a response head), without waiting; nothing of the
        container comes before it, and no start comes between it and the hand-over.
        """
        container = self._core.index.get(ref)
        prepare_attach(container, ref)
        request = make_attach_request(
            fd=fd,
            framed=framed,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            detach_keys=detach_keys,
            tty=container.record.config.Tty,
            end_frame=end_frame,
        )
        attach(self._core, container, request, stream=stream, logs=logs, begin=begin)

    def find_path(self, ref: str, path: str) -> PathStat:
        """Tell what is at a path of the container, running or not; a link is not followed.

        Raises:
            NotFound: `Could not find the file P in container C`.
        """
        return find_path(self._core, self._core.index.get(ref), path, ref=ref)

    def open_archive(self, ref: str, path: str) -> OpenArchive:
        """Open a file or directory of the container to be packed; the caller closes it.

        Raises:
            NotFound: `Could not find the file P in container C`.
        """
        return open_archive(self._core, self._core.index.get(ref), path, ref=ref)

    def extract(
        self, ref: str, path: str, stream: Readable, *, keep_kinds: bool = False, own_by_user: bool = False
    ) -> None:
        """Unpack a tar archive, plain or compressed, into a directory of the container.

        keep_kinds: no directory is replaced by something else, nor the other way round (Docker's
        noOverwriteDirNonDir). own_by_user: all belongs to the container's user (Docker's copyUIDGID).

        Raises:
            NotFound: there is no such directory. InvalidArgument: it is none, or read-only; the archive is
                damaged or hostile. Conflict: something in the way is a mount point.
        """
        extract(
            self._core,
            self._core.index.get(ref),
            path,
            stream,
            ref=ref,
            keep_kinds=keep_kinds,
            own_by_user=own_by_user,
        )

    def changes(self, ref: str) -> Changes:
        """List what the container has changed in its root, by name; the image is not scanned."""
        return read_changes(self._core, self._settled(ref))

    def open_export(self, ref: str) -> OpenExport:
        """Open the whole root, without what is mounted in it, to be packed; the caller closes it."""
        return open_export(self._core, self._core.index.get(ref))

    def commit(self, ref: str, request: CommitRequest) -> str:
        """Make an image of the container's image and what the container has changed; return its id.

        Raises:
            InvalidArgument: a change or the reference is wrong.
            NotFound: its image is gone. Conflict: it is being removed.
        """
        return commit(self._core, self._stopper, self._settled(ref), request)

    def logs(self, ref: str, request: LogRequest) -> LogReader:
        """Open the container's log; the caller closes the reader.

        Raises:
            InvalidArgument: neither stdout nor stderr is wanted.
            Unsupported: the container's log driver keeps nothing.
        """
        return open_log(self._core, self._settled(ref), request)

    def clear_log(self, ref: str) -> None:
        """Forget what the container has logged; those who follow its log go on.

        Raises:
            Unsupported: the container's log driver keeps nothing.
        """
        clear_log(self._core, self._settled(ref))

    def on_exit(self, ref: str, condition: WaitCondition, callback: ExitCallback) -> Subscription:
        """Call back once, in a thread of the engine, when the condition is met; at once if it is already.

        Raises:
            InvalidArgument: condition is none of the three.
        """
        return on_exit(self._core.index.get(ref), condition, callback)

    def inspect(self, ref: str, *, size: bool = False) -> docker.ContainerInspect:
        """Tell everything about a container, in the shape of API 1.51."""
        return inspect_container(self._core, self._settled(ref), size=size)

    def prune(self, filters: Filters | None = None) -> docker.ContainersPrune:
        """Remove every container that does not run and matches."""
        return prune_containers(self._core, self._ender, filters or {})

    def stats(self, ref: str) -> docker.ContainerStats:
        """Read one sample of the container's resource use; `precpu_stats` is left zero.

        A container that does not run gives its id and name only.
        """
        return read_stats(self._core, self._settled(ref))

    def follow_stats(self, ref: str, give: Give) -> Subscription:
        """Give a sample now and one each second, with the one before it; None when the container is removed.

        Callbacks come from the sampler's thread, the first perhaps from this call: they must be quick.
        """
        return self._sampler.follow(self._settled(ref), give)

    def watch_stats(self, refs: Sequence[str] = (), *, stopped: bool = False) -> StatsWatch:
        """Watch the containers named, or all that run (with stopped: all there are); the caller closes it."""
        return StatsWatch(self._core, self._sampler, refs=refs, stopped=stopped)

    def explain(self, ref: str) -> Steps:
        """Return the steps that started the container: `{"plank", "text", "microseconds"}`, in order.

        Raises:
            InvalidArgument: it was not started with the annotation `org.sampan.explain`.
        """
        return read_explanation(self._core.index.get(ref))

    def anatomy(self, ref: str) -> Document:
        """Read the running container back from the kernel: what it sees, what it may use, what it is."""
        return read_anatomy(self._core, self._settled(ref))

    def list(
        self,
        *,
        all: bool = False,
        limit: int = 0,
        size: bool = False,
        filters: Filters | None = None,
        zombies: bool = False,
    ) -> Summaries:
        """List containers, newest first; running ones only unless all, limit or a status filter say else.

        zombies: count the ended processes that each first process does not reap.

        Raises:
            InvalidArgument: an unknown filter, or a bad value for one.
        """
        return list_containers(
            self._core, all=all, limit=limit, size=size, filters=filters or {}, zombies=zombies
        )
