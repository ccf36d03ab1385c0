"""kill -9 of sampand and of shims while containers crash, come back and are checked."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.campaigns import census
from tests.system.sampand import Sampand, wait_for

_CRASH = ["sh", "-c", "usleep 30000; exit 1"]
_CHECK = {"Test": ["CMD", "true"], "Interval": 20_000_000}


def restarts(daemon: Sampand, count: int, seed: int) -> list[str]:
    """Kill sampand, shims and first processes at random; policies must bring back what they should.

    After each: the steady container runs and is healthy, its guest runs, who was stopped by hand is not back,
    and who may fail three times has not failed more often. At last nothing is left over.
    """
    dice = random.Random(seed)
    _remove(daemon, [_create(daemon, "warm", ["true"], "no")])
    wait_for(lambda: census.take(daemon).shims == 0, "the first shim's end")
    before = census.take(daemon)
    _create(daemon, "steady", ["sleep", "1000"], "always", Healthcheck=_CHECK)
    _create(daemon, "guest", ["sleep", "1000"], "always", network="container:steady")
    _create(daemon, "stopped", ["sleep", "1000"], "unless-stopped")
    _create(daemon, "thrice", _CRASH, "on-failure", retries=3)
    _create(daemon, "crashing", _CRASH, "always")
    daemon.call("POST", "/containers/stopped/kill")
    violations: list[str] = []
    for number in range(count):
        time.sleep(dice.uniform(0, 0.1))
        victim = dice.choice(("sampand", "shim", "init", "sampand and shim"))
        _kill(daemon, victim)
        violations += [f"kill {number} ({victim}): {text}" for text in _check(daemon)]
        if violations:
            break
        if number % 50 == 49:
            print(f"{number + 1} kills", flush=True)
    _remove(daemon, ["guest", "steady", "stopped", "thrice", "crashing"])
    census.settle(daemon, before)
    return violations + [
        line for line in census.differences(before, census.take(daemon)) if "fds" not in line
    ]


def _create(
    daemon: Sampand,
    name: str,
    command: list[str],
    policy: str,
    *,
    retries: int = 0,
    network: str = "none",
    **more: object,
) -> str:
    host = {"NetworkMode": network, "RestartPolicy": {"Name": policy, "MaximumRetryCount": retries}}
    body = {"Image": "busybox", "Cmd": command, "HostConfig": host, **more}
    daemon.call("POST", f"/containers/create?name={name}", body)
    daemon.call("POST", f"/containers/{name}/start")
    return name


def _remove(daemon: Sampand, names: list[str]) -> None:
    for name in names:
        daemon.call("DELETE", f"/containers/{name}?force=1")


def _kill(daemon: Sampand, victim: str) -> None:
    """Kill one of ours: pids are read a moment before, from files that only our containers have."""
    state = _state(daemon, "steady")
    folder = next((daemon.run / "containers").glob(f"{state['Id']}"), Path("/nonexistent"))
    if "sampand" in victim:
        daemon.kill()
    if "shim" in victim:
        with suppress(OSError, ValueError):
            os.kill(int((folder / "shim.pid").read_text().split()[0]), signal.SIGKILL)
    if victim == "init" and state["State"]["Pid"]:
        with suppress(ProcessLookupError):
            os.kill(state["State"]["Pid"], signal.SIGKILL)
    if "sampand" in victim:
        daemon.start()


def _state(daemon: Sampand, name: str) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = daemon.call("GET", f"/containers/{name}/json")
    return found


def _check(daemon: Sampand) -> list[str]:
    """Return what is not as it must be, once everything had time to come back."""
    found = []
    try:
        wait_for(lambda: _is_well(daemon), "steady runs and is healthy", timeout_s=90)
        wait_for(lambda: _state(daemon, "guest")["State"]["Status"] == "running", "guest runs", timeout_s=90)
    except AssertionError as exc:
        found.append(str(exc))
    if _state(daemon, "stopped")["State"]["Status"] != "exited":
        found.append("who was stopped by hand is back")
    if int(str(_state(daemon, "thrice")["RestartCount"])) > 3:
        found.append("more restarts than allowed")
    return found


def _is_well(daemon: Sampand) -> bool:
    state = _state(daemon, "steady")["State"]
    health = state.get("Health")
    return state["Status"] == "running" and isinstance(health, dict) and health["Status"] == "healthy"
