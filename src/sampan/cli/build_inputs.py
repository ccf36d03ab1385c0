"""What `sampan build` gives a build beside the directory: secrets, SSH agents, named contexts. Lean."""

from __future__ import annotations

import os
import stat

from sampan.cli.outcome import Failed, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from sampan.client.build_door import Inputs
    from sampan.lean import Undo

_MAX_SECRET = 500 * 1024  # BuildKit's
_IMAGE = "docker-image://"
_REMOTE = ("http://", "https://", "git://", "ssh://", "git@")


def read_secrets(texts: Sequence[str]) -> dict[str, bytes]:
    """Read `--secret id=NAME[,src=FILE|,env=VARIABLE]`; without a source a variable or file of that name.

    Raises:
        UsageError: a text is malformed. Failed: a secret cannot be read.
    """
    return dict(_read_secret(text) for text in texts)


def _read_secret(text: str) -> tuple[str, bytes]:
    fields = _fields(text, option="--secret", known=("id", "src", "source", "env", "type"))
    name, kind = fields.get("id", ""), fields.get("type", "")
    file = fields.get("src") or fields.get("source") or ""
    variable = fields.get("env", "")
    if kind == "env" and file and not variable:
        file, variable = "", file
    if not name or kind not in ("", "file", "env"):
        raise UsageError(f"--secret {text!r}: write id=NAME,src=FILE or id=NAME,env=VARIABLE")
    if not file and not variable:
        variable, file = (name, "") if kind != "file" and name in os.environ else ("", name)
    if variable:
        if variable not in os.environ:
            raise Failed(f"secret {name}: environment variable {variable} is not set")
        value = os.environb[os.fsencode(variable)]
    else:
        try:
            with open(file, "rb") as opened:
                value = opened.read(_MAX_SECRET + 1)
        except OSError as exc:
            raise Failed(f"secret {name}: {file}: {exc.strerror}") from exc
    if len(value) > _MAX_SECRET:
        raise Failed(f"secret {name} is larger than {_MAX_SECRET} bytes")
    return name, value


def _fields(text: str, *, option: str, known: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in _split(text):
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if not equals or key not in known:
            raise UsageError(f"{option} {text!r}: {part!r} is none of {', '.join(known)}")
        found[key] = value
    return found


class OpenAgents:
    """SSH agents of `--ssh`; sockets: by id. Keys have an agent of their own, until `close`."""

    def __init__(self) -> None:
        self.sockets: dict[str, str] = {}
        self._started: list[tuple[subprocess.Popen[bytes], str]] = []

    def add(self, text: str) -> None:
        """Add what `ID[=SOCKET|KEY,…]` means.

        Raises:
            Failed: there is no agent, or a key cannot be used.
        """
        name, _, value = text.partition("=")
        paths = value.split(",") if value else [os.environ.get("SSH_AUTH_SOCK", "")]
        if not paths[0]:
            raise Failed(
                f"--ssh {text}: SSH_AUTH_SOCK is not set", hint=f"start ssh-agent, or --ssh {name}=KEY"
            )
        if len(paths) == 1 and _is_socket(paths[0]):
            self.sockets[name] = os.path.realpath(paths[0])
            return
        import tempfile

        folder = tempfile.mkdtemp(prefix="sampan-ssh-")
        self._started.append((_start_agent(folder), folder))
        _add_keys(f"{folder}/agent", paths)
        self.sockets[name] = f"{folder}/agent"

    def close(self) -> None:
        """End the agents that were started here."""
        import shutil

        while self._started:
            agent, folder = self._started.pop()
            agent.terminate()
            agent.wait()
            shutil.rmtree(folder, ignore_errors=True)


def open_agents(texts: Sequence[str]) -> OpenAgents:
    """Read every `--ssh`.

    Raises:
        Failed: see `OpenAgents.add`.
    """
    agents = OpenAgents()
    try:
        for text in texts:
            agents.add(text)
    except BaseException:
        agents.close()
        raise
    return agents


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError as exc:
        raise Failed(f"--ssh: {path}: {exc.strerror}") from exc


def _start_agent(folder: str) -> subprocess.Popen[bytes]:
    import subprocess

    try:
        agent = subprocess.Popen(
            ["ssh-agent", "-D", "-a", f"{folder}/agent"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        os.rmdir(folder)
        raise Failed("--ssh with a key needs ssh-agent", hint="install openssh-client") from None
    assert agent.stdout is not None
    agent.stdout.readline()  # it listens when it has told where
    return agent


def _add_keys(agent: str, paths: Sequence[str]) -> None:
    import subprocess

    environment = {**os.environ, "SSH_AUTH_SOCK": agent, "SSH_ASKPASS_REQUIRE": "never"}
    for path in paths:
        added = subprocess.run(
            ["ssh-add", "-q", path],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if added.returncode:
            said = added.stderr.decode(errors="replace").strip()
            raise Failed(f"--ssh: key {path} cannot be used: {said}")


def read_cache_folders(froms: Sequence[str], tos: Sequence[str], inputs: Inputs, held: Undo) -> None:
    """Find the directories of `type=local` caches: `src` of those to be read, `dest` of those to be written.

    A directory to be written is made where it is missing, and removed if nothing came into it.

    Raises:
        UsageError: a directory is missing, or cannot be made.
    """
    for option, key, texts in (("--cache-from", "src", froms), ("--cache-to", "dest", tos)):
        for text in texts:
            fields = dict(part.partition("=")[::2] for part in _split(text))
            if fields.get("type") != "local" or not fields.get(key):
                continue  # the daemon says what is wrong
            folder = fields[key]
            if key == "dest" and not os.path.isdir(folder):
                _make_folder(folder, option, held)
            if not os.path.isdir(folder):
                raise UsageError(f"{option} {text!r}: {folder!r} is no directory", code=1)
            inputs.caches.append(folder)


def _make_folder(folder: str, option: str, held: Undo) -> None:
    try:
        os.makedirs(folder)
    except OSError as exc:
        raise UsageError(f"{option}: {folder}: {exc.strerror}", code=1) from exc
    held.add(_remove_empty, folder)


def _remove_empty(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        pass  # there is a cache in it


def _split(text: str) -> list[str]:
    import csv

    return next(csv.reader([text]), [])


def read_contexts(texts: Sequence[str]) -> dict[str, str]:
    """Read `--build-context NAME=PLACE`.

    Raises:
        UsageError: a text is malformed, or a place is none that is known.
    """
    found = {}
    for text in texts:
        name, equals, place = text.partition("=")
        if not equals or not name or not place:
            raise UsageError(
                f"--build-context {text!r}: write NAME=DIRECTORY, NAME=URL or NAME={_IMAGE}IMAGE"
            )
        if place_of(place) is None and not os.path.isdir(place):
            raise UsageError(f"--build-context {name}: {place!r} is no directory", code=1)
        found[name] = place
    return found


def place_of(place: str) -> tuple[str, str] | None:
    """Return what a context is for the API, None for a directory."""
    if place.startswith(_IMAGE):
        return "Image", place.removeprefix(_IMAGE)
    return ("Url", place) if place.startswith(_REMOTE) else None
