"""The container that the launcher rehearses with (docs/shim.md, "Rehearsal").

Its bundle comes from the same planner as everybody's, so what is rehearsed is what will be run. All of it
lies in a folder of the run root with the engine's pid; what an earlier engine left there is swept.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import suppress
from typing import Final

import msgspec

from sampan.engine.bundle.config import cgroup_path, make_bundle
from sampan.engine.bundle.plan import BundlePlan, HostFiles
from sampan.engine.files.users import User
from sampan.engine.machine import Machine
from sampan.engine.paths import Paths
from sampan.errors import NotFound, Unsupported
from sampan.runtime.launcher.client import LogSettings, ShimRequest
from sampan.runtime.launcher.messages import pack
from sampan.runtime.lifecycle import RootMount, delete_container
from sampan.spec import docker
from sampan.store import hello
from sampan.store.snapshotters import OVERLAY, PLAIN

_NAME: Final = "rehearsal"
_REQUEST: Final = "request.json"
_LAUNCHER_S: Final = 5.0
_POLL_S: Final = 0.005
_MOUNT_POINTS: Final = ("dev", "proc", "sys", "etc")
_HOST_FILES: Final = ("hostname", "hosts", "resolv.conf")
_PIDS_LIMIT: Final = 64
_SHM_SIZE: Final = 1 << 16


def write_rehearsal(paths: Paths, machine: Machine, *, cgroup_parent: str, storage_driver: str) -> str:
    """Write bundle, root file system and request; return the request's path, "" without a program to run.

    Raises:
        OSError: the run root cannot be written to.
    """
    _sweep(f"{paths.run}/{_NAME}")
    folder = f"{paths.run}/{_NAME}/{os.getpid()}"
    try:
        program = hello.program(machine.arch)
    except Unsupported:
        return ""
    _make_root(f"{folder}/root", program)
    os.makedirs(f"{folder}/empty")  # an overlay that cannot be written to has two layers
    os.makedirs(f"{folder}/rootfs")
    _write(f"{folder}/config.json", msgspec.json.encode(_document(folder, machine, cgroup_parent)))
    request = f"{folder}/{_REQUEST}"
    _write(request, msgspec.json.encode(pack(_request(folder, paths, storage_driver))))
    return request


def _sweep(folder: str) -> None:
    """Remove rehearsals of engines that have ended; a killed launcher may have left its container."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            _wait_for_launcher(f"{folder}/{name}/{_REQUEST}")
            with suppress(NotFound):
                delete_container(f"{folder}/{name}/state", _NAME, force=True)
            shutil.rmtree(f"{folder}/{name}", ignore_errors=True)


def _wait_for_launcher(request: str) -> None:
    """Wait until the launcher of an engine that was killed has cleaned up; it locks the file meanwhile."""
    deadline = time.monotonic() + _LAUNCHER_S
    with suppress(FileNotFoundError), open(request, "rb+") as file:
        while time.monotonic() < deadline:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_POLL_S)
            else:
                return


def _make_root(root: str, program: bytes) -> None:
    for name in _MOUNT_POINTS:
        os.makedirs(f"{root}/{name}")
    for name in _HOST_FILES:
        _write(f"{root}/etc/{name}", b"")
        _write(f"{root}/../{name}", b"")
    _write(f"{root}/hello", program, mode=0o755)


def _document(folder: str, machine: Machine, cgroup_parent: str) -> dict[str, object]:
    plan = BundlePlan(
        id=_NAME,
        config=docker.Config(Cmd=["/hello"], Env=["PATH=/bin"]),
        host=docker.HostConfig(NetworkMode="none"),
        machine=machine,
        user=User(groups=(0,)),
        files=HostFiles(
            hostname=f"{folder}/hostname", hosts=f"{folder}/hosts", resolv_conf=f"{folder}/resolv.conf"
        ),
        cgroup=cgroup_path(f"{_NAME}-{os.getpid()}", cgroup_parent),
        pids_limit=_PIDS_LIMIT,
        shm_size_bytes=_SHM_SIZE,
    )
    return make_bundle(plan).document


def _request(folder: str, paths: Paths, storage_driver: str) -> ShimRequest:
    if storage_driver == OVERLAY:
        root = RootMount(lower=(f"{folder}/root", f"{folder}/empty"), upper="", work="")
    else:
        root = RootMount(lower=(), upper=f"{folder}/root", work="", driver=PLAIN)
    return ShimRequest(
        id=_NAME,
        run_dir=f"{folder}/state/{_NAME}",
        bundle=folder,
        log=LogSettings(path="", enabled=False),
        root_mount=root,
        seccomp_cache=paths.seccomp_cache,
    )


def _write(path: str, data: bytes, *, mode: int = 0o644) -> None:
    with open(path, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
