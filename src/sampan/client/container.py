"""One container: its life, what can be seen of it, its processes, its files."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sampan import fastjson
from sampan.client.archives import Archive, Data, Download, pack_file, path_stat, pieces_of, unpack_file
from sampan.client.attachment import Attachment
from sampan.client.execs import Exec
from sampan.client.http import Response
from sampan.client.stats import Stats
from sampan.client.streams import Output, Splitter, exchange, framing
from sampan.client.values import Change, Document, Finished, PathStat, as_document, as_documents
from sampan.errors import NotFound, NotModified, SampanError, TimedOut, Unavailable

if TYPE_CHECKING:
    from sampan.client.api import Client
    from sampan.fastjson import JsonValue

Query = list[tuple[str, str]]
_LOOK_S: Final = 0.05  # between two looks at a health state


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container as it was when it was asked for; the methods speak of what it is now.

    Each of them raises NotFound once the container is gone.
    """

    id: str
    name: str
    image: str
    state: str  # created running paused restarting removing exited dead
    labels: Mapping[str, str]
    client: Client = field(repr=False, compare=False)

    # Its life

    def start(self) -> None:
        """Start it; one that runs already is fine."""
        self._change("start")

    def stop(self, *, timeout_s: int | None = None, signal: str = "") -> None:
        """Ask it to end, and end it after timeout_s: None for its own choice, -1 to wait for ever."""
        self._change("stop", _stop_query(timeout_s, signal))

    def restart(self, *, timeout_s: int | None = None, signal: str = "") -> None:
        """Stop it and start it again."""
        self._change("restart", _stop_query(timeout_s, signal))

    def kill(self, signal: str = "KILL") -> None:
        """Send a signal to its first process.

        Raises:
            Conflict: it does not run.
        """
        self._change("kill", [("signal", signal)])

    def pause(self) -> None:
        """Freeze its processes."""
        self._change("pause")

    def unpause(self) -> None:
        """Let its processes go on."""
        self._change("unpause")

    def rename(self, name: str) -> None:
        """Give it another name. This value keeps the old one."""
        self._change("rename", [("name", name)])

    def update(self, changes: Document) -> Sequence[str]:
        """Change limits or the restart policy, by the API's names; return the daemon's warnings."""
        warnings = as_document(self.client.call("POST", self._path("update"), body=changes)).get("Warnings")
        return [str(text) for text in warnings] if isinstance(warnings, list) else []

    def wait(self, condition: str = "not-running", *, timeout_s: float | None = None) -> int:
        """Wait until it is `not-running`, `next-exit` or `removed`, and return its exit code.

        Raises:
            TimedOut: it was not within timeout_s.
        """
        with self.open_wait(condition) as answer:
            return read_wait(answer, timeout_s=timeout_s)

    def open_wait(self, condition: str) -> Download:
        """Return the answer of `/wait` unread; the caller closes it."""
        query = [("condition", condition)]
        return Download(self.client.open_stream("POST", self._path("wait"), query, patient=True))

    def wait_healthy(self, *, timeout_s: float = 60.0) -> None:
        """Wait until its health check succeeds.

        Raises:
            TimedOut: it did not within timeout_s.
            Unavailable: it is unhealthy, has ended, or has no health check.
        """
        deadline = time.monotonic() + timeout_s
        while (health := self._health()) != "healthy":
            if health != "starting":
                raise Unavailable(f"container {self.name or self.id[:12]} is {health}")
            if time.monotonic() > deadline:
                raise TimedOut(f"container {self.name or self.id[:12]} was not healthy in {timeout_s:g} s")
            time.sleep(_LOOK_S)

    def _health(self) -> str:
        state = as_document(self.inspect().get("State"))
        if not state.get("Running"):
            return str(state.get("Status"))
        return str(as_document(state.get("Health")).get("Status") or "without a health check")

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it; force ends it first, and makes a missing one no error. volumes: anonymous ones too.

        Raises:
            Conflict: it runs, and force is not given.
        """
        query = _flags(force=force, v=volumes)
        try:
            self.client.call("DELETE", f"/containers/{self.id}", query, patient=True)
        except NotFound:
            if not force:
                raise

    # What can be seen of it

    def inspect(self, *, size: bool = False) -> Document:
        """Return everything the daemon knows about it, as `/containers/{id}/json` has it."""
        return as_document(self.client.call("GET", self._path("json"), _flags(size=size), patient=size))

    def top(self, ps_options: str = "") -> list[dict[str, str]]:
        """Return its processes, each as a mapping from ps(1)'s column titles."""
        query = [("ps_args", ps_options)] if ps_options else []
        answer = as_document(self.client.call("GET", self._path("top"), query))
        titles, rows = answer.get("Titles"), answer.get("Processes")
        names = [str(title) for title in titles] if isinstance(titles, list) else []
        cells = [row for row in rows if isinstance(row, list)] if isinstance(rows, list) else []
        return [dict(zip(names, (str(cell) for cell in row), strict=False)) for row in cells]

    def stats(self) -> Stats:
        """Return what it uses now; takes a second, since a share of the processor is one of a time."""
        query = [("stream", "0")]
        return Stats.read(as_document(self.client.call("GET", self._path("stats"), query)))

    def stats_stream(self) -> Iterator[Stats]:
        """Yield what it uses, about once a second; closing the iterator ends the request."""
        for document in self.client.documents("GET", self._path("stats"), [("stream", "1")]):
            yield Stats.read(document)

    def diff(self) -> list[Change]:
        """Return the paths that differ from the image."""
        found = self.client.call("GET", self._path("changes"), patient=True)
        return [Change.read(item) for item in as_documents(found)]

    def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: str = "",
        until: str = "",
        timestamps: bool = False,
        stdout: bool = True,
        stderr: bool = True,
    ) -> Iterator[Output]:
        """Yield what it has written, and with follow what it writes, until it stops.

        tail: the last lines only. since, until: unix times with a fraction, as texts.
        """
        wanted = LogWishes(follow, tail, since, until, timestamps, stdout, stderr)
        response = self.open_logs(wanted)
        try:
            splitter = self.log_splitter(response)
            while piece := response.read_some():
                yield from splitter.feed(piece)
        finally:
            response.close()

    def open_logs(self, wanted: LogWishes) -> Response:
        """Return the answer of `/logs` unread; the caller closes it."""
        return self.client.open_stream("GET", self._path("logs"), wanted.query(), patient=wanted.follow)

    def log_splitter(self, response: Response) -> Splitter:
        """Return what takes the pieces of an answer of `/logs` apart."""
        return Splitter(framed=self._framed(response.headers))

    # Its processes

    def create_exec(
        self,
        command: Sequence[str],
        *,
        stdin: bool = False,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        working_dir: str = "",
        privileged: bool = False,
        tty: bool = False,
    ) -> Exec:
        """Describe a process to run inside; it does not run yet. stdin: it can be given input.

        Raises:
            Conflict: the container does not run.
        """
        body: Document = {
            "Cmd": list(command),
            "AttachStdin": stdin,
            "AttachStdout": True,
            "AttachStderr": True,
            "Env": [f"{name}={value}" for name, value in (environment or {}).items()],
            "User": user,
            "WorkingDir": working_dir,
            "Privileged": privileged,
            "Tty": tty,
        }
        made = as_document(self.client.call("POST", self._path("exec"), body=body))
        return Exec(id=str(made["Id"]), tty=tty, client=self.client)

    def exec(
        self,
        command: Sequence[str],
        *,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        working_dir: str = "",
        privileged: bool = False,
    ) -> Finished:
        """Run a command inside and return how it ended and what it wrote.

        Raises:
            Conflict: the container does not run.
        """
        made = self.create_exec(
            command,
            stdin=stdin is not None,
            environment=environment,
            user=user,
            working_dir=working_dir,
            privileged=privileged,
        )
        return made.run(stdin or b"")

    def attach(self, *, logs: bool = False) -> Attachment:
        """Return the streams of its first process; the caller closes them. logs: what it wrote before, too.

        Input takes a container made with `open_stdin`. One that does not run yet may be attached to.
        """
        query = _flags(stream=True, stdin=True, stdout=True, stderr=True, logs=logs)
        with self.client.session() as session:
            stream = session.hijack("POST", self._path("attach"), query)
        try:
            return Attachment(stream, framed=self._framed(stream.headers, says_raw_always=True))
        except BaseException:
            stream.sock.close()
            raise

    def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size."""
        self._change("resize", [("h", str(rows)), ("w", str(columns))])

    def run(self, stdin: bytes | None = None, *, removed: bool = False, framed: bool = True) -> Finished:
        """Start it with our streams attached and return how it ended. removed: it removes itself then."""
        with self.client.session() as session:
            query = _flags(stream=True, stdout=True, stderr=True, stdin=stdin is not None)
            stream = session.hijack("POST", self._path("attach"), query)
            # Opened before the start, so that no exit is missed.
            waiting = self.open_wait("removed" if removed else "next-exit")
            try:
                session.call("POST", self._path("start"))
            except SampanError:
                stream.sock.close()
                waiting.close()
                raise
        with waiting:
            stdout, stderr = exchange(stream, stdin or b"", framed=framed)
            return Finished(exit_code=read_wait(waiting), stdout=stdout, stderr=stderr)

    # Its files

    def get_archive(self, path: str) -> Archive:
        """Return a path as a tar archive, whose names begin with the path's last part; the caller closes it.

        Raises:
            NotFound: there is no such path.
        """
        return Archive(self.client.open_stream("GET", self._path("archive"), [("path", path)], patient=True))

    def put_archive(self, path: str, archive: Data, *, keep_owners: bool = True) -> None:
        """Unpack a tar archive, plain or compressed, into the directory path. keep_owners: those it names.

        Raises:
            NotFound: there is no such directory. InvalidArgument: path or archive is wrong.
        """
        query = [("path", path), ("noOverwriteDirNonDir", "1")]
        if not keep_owners:
            query.append(("copyUIDGID", "0"))
        response = self.client.open_stream(
            "PUT",
            self._path("archive"),
            query,
            chunks=pieces_of(archive),
            headers=[("Content-Type", "application/x-tar")],
            patient=True,
        )
        response.close()

    def path_stat(self, path: str) -> PathStat:
        """Return what a path is.

        Raises:
            NotFound: there is no such path.
        """
        response = self.client.open_stream("HEAD", self._path("archive"), [("path", path)])
        response.close()
        return path_stat(response)

    def read_file(self, path: str) -> bytes:
        """Return the content of a file; links are followed.

        Raises:
            NotFound: there is no such path. InvalidArgument: it is no ordinary file.
        """
        found = self.path_stat(path)
        with self.get_archive(found.link_target or path) as archive:
            return unpack_file(archive, path)

    def write_file(self, path: str, data: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Write a file; its directory exists.

        Raises:
            NotFound: there is no such directory.
        """
        folder, _, name = path.rpartition("/")
        self.put_archive(folder or "/", pack_file(name, data, mode=mode, uid=uid, gid=gid))

    def export(self) -> Download:
        """Return the whole file system as a tar archive; the caller closes it."""
        return Download(self.client.open_stream("GET", self._path("export"), patient=True))

    def commit(
        self,
        repository: str = "",
        tag: str = "",
        *,
        message: str = "",
        author: str = "",
        changes: Iterable[str] = (),
        pause: bool = True,
    ) -> str:
        """Make an image of it; return the image's id. changes: instructions such as `ENV A=b`."""
        query = [("container", self.id), ("repo", repository), ("tag", tag), ("comment", message)]
        query += [("author", author), ("pause", "1" if pause else "0")]
        query += [("changes", text) for text in changes]
        made = as_document(self.client.call("POST", "/commit", query, body={}, patient=True))
        return str(made["Id"])

    def _framed(self, headers: Mapping[str, str], *, says_raw_always: bool = False) -> bool:
        """Tell whether a stream of this container has frames: not with a terminal.

        says_raw_always: before API 1.42 the answer of an attach was called raw in every case.
        """
        known = framing(headers)
        if known or (known is False and not says_raw_always):
            return known
        return not as_document(self.inspect().get("Config")).get("Tty")

    def _change(self, verb: str, query: Sequence[tuple[str, str]] = ()) -> None:
        try:
            self.client.call("POST", self._path(verb), query, patient=True)
        except NotModified:
            pass  # it is as wanted already

    def _path(self, verb: str) -> str:
        return f"/containers/{self.id}/{verb}"


