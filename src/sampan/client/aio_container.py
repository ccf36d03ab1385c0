"""One container for asyncio: the same names as `Container`, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from sampan.client.aio_threads import AsyncDownload, Threads
from sampan.client.api import JsonLines
from sampan.client.archives import Archive, Data
from sampan.client.attachment import Attachment
from sampan.client.container import Container, LogWishes, read_wait
from sampan.client.execs import Exec
from sampan.client.stats import Stats
from sampan.client.streams import Output
from sampan.client.values import Change, Document, Finished, PathStat


class AsyncContainer:
    """One container; `value` holds its id, name, image, state and labels as they were."""

    def __init__(self, value: Container, threads: Threads) -> None:
        self.value = value
        self._threads = threads

    async def start(self) -> None:
        """Start it; one that runs already is fine."""
        await self._threads.run(self.value.start)

    async def stop(self, *, timeout_s: int | None = None, signal: str = "") -> None:
        """Ask it to end, and end it after timeout_s."""
        await self._threads.run(self.value.stop, timeout_s=timeout_s, signal=signal)

    async def restart(self, *, timeout_s: int | None = None, signal: str = "") -> None:
        """Stop it and start it again."""
        await self._threads.run(self.value.restart, timeout_s=timeout_s, signal=signal)

    async def kill(self, signal: str = "KILL") -> None:
        """Send a signal to its first process."""
        await self._threads.run(self.value.kill, signal)

    async def pause(self) -> None:
        """Freeze its processes."""
        await self._threads.run(self.value.pause)

    async def unpause(self) -> None:
        """Let its processes go on."""
        await self._threads.run(self.value.unpause)

    async def rename(self, name: str) -> None:
        """Give it another name."""
        await self._threads.run(self.value.rename, name)

    async def update(self, changes: Document) -> Sequence[str]:
        """Change limits or the restart policy, by the API's names; return the daemon's warnings."""
        return await self._threads.run(self.value.update, changes)

    async def wait(self, condition: str = "not-running", *, timeout_s: float | None = None) -> int:
        """Wait until it is `not-running`, `next-exit` or `removed`, and return its exit code."""
        answer = await self._threads.run(self.value.open_wait, condition)
        try:
            return await self._threads.read(answer, lambda: read_wait(answer, timeout_s=timeout_s))
        finally:
            answer.close()

    async def wait_healthy(self, *, timeout_s: float = 60.0) -> None:
        """Wait until its health check succeeds."""
        await self._threads.run(self.value.wait_healthy, timeout_s=timeout_s)

    async def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it; force ends it first, and makes a missing one no error."""
        await self._threads.run(self.value.remove, force=force, volumes=volumes)

    async def inspect(self, *, size: bool = False) -> Document:
        """Return everything the daemon knows about it."""
        return await self._threads.run(self.value.inspect, size=size)

    async def top(self, ps_options: str = "") -> list[dict[str, str]]:
        """Return its processes, each as a mapping from ps(1)'s column titles."""
        return await self._threads.run(self.value.top, ps_options)

    async def stats(self) -> Stats:
        """Return what it uses now."""
        return await self._threads.run(self.value.stats)

    async def stats_stream(self) -> AsyncIterator[Stats]:
        """Yield what it uses, about once a second; leaving the loop ends the request."""
        path, lines = f"/containers/{self.value.id}/stats", JsonLines()
        async with await self._threads.open(self.value.client, "GET", path, [("stream", "1")]) as answer:
            async for piece in answer:
                for document in lines.feed(piece):
                    yield Stats.read(document)

    async def diff(self) -> list[Change]:
        """Return the paths that differ from the image."""
        return await self._threads.run(self.value.diff)

    async def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: str = "",
        until: str = "",
        timestamps: bool = False,
        stdout: bool = True,
        stderr: bool = True,
    ) -> AsyncIterator[Output]:
        """Yield what it has written, and with follow what it writes, until it stops."""
        wanted = LogWishes(follow, tail, since, until, timestamps, stdout, stderr)
        path = f"/containers/{self.value.id}/logs"
        async with await self._threads.open(self.value.client, "GET", path, wanted.query()) as answer:
            splitter = await self._threads.run(self.value.log_splitter, answer.value.response)
            async for piece in answer:
                for output in splitter.feed(piece):
                    yield output

    async def create_exec(
        self,
        command: Sequence[str],
        *,
        stdin: bool = False,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        working_dir: str = "",
        privileged: bool = False,
        tty: bool = False,
    ) -> AsyncExec:
        """Describe a process to run inside; it does not run yet."""
        made = await self._threads.run(
            self.value.create_exec,
            command,
            stdin=stdin,
            environment=environment,
            user=user,
            working_dir=working_dir,
            privileged=privileged,
            tty=tty,
        )
        return AsyncExec(made, self._threads)

    async def exec(
        self,
        command: Sequence[str],
        *,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        working_dir: str = "",
        privileged: bool = False,
    ) -> Finished:
        """Run a command inside and return how it ended and what it wrote."""
        return await self._threads.run(
            self.value.exec,
            command,
            stdin=stdin,
            environment=environment,
            user=user,
            working_dir=working_dir,
            privileged=privileged,
        )

    async def attach(self, *, logs: bool = False) -> AsyncAttachment:
        """Return the streams of its first process; the caller closes them."""
        return AsyncAttachment(await self._threads.run(self.value.attach, logs=logs), self._threads)

    async def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size."""
        await self._threads.run(self.value.resize, rows, columns)

    async def run(
        self, stdin: bytes | None = None, *, removed: bool = False, framed: bool = True
    ) -> Finished:
        """Start it with our streams attached and return how it ended."""
        return await self._threads.run(self.value.run, stdin, removed=removed, framed=framed)

    async def get_archive(self, path: str) -> AsyncArchive:
        """Return a path as a tar archive; the caller closes it."""
        return AsyncArchive(await self._threads.run(self.value.get_archive, path), self._threads)

    async def put_archive(self, path: str, archive: Data, *, keep_owners: bool = True) -> None:
        """Unpack a tar archive into the directory path."""
        await self._threads.run(self.value.put_archive, path, archive, keep_owners=keep_owners)

    async def path_stat(self, path: str) -> PathStat:
        """Return what a path is."""
        return await self._threads.run(self.value.path_stat, path)

    async def read_file(self, path: str) -> bytes:
        """Return the content of a file; links are followed."""
        return await self._threads.run(self.value.read_file, path)

    async def write_file(
        self, path: str, data: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        """Write a file; its directory exists."""
        await self._threads.run(self.value.write_file, path, data, mode=mode, uid=uid, gid=gid)

    async def export(self) -> AsyncDownload:
        """Return the whole file system as a tar archive; the caller closes it."""
        return AsyncDownload(await self._threads.run(self.value.export), self._threads)

    async def commit(
        self,
        repository: str = "",
        tag: str = "",
        *,
        message: str = "",
        author: str = "",
        changes: Iterable[str] = (),
        pause: bool = True,
    ) -> str:
        """Make an image of it; return the image's id."""
        return await self._threads.run(
            self.value.commit,
            repository,
            tag,
            message=message,
            author=author,
            changes=changes,
            pause=pause,
        )


