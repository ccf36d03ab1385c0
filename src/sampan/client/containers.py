"""Containers of a daemon: make, run, find, and what can be done with one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sampan.client.api import Client, Document, Filters, as_document, as_documents, encode_filters
from sampan.client.http import Response, quote
from sampan.client.options import ContainerOptions
from sampan.client.streams import Output, exchange, read_output
from sampan.errors import NotFound, NotModified, SampanError

if TYPE_CHECKING:
    from sampan.fastjson import JsonValue

_DEFAULT = ContainerOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a process ended: its code (128 + n after signal n), and what it wrote."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Containers:
    """`client.containers`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self, image: str, command: Sequence[str] = (), options: ContainerOptions = _DEFAULT
    ) -> Container:
        """Make a container; it does not run yet.

        Raises:
            NotFound: no such image. Conflict: the name is in use. InvalidArgument: an option is wrong.
        """
        return self._create(options.to_body(image, command), options)

    def start(
        self, image: str, command: Sequence[str] = (), options: ContainerOptions = _DEFAULT
    ) -> Container:
        """Make a container, start it, and leave it running."""
        container = self.create(image, command, options)
        container.start()
        return container

    def run(
        self,
        image: str,
        command: Sequence[str] = (),
        options: ContainerOptions = _DEFAULT,
        *,
        stdin: bytes | None = None,
    ) -> Finished:
        """Make a container, run it to its end, and return what it wrote.

        Raises:
            SampanError: it could not be made or started; a container that could not be started is removed
                if auto_remove was asked for.
        """
        body = options.to_body(image, command)
        body |= {"AttachStdin": stdin is not None, "AttachStdout": True, "AttachStderr": True}
        if stdin is not None:
            body |= {"OpenStdin": True, "StdinOnce": True}
        container = self._create(body, options)
        return container.run(stdin, removed=options.auto_remove, framed=not options.tty)

    def get(self, reference: str) -> Container:
        """Return the container of that name, id, or unique start of an id.

        Raises:
            NotFound: there is none.
        """
        found = as_document(self._client.call("GET", f"/containers/{quote(reference)}/json"))
        config = as_document(found.get("Config"))
        return Container(
            client=self._client,
            id=str(found["Id"]),
            name=str(found.get("Name")).removeprefix("/"),
            image=str(config.get("Image")),
            state=str(as_document(found.get("State")).get("Status")),
            labels=_labels(config.get("Labels")),
        )

    def list(self, *, all: bool = False, filters: Filters | None = None) -> list[Container]:
        """Return containers, newest first; only running ones unless all or a filter says else."""
        query = [("all", "1")] if all else []
        found = self._client.call("GET", "/containers/json", [*query, *encode_filters(filters)])
        return [self._listed(item) for item in as_documents(found)]

    def _listed(self, item: Document) -> Container:
        names = item.get("Names")
        first = str(names[0]) if isinstance(names, list) and names else ""
        return Container(
            client=self._client,
            id=str(item["Id"]),
            name=first.removeprefix("/"),
            image=str(item.get("Image")),
            state=str(item.get("State")),
            labels=_labels(item.get("Labels")),
        )

    def _create(self, body: Document, options: ContainerOptions) -> Container:
        query = [
            (key, value) for key, value in (("name", options.name), ("platform", options.platform)) if value
        ]
        made = as_document(self._client.call("POST", "/containers/create", query, body=body))
        return Container(
            client=self._client,
            id=str(made["Id"]),
            name=options.name,
            image=str(body["Image"]),
            state="created",
            labels=dict(options.labels),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container as it was when it was asked for; the methods speak of what it is now."""

    id: str
    name: str
    image: str
    state: str  # created running paused restarting removing exited dead
    labels: Mapping[str, str]
    client: Client = field(repr=False, compare=False)

    def inspect(self) -> Document:
        """Return everything the daemon knows about it, as `/containers/{id}/json` has it."""
        return as_document(self.client.call("GET", self._path("json")))

    def start(self) -> None:
        """Start it; one that runs already is fine."""
        self._change("start")

    def stop(self, *, timeout_s: int | None = None, signal: str = "") -> None:
        """Ask it to end, and end it after timeout_s: None for its own choice, -1 to wait for ever."""
        query = [("t", str(timeout_s))] if timeout_s is not None else []
        self._change("stop", [*query, ("signal", signal)] if signal else query)

    def restart(self, *, timeout_s: int | None = None) -> None:
        """Stop it and start it again."""
        self._change("restart", [("t", str(timeout_s))] if timeout_s is not None else [])

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

    def wait(self) -> int:
        """Wait until it does not run, and return its exit code."""
        answer = as_document(self.client.call("POST", self._path("wait")))
        return _exit_code(answer.get("StatusCode"))

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it; force ends it first, and makes a missing one no error.

        Raises:
            Conflict: it runs, and force is not given.
        """
        query = [(key, "1") for key, wanted in (("force", force), ("v", volumes)) if wanted]
        try:
            self.client.call("DELETE", f"/containers/{self.id}", query)
        except NotFound:
            if not force:
                raise

    def logs(
        self, *, follow: bool = False, tail: int | None = None, timestamps: bool = False
    ) -> Iterator[Output]:
        """Yield what it has written, and with follow what it writes, until it stops."""
        response = self.open_logs(follow=follow, tail=tail, timestamps=timestamps)
        try:
            yield from read_output(response)
        finally:
            response.close()

    def open_logs(
        self, *, follow: bool = False, tail: int | None = None, timestamps: bool = False
    ) -> Response:
        """Return the answer of `/logs` unread; the caller closes it."""
        query = [("stdout", "1"), ("stderr", "1"), ("tail", "all" if tail is None else str(tail))]
        query += [(key, "1") for key, wanted in (("follow", follow), ("timestamps", timestamps)) if wanted]
        return self.client.open_stream("GET", self._path("logs"), query)

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
        """Run a command inside and return what it wrote.

        Raises:
            Conflict: it does not run.
        """
        body: Document = {
            "Cmd": list(command),
            "AttachStdin": stdin is not None,
            "AttachStdout": True,
            "AttachStderr": True,
            "Env": [f"{name}={value}" for name, value in (environment or {}).items()],
            "User": user,
            "WorkingDir": working_dir,
            "Privileged": privileged,
        }
        with self.client.session() as session:
            made = as_document(session.call("POST", self._path("exec"), body=body))
            path = f"/exec/{quote(str(made['Id']))}"
            stream = session.hijack("POST", f"{path}/start", body={"Detach": False, "Tty": False})
            stdout, stderr = exchange(stream, stdin or b"", framed=True)
            ended = as_document(session.call("GET", f"{path}/json"))
        return Finished(exit_code=_exit_code(ended.get("ExitCode")), stdout=stdout, stderr=stderr)

    def top(self) -> list[dict[str, str]]:
        """Return its processes, each as a mapping from ps(1)'s column titles."""
        answer = as_document(self.client.call("GET", self._path("top")))
        titles, rows = answer.get("Titles"), answer.get("Processes")
        names = [str(title) for title in titles] if isinstance(titles, list) else []
        cells = [row for row in rows if isinstance(row, list)] if isinstance(rows, list) else []
        return [dict(zip(names, (str(cell) for cell in row), strict=False)) for row in cells]

    def run(self, stdin: bytes | None = None, *, removed: bool = False, framed: bool = True) -> Finished:
        """Start it with our streams attached and return how it ended. removed: it removes itself then."""
        with self.client.session() as session:
            streams = [("stream", "1"), ("stdout", "1"), ("stderr", "1")]
            if stdin is not None:
                streams.append(("stdin", "1"))
            stream = session.hijack("POST", self._path("attach"), streams)
            # Opened before the start, so that no exit is missed.
            condition = "removed" if removed else "next-exit"
            waiting = session.open("POST", self._path("wait"), [("condition", condition)])
            try:
                session.call("POST", self._path("start"))
            except SampanError:
                stream.sock.close()
                waiting.close()
                raise
            stdout, stderr = exchange(stream, stdin or b"", framed=framed)
            ended = as_document(_read_json(waiting.read_all()))
            waiting.close()
        return Finished(exit_code=_exit_code(ended.get("StatusCode")), stdout=stdout, stderr=stderr)

    def _change(self, verb: str, query: Sequence[tuple[str, str]] = ()) -> None:
        try:
            self.client.call("POST", self._path(verb), query)
        except NotModified:
            pass  # it is as wanted already

    def _path(self, verb: str) -> str:
        return f"/containers/{self.id}/{verb}"


def _labels(value: JsonValue) -> dict[str, str]:
    return {key: str(text) for key, text in as_document(value).items()}


def _exit_code(value: JsonValue) -> int:
    if not isinstance(value, int):
        raise SampanError("the daemon did not say how the process ended")
    return value


def _read_json(data: bytes) -> JsonValue:
    from sampan import fastjson

    return fastjson.loads(data)