@dataclass(frozen=True, slots=True)
class LogWishes:
    """What of a log is wanted, as `Container.logs` takes it."""

    follow: bool = False
    tail: int | None = None
    since: str = ""
    until: str = ""
    timestamps: bool = False
    stdout: bool = True
    stderr: bool = True

    def query(self) -> Query:
        """Return it as the API takes it."""
        chosen = _flags(
            stdout=self.stdout, stderr=self.stderr, follow=self.follow, timestamps=self.timestamps
        )
        chosen.append(("tail", "all" if self.tail is None else str(self.tail)))
        return chosen + [(key, text) for key, text in (("since", self.since), ("until", self.until)) if text]


def read_wait(answer: Download, *, timeout_s: float | None = None) -> int:
    """Return the exit code in an answer of `/wait`.

    Raises:
        TimedOut: the container did not end within timeout_s.
    """
    answer.limit(timeout_s)
    found = as_document(fastjson.loads(answer.read_all()))
    problem = as_document(found.get("Error")).get("Message")
    if problem:
        raise SampanError(str(problem))
    return _exit_code(found.get("StatusCode"))


def _flags(**chosen: bool) -> Query:
    return [(name, "1") for name, wanted in chosen.items() if wanted]


def _stop_query(timeout_s: int | None, signal: str) -> Query:
    query = [("t", str(timeout_s))] if timeout_s is not None else []
    return [*query, ("signal", signal)] if signal else query


def _exit_code(value: JsonValue) -> int:
    if not isinstance(value, int):
        raise SampanError("the daemon did not say how the process ended")
    return value
