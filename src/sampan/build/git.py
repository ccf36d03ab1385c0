"""Git repositories as trees, by the system's `git`: one checkout for each commit, kept and shared.

`<folder>/git-<digest of URL, commit, with .git or not>/` is a checkout. git runs with no configuration of the
system's or the user's, no prompt, and only over http, https, git and ssh.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from typing import Final

from sampan.build.confidential import AgentSocket
from sampan.build.host import Cancel
from sampan.build.remotes import GitSource
from sampan.build.request import Agents, Secrets
from sampan.errors import InvalidArgument, NotFound, Unavailable

_FOLDERS: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT_VARIABLES: Final = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_KEPT: Final = 16
_LAST_LINES: Final = 3
_ADVICE: Final = ("Please make sure you have the correct access rights", "and the repository exists.")


class Checkouts:
    """Checkouts below a folder; thread-safe. private: where sockets of agents may lie."""

    def __init__(self, folder: str, private: str) -> None:
        self._folder = folder
        self._private = private
        self._lock = threading.Lock()

    def get(
        self, source: GitSource, *, keep_git: bool, secrets: Secrets, agents: Agents, cancel: Cancel
    ) -> tuple[str, str]:
        """Return a checkout's directory, and its commit.

        Raises:
            NotFound: no such repository or ref. Unavailable: git is not installed, or fails.
        """
        with AgentSocket(agents, self._private) as agent:
            git = _Git(agent, secrets, cancel)
            commit = source.ref if source.is_commit else git.find(source)
            name = hashlib.sha256(f"{source.url}\0{commit}\0{keep_git}".encode()).hexdigest()[:32]
            path = f"{self._folder}/git-{name}"
            with self._lock:
                if not os.path.isdir(path):
                    os.makedirs(self._folder, mode=0o700, exist_ok=True)
                    self._make(git, source, commit, path, keep_git=keep_git)
                os.utime(path)
        return path, commit

    def _make(self, git: _Git, source: GitSource, commit: str, path: str, *, keep_git: bool) -> None:
        made = f"{path}.{os.urandom(4).hex()}"
        os.mkdir(made, 0o755)
        try:
            git.check_out(source, commit, made)
            if not keep_git:
                shutil.rmtree(f"{made}/.git")
            os.rename(made, path)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        with os.scandir(self._folder) as entries:
            found = sorted(
                (entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.name.startswith("git-")
            )
        for _, path in found[:-_KEPT]:
            shutil.rmtree(path, ignore_errors=True)


class _Git:
    """git, ready to be run."""

    def __init__(self, agent: str, secrets: Secrets, cancel: Cancel) -> None:
        self._cancel = cancel
        self._secrets = secrets
        self._environment = {
            "PATH": _FOLDERS,
            "LC_ALL": "C.UTF-8",
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "http:https:git:ssh",
            "GIT_SSH_COMMAND": "ssh -F /dev/null -o BatchMode=yes",
            **{name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
        }
        if agent:
            self._environment["SSH_AUTH_SOCK"] = agent

    def find(self, source: GitSource) -> str:
        """Return the commit that a ref means now."""
        said = self._run(source, ["ls-remote", "--", source.url])
        found = dict(line.split("\t", 1)[::-1] for line in said.splitlines() if "\t" in line)
        ref = source.ref or "HEAD"
        for name in (f"{ref}^{{}}", ref, f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"):
            if name in found:
                return found[name]
        raise NotFound(f"repository {source.url} does not contain ref {ref}")

    def check_out(self, source: GitSource, commit: str, folder: str) -> None:
        """Fetch one commit, and put its files and those of its submodules there."""
        self._run(source, ["init", "-q"], folder)
        self._run(source, ["remote", "add", "origin", source.url], folder)
        try:
            self._run(source, ["fetch", "-q", "--depth=1", "origin", commit], folder)
        except Unavailable:  # a server may refuse commits that no ref names
            self._run(source, ["fetch", "-q", "origin", "+refs/*:refs/remotes/origin/*"], folder)
        self._run(source, ["checkout", "-q", "--detach", commit], folder)
        self._run(source, ["submodule", "update", "-q", "--init", "--recursive", "--depth=1"], folder)

    def _run(self, source: GitSource, arguments: Sequence[str], folder: str = "/") -> str:
        try:
            process = subprocess.Popen(
                ["git", "-c", "core.hooksPath=/dev/null", *arguments],
                cwd=folder,
                env={**self._environment, **self._authorization(source)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                umask=0o022,
            )
        except FileNotFoundError:
            raise Unavailable("git is not installed", hint="install it: apt-get install git") from None
        with process, self._cancel.calling(process.kill):
            out, said = process.communicate()
        if self._cancel.is_set:
            raise InvalidArgument("the build was cancelled")
        if process.returncode:
            why = _reason(said.decode(errors="replace"))
            raise Unavailable(f"cannot fetch {source.url}: git {arguments[0]} failed: {why}")
        return out.decode(errors="replace")

    def _authorization(self, source: GitSource) -> dict[str, str]:
        """Return the header of the secrets GIT_AUTH_TOKEN or GIT_AUTH_HEADER, for this origin only."""
        if not source.url.startswith(("https://", "http://")):
            return {}
        header, token = self._secrets.read("GIT_AUTH_HEADER"), self._secrets.read("GIT_AUTH_TOKEN")
        if header is None and token is None:
            return {}
        basic = base64.b64encode(b"x-access-token:" + (token or b"").strip())
        value = header.strip() if header is not None else b"basic " + basic
        origin = "/".join(source.url.split("/", 3)[:3])
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{origin}/.extraheader",
            "GIT_CONFIG_VALUE_0": f"Authorization: {value.decode(errors='replace')}",
        }


def _reason(said: str) -> str:
    """Return the last lines of what git said, without its advice: what ssh said stands before that."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and line.strip() not in _ADVICE]
    return " / ".join(lines[-_LAST_LINES:])