class AsyncArchive(AsyncDownload):
    """A tar archive of a path inside a container. stat: what the path is."""

    def __init__(self, value: Archive, threads: Threads) -> None:
        super().__init__(value, threads)
        self.stat = value.stat

    async def __aenter__(self) -> AsyncArchive:
        return self


@dataclass(frozen=True, slots=True)
class AsyncExec:
    """A process that was described to the daemon; `start`, `attach` or `run` starts it, once."""

    value: Exec
    threads: Threads

    async def start(self) -> None:
        """Start it and leave it alone."""
        await self.threads.run(self.value.start)

    async def attach(self) -> AsyncAttachment:
        """Start it and return its streams; the caller closes them."""
        return AsyncAttachment(await self.threads.run(self.value.attach), self.threads)

    async def run(self, stdin: bytes = b"") -> Finished:
        """Start it, give it all its input, and return how it ended."""
        return await self.threads.run(self.value.run, stdin)

    async def inspect(self) -> Document:
        """Return everything the daemon knows about it."""
        return await self.threads.run(self.value.inspect)

    async def exit_code(self) -> int | None:
        """Return its exit code; None while it runs, and before."""
        return await self.threads.run(self.value.exit_code)

    async def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size."""
        await self.threads.run(self.value.resize, rows, columns)


class AsyncAttachment:
    """Standard input and output of a process: `async for` the output, within `async with`."""

    def __init__(self, value: Attachment, threads: Threads) -> None:
        self.value = value
        self._threads = threads

    async def __aenter__(self) -> AsyncAttachment:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[Output]:
        while piece := await self._threads.read(self.value, self.value.read_some):
            for output in self.value.split(piece):
                yield output

    async def read_all(self) -> tuple[bytes, bytes]:
        """Return all that is left of standard output and error."""
        return await self._threads.read(self.value, self.value.read_all)

    async def write(self, data: bytes) -> None:
        """Send input."""
        await self._threads.read(self.value, lambda: self.value.write(data))

    def close_stdin(self) -> None:
        """Tell the process that its input has ended; output goes on."""
        self.value.close_stdin()

    def close(self) -> None:
        """Leave the process alone; it goes on."""
        self.value.abort()
        self.value.close()
