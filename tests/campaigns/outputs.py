"""Quick `run --rm` calls, several clients at once: each must get every byte, however it asks for it."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.system.sampand import DOCKERS, Sampand

_CLIENTS = 4
_SIZES = (0, 1, 17, 4096, 65_536, 65_537, 300_000)
# What is printed can be computed: a line of text, repeated, cut; both streams; the last byte no newline.
_SCRIPT = 'yes "line of run $0" | head -c $1; yes "ERR $0" | head -c $2 >&2; exit $3'


class _Tally:
    """What all clients found together."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.violations: list[str] = []
        self.times: dict[str, list[float]] = {}
        self.lock = threading.Lock()

    def take(self) -> int:
        """Return the number of the next run, 0 when there is none."""
        with self.lock:
            self.left -= 1
            return max(0, self.left + 1)


def outputs(daemon: Sampand, count: int, seed: int) -> list[str]:
    """`run --rm` with known output, by our CLI and docker's, until count runs are done."""
    ways: dict[str, list[str]] = {"sampan": [str(Path(sys.executable).parent / "sampan")]}
    ways |= {name: [path] for name, path in DOCKERS.items() if shutil.which(path)}
    tally = _Tally(count)
    workers = [
        threading.Thread(target=_work, args=(daemon, ways, tally, random.Random(seed * 100 + number)))
        for number in range(_CLIENTS)
    ]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        time.sleep(10)
        print(f"{max(0, tally.left)} runs left, {len(tally.violations)} violations", flush=True)
    for name, times in sorted(tally.times.items()):
        print(f"{name}: {len(times)} runs, median {sorted(times)[len(times) // 2] * 1000:.0f} ms")
    left = daemon.call("GET", "/containers/json?all=1")
    return tally.violations + [f"still there: {container['Id']}" for container in left]


def _work(daemon: Sampand, ways: dict[str, list[str]], tally: _Tally, dice: random.Random) -> None:
    while number := tally.take():
        name = dice.choice(list(ways))
        out, err, code = dice.choice(_SIZES), dice.choice(_SIZES[:5]), dice.choice((0, 0, 3))
        flags = dice.choice(
            ([], ["--log-driver=local"], ["--log-driver=none"], ["--log-opt=mode=non-blocking"])
        )
        command = [*ways[name], "run", "--rm", "--network=none", *flags, "busybox", "sh", "-c", _SCRIPT]
        begin = time.perf_counter()
        done = subprocess.run(
            [*command, str(number), str(out), str(err), str(code)],
            capture_output=True,
            env=daemon.environment,
            timeout=300,
            check=False,
        )
        spent = time.perf_counter() - begin
        wrong = [
            _difference("stdout", done.stdout, _repeat(f"line of run {number}\n", out)),
            _difference("stderr", done.stderr, _repeat(f"ERR {number}\n", err)),
            "" if done.returncode == code else f"exit {done.returncode}, not {code}",
        ]
        with tally.lock:
            tally.times.setdefault(name, []).append(spent)
            tally.violations += [f"run {number} by {name} {flags}: {text}" for text in wrong if text]


def _repeat(text: str, length: int) -> bytes:
    return (text.encode() * (length // len(text) + 1))[:length]


def _difference(what: str, got: bytes, want: bytes) -> str:
    if got == want:
        return ""
    digest: Callable[[bytes], str] = lambda data: hashlib.sha256(data).hexdigest()[:12]  # noqa: E731
    return f"{what}: {len(got)} of {len(want)} bytes, {digest(got)}, end {got[-60:]!r}"
