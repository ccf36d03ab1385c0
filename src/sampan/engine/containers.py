"""Containers: the verbs of the Docker API on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sampan.engine.logs import LogReader
from sampan.engine.types import AttachTarget, ExitCallback, LogRequest, Subscription, WaitCondition
from sampan.spec import docker

Filters = Mapping[str, Sequence[str]]  # name → wanted values; the two JSON forms are parsed by the door
Summaries = list[docker.ContainerSummary]
Steps = list[dict[str, object]]


class Containers:
    """Every verb takes ref: a full id, a name (leading `/` allowed) or a unique prefix of an id.

    All raise NotFound (`No such container: X`), InvalidArgument for an ambiguous prefix, and Conflict
    when the state forbids the verb.
    """

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
        raise NotImplementedError

    def start(self, ref: str) -> None:
        """Run the container; returns when its program runs.

        Raises:
            NotModified: it runs already.
            CommandNotFound, CommandNotExecutable: the program cannot be run; State keeps code and error.
        """
        raise NotImplementedError

    def stop(self, ref: str, *, signal: str = "", timeout_s: int | None = None) -> None:
        """Send the stop signal, wait (-1: for ever), then SIGKILL; returns when it has ended.

        Raises:
            NotModified: it does not run.
        """
        raise NotImplementedError

    def kill(self, ref: str, signal: str = "KILL") -> None:
        """Send a signal to the container's first process; KILL also waits for its end."""
        raise NotImplementedError

    def restart(self, ref: str, *, signal: str = "", timeout_s: int | None = None) -> None:
        """Stop the container if it runs, then start it."""
        raise NotImplementedError

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        """Remove a container that does not run; force kills it first. Files go in the background."""
        raise NotImplementedError

    def rename(self, ref: str, new_name: str) -> None:
        """Give the container another name."""
        raise NotImplementedError

    def pause(self, ref: str) -> None:
        """Freeze every process of the container."""
        raise NotImplementedError

    def unpause(self, ref: str) -> None:
        """Let a paused container go on."""
        raise NotImplementedError

    def update(self, ref: str, request: docker.ContainerUpdate) -> docker.UpdateResponse:
        """Change limits of a container; null and zero leave a field alone."""
        raise NotImplementedError

    def resize(self, ref: str, *, height: int, width: int) -> None:
        """Set the size of the container's terminal.

        Raises:
            Conflict: it does not run.
        """
        raise NotImplementedError

    def top(self, ref: str, args: str = "-ef") -> docker.ContainerTop:
        """List the container's processes as the host's `ps` shows them."""
        raise NotImplementedError

    def prepare_attach(self, ref: str) -> AttachTarget:
        """Check that an attach is allowed now, before the connection is taken over.

        Raises:
            Conflict: the container is paused or restarting.
        """
        raise NotImplementedError

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
    ) -> None:
        """Hand a connected socket over: the engine duplicates fd, the caller may close its own at once.

        On a created container the socket waits for the start. framed: Docker's 8-byte frames (no
        terminal). logs: replay the log first. detach_keys: `ctrl-p,ctrl-q` form, "" for the default.
        """
        raise NotImplementedError

    def logs(self, ref: str, request: LogRequest) -> LogReader:
        """Open the container's log; the caller closes the reader.

        Raises:
            InvalidArgument: neither stdout nor stderr is wanted.
            Unsupported: the container's log driver keeps nothing.
        """
        raise NotImplementedError

    def on_exit(self, ref: str, condition: WaitCondition, callback: ExitCallback) -> Subscription:
        """Call back once, in a thread of the engine, when the condition is met; at once if it is already.

        Raises:
            InvalidArgument: condition is none of the three.
        """
        raise NotImplementedError

    def inspect(self, ref: str, *, size: bool = False) -> docker.ContainerInspect:
        """Tell everything about a container, in the shape of API 1.51."""
        raise NotImplementedError

    def prune(self, filters: Filters | None = None) -> docker.ContainersPrune:
        """Remove every container that does not run and matches."""
        raise NotImplementedError

    def stats(self, ref: str) -> docker.ContainerStats:
        """Read one sample of the container's resource use; `precpu_stats` is left zero.

        A container that does not run gives its id and name only.
        """
        raise NotImplementedError

    def explain(self, ref: str) -> Steps:
        """Return the steps that started the container: `{"step", "detail", "us"}`, in order."""
        raise NotImplementedError

    def anatomy(self, ref: str) -> dict[str, object]:
        """Read the running container back from the kernel: what it sees, what it may use, what it is."""
        raise NotImplementedError

    def list(
        self, *, all: bool = False, limit: int = 0, size: bool = False, filters: Filters | None = None
    ) -> Summaries:
        """List containers, newest first; running ones only unless all, limit or a status filter say else.

        Raises:
            InvalidArgument: an unknown filter, or a bad value for one.
        """
        raise NotImplementedError
