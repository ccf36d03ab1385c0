"""Run the script with the real docker command against both daemons, and show what differs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.compare import contexts
from tests.compare.cli_script import script
from tests.compare.cli_steps import Step
from tests.compare.known import CLI
from tests.compare.normal import message, text
from tests.compare.peers import CLOSED, REGISTRY, Peer
from tests.system.sampand import busybox_tar

_STEP_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """How one command ended."""

    code: int
    out: str
    err: str


class Player:
    """Plays the script against one daemon, with files of its own."""

    def __init__(self, client: str, peer: Peer, folder: Path) -> None:
        self._client = client
        self._peer = peer
        self._folder = folder
        folder.mkdir()
        (folder / "folder").mkdir()
        (folder / "folder" / "file").write_text("content\n")
        (folder / "envfile").write_text("FROM_FILE=yes\n")
        (folder / "rootfs.tar").write_bytes(busybox_tar())
        contexts.write(folder / "context")

    def play(self, steps: Sequence[Step]) -> list[Outcome]:
        """Return how each step ended."""
        return [self._run(step) for step in steps]

    @staticmethod
    def _fill(word: str, files: dict[str, str]) -> str:
        """Put files in; not str.format, since Go templates have braces of their own."""
        for name, path in files.items():
            word = word.replace(f"{{{name}}}", path)
        return word

    def _run(self, step: Step) -> Outcome:
        files = {
            "folder": f"{self._folder}/folder",
            "missing": f"{self._folder}/missing",
            "envfile": f"{self._folder}/envfile",
            "cidfile": f"{self._folder}/cid",
            "target": f"{self._folder}/target",
            "archive": f"{self._folder}/archive.tar",
            "rootfs": f"{self._folder}/rootfs.tar",
            "context": f"{self._folder}/context",
            "registry": REGISTRY,
            "closed": CLOSED,
        }
        words = [self._fill(word, files) for word in step.words]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self._folder), "DOCKER_CLI_HINTS": "false"}
        environment["DOCKER_BUILDKIT"] = "0"
        command = [*self._peer.enter, self._client, "-H", self._peer.host, *words]
        try:
            done = subprocess.run(
                command, input=step.stdin, capture_output=True, timeout=_STEP_S, env=environment
            )
        except subprocess.TimeoutExpired:
            return Outcome(-1, "", f"no end within {_STEP_S:.0f} s")
        out, err = (
            stream.decode(errors="replace").replace(str(self._folder), "<files>")
            for stream in (done.stdout, done.stderr)
        )
        shown = [text(out), message(err)]
        if step.unordered:
            shown = ["\n".join(sorted(stream.splitlines())) for stream in shown]
        return Outcome(done.returncode, *shown)


def compare(client: str, theirs: Peer, ours: Peer, folder: Path, *, only: str = "") -> list[str]:
    """Play against dockerd and sampand; return the unknown differences. only: one noun's commands."""
    steps = [step for step in script() if not only or step.key.startswith(f"{only}: ")]
    players = [Player(client, peer, folder / name) for name, peer in (("theirs", theirs), ("ours", ours))]
    with ThreadPoolExecutor(2) as pool:
        docker, sampan = pool.map(lambda player: player.play(steps), players)
    found, known, same = [], 0, 0
    for step, their, our in zip(steps, docker, sampan, strict=True):
        lines = _differences(step, their, our)
        if not lines:
            same += 1
            if step.key in CLI:
                print(f"no difference any more: {step.key}")
        elif step.key in CLI:
            known += 1
            print(f"known: {step.key}: {CLI[step.key]}")
        else:
            found.append("\n    ".join([step.key, *lines]))
    print(f"{len(steps)} commands: {same} the same, {known} known differences, {len(found)} unknown")
    return found


def _differences(step: Step, theirs: Outcome, ours: Outcome) -> list[str]:
    lines = []
    for what in step.what:
        their, our = getattr(theirs, what), getattr(ours, what)
        if their != our:
            lines += [f"{what} docker: {their!r:.600}", f"{what} sampan: {our!r:.600}"]
    return lines
