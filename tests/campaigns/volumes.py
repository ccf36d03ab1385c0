"""Kill sampand with -9 while volumes of every kind are made, filled, mounted, imported and removed."""

from __future__ import annotations

import http.client
import io
import json
import os
import random
import tarfile
import threading
import time
from typing import Any

from tests.campaigns import census
from tests.system.sampand import Sampand, wait_for

_MEMORY = {"type": "tmpfs", "device": "tmpfs", "o": "size=4m"}


def volumes(daemon: Sampand, count: int, seed: int) -> list[str]:
    """After each kill rows, directories, users and mounts agree, and data that was there is there."""
    dice = random.Random(seed)
    daemon.call("POST", "/volumes/create", {"Name": "precious"})
    (daemon.data / "volumes/precious/_data/file").write_text("data")
    before = census.take(daemon)
    violations: list[str] = []
    for number in range(count):
        stop = threading.Event()
        workers = [
            threading.Thread(target=_churn, args=(daemon, stop, random.Random(dice.random()), name))
            for name in ("aa", "bb", "cc")
        ]
        for worker in workers:
            worker.start()
        time.sleep(dice.uniform(0.01, 0.3))
        daemon.kill()
        stop.set()
        for worker in workers:
            worker.join()
        daemon.start()
        violations += [f"kill {number}: {line}" for line in _check(daemon)]
        if number % 25 == 24:
            print(f"{number + 1} kills, {len(violations)} violations", flush=True)
    daemon.call("DELETE", "/volumes/precious")
    census.settle(daemon, before)
    return violations + [
        line for line in census.differences(before, census.take(daemon)) if "fds" not in line
    ]


def _churn(daemon: Sampand, stop: threading.Event, dice: random.Random, name: str) -> None:
    """Do what users do with volumes, until the daemon dies."""
    try:
        while not stop.is_set():
            options = dice.choice(({}, {}, _MEMORY))
            _ask(daemon, "POST", "/volumes/create", {"Name": name, "DriverOpts": options})
            host = {
                "NetworkMode": "none",
                "AutoRemove": dice.random() < 0.5,
                "Binds": [f"{name}:/etc", "precious:/p:ro", f"shared{dice.randrange(2)}:/bin2"],
            }
            body = {
                "Image": "busybox",
                "Cmd": ["true"],
                "Volumes": {"/etc/sub": {}, "/home": {}},
                "HostConfig": host,
            }
            made = _ask(daemon, "POST", "/containers/create", body).get("Id")
            if made and dice.random() < 0.5:
                _ask(daemon, "POST", f"/containers/{made}/start")
            if dice.random() < 0.3:
                daemon.request("POST", f"/sampan/v1/volumes/imported-{name}/import", raw=_archive())
            if made:
                _ask(daemon, "DELETE", f"/containers/{made}?v=1&force=1")
            _ask(daemon, "DELETE", f"/volumes/{name}")
            _ask(daemon, "DELETE", f"/volumes/imported-{name}")
    except (OSError, ValueError, http.client.HTTPException):
        return  # the daemon died in the middle, as it should


def _ask(daemon: Sampand, method: str, path: str, body: Any = None) -> dict[str, Any]:
    status, _, answer = daemon.request(method, path, body)
    if status == 500:
        raise AssertionError(f"{method} {path}: {answer!r}")
    found = json.loads(answer) if answer.strip() else {}
    return found if isinstance(found, dict) else {}


def _archive() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for number in range(20):
            archive.addfile(tarfile.TarInfo(f"f{number}"), io.BytesIO())
    return data.getvalue()


def _check(daemon: Sampand) -> list[str]:
    """Return what is wrong after a restart; then remove what the killed requests left on purpose."""
    found = []
    daemon.remove_containers()
    if (daemon.data / "volumes/precious/_data/file").read_text() != "data":
        found.append("data is lost")
    daemon.call("POST", "/v1.51/volumes/prune")
    listed = daemon.call("GET", "/system/df?type=volume")["Volumes"]
    names = sorted(volume["Name"] for volume in listed)
    try:  # anonymous volumes go behind the user's back
        wait_for(lambda: sorted(os.listdir(daemon.data / "volumes")) == names, "agree", timeout_s=10)
    except AssertionError:
        found.append(f"rows {names}, directories {sorted(os.listdir(daemon.data / 'volumes'))}")
    found += [f"{one['Name']} has users" for one in listed if one["UsageData"]["RefCount"]]
    for name in names:
        files = len(os.listdir(daemon.data / f"volumes/{name}/_data"))
        if name.startswith("imported") and files not in (0, 20):
            found.append(f"{name} holds part of an import: {files} files")
    try:
        wait_for(lambda: daemon.mounts() == [], "unmounted", timeout_s=10)
    except AssertionError:
        found.append(f"mounts {daemon.mounts()}")
    for name in names:
        if name != "precious":
            daemon.call("DELETE", f"/volumes/{name}")
    return found
