"""Cut the power of a machine in qemu while it pulls images: what it has recorded is whole, always.

The machine is tools/v2's, with a disk whose write cache is lost with the power (`volatile_disk`). A cut is
what the disk would be at that moment; it is mounted and opened here, every blob compared with its digest and
every layer with its blob. After some cuts the machine itself loses power, and goes on with what it finds.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, Queue
from typing import Final

from tests.campaigns.power_guest import IMAGES
from tests.campaigns.volatile_disk import VolatileDisk
from tests.system.registry_kit import make_image
from tests.system.registry_server_kit import RegistryServer
from tests.system.store_kit import entry, tar
from tools.v2_machine import build_initramfs, check_programs, find_kernel, machine_command

_DISK_BYTES: Final = 128 << 20
_REGISTRY_BYTES: Final = 96 << 20
_BOOT_S: Final = 900.0  # emulated, on a busy machine
_FIRST_PULL_S: Final = 8.0  # until one was measured
_CUTS_A_BOOT: Final = 20
_SPREAD: Final = 0.4  # of a pull between two cuts, at most
_ENDED: Final = "the machine has ended"


def power_cuts(folder: Path, count: int, seed: int) -> list[str]:
    """Cut count times at random moments of pulls; return what was found damaged."""
    check_programs()
    kernel, modules = find_kernel()
    command = [sys.executable, "-m", "tests.campaigns.power_guest"]
    initramfs = folder / "initramfs"
    initramfs.write_bytes(build_initramfs(modules, command, more_modules=("ext4",)))
    _make_registry(folder)
    _make_disk(folder / "data.img", _DISK_BYTES)
    disk = VolatileDisk(folder / "data.img", folder / "disk.sock")
    dice, violations, done = random.Random(seed), list[str](), 0
    try:
        while done < count:
            with _Boot(machine_command(kernel, initramfs, folder, memory="1G"), folder, disk) as boot:
                try:
                    violations += boot.check()
                except RuntimeError as exc:
                    return [*violations, f"after cut {done}: it does not start again: {exc}"]
                print(f"booted: {boot.checked}", flush=True)
                for number in range(done, min(count, done + _CUTS_A_BOOT)):
                    boot.pull_for(dice.uniform(0, boot.pull_s * _SPREAD))
                    copy = folder / f"cut-{number}.img"
                    kept, lost = disk.cut_copy(dice, copy)
                    found, left = _look_at(copy)
                    violations += [f"cut {number}: {line}" for line in found]
                    print(f"cut {number + 1}: {left}; cache: {kept} sectors kept, {lost} lost", flush=True)
                    done += 1
            disk.cut(dice)
    finally:
        disk.close()
    print(f"{disk.flushes} flushes")
    return violations


def _look_at(image: Path) -> tuple[list[str], str]:
    """Open a disk as the next boot would find it; return the damages, and what else there is."""
    command = ["unshare", "--mount", sys.executable, "-m", "tests.campaigns.power_guest", str(image)]
    looked = subprocess.run(command, capture_output=True, text=True, timeout=_BOOT_S, check=False)
    image.unlink()
    lines = looked.stdout.splitlines()
    damages = [line for line in lines if line.startswith("damaged")]
    if looked.returncode:
        damages.append(f"it cannot be opened: {looked.stderr.strip()[-500:]}")
    return damages, lines[-1] if lines else "nothing"


class _Boot:
    """One life of the machine; its end is a power cut too."""

    def __init__(self, command: list[str], folder: Path, disk: VolatileDisk) -> None:
        self.checked = ""
        self.pull_s = _FIRST_PULL_S
        self._began = 0.0
        self._lines: Queue[str] = Queue()
        drives = [
            *("-drive", f"file=nbd:unix:{disk.place},format=raw,if=virtio,cache=writeback"),
            *("-drive", f"file={folder}/registry.img,format=raw,if=virtio,snapshot=on"),
        ]
        self._machine = subprocess.Popen(
            [*command, *drives], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        threading.Thread(target=self._read, daemon=True).start()

    def check(self) -> list[str]:
        """Wait until it has looked at what it was left with and pulls; return the damages it saw."""
        damages: list[str] = []
        while (line := self._next(_BOOT_S)) != "pulling":
            if line.startswith("damaged"):
                damages.append(f"at a boot: {line}")
            elif line.startswith("checked"):
                self.checked = line
        self._began = time.monotonic()
        return damages

    def pull_for(self, wait_s: float) -> None:
        """Let it go on for a while; measure how long a pull takes."""
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0:
            try:
                line = self._next(left)
            except TimeoutError:
                return
            if line == "pulled":
                self.pull_s = time.monotonic() - self._began
            elif line == "pulling":
                self._began = time.monotonic()

    def __enter__(self) -> _Boot:
        return self

    def __exit__(self, *_error: object) -> None:
        self._machine.kill()
        self._machine.wait()

    def _read(self) -> None:
        assert self._machine.stdout is not None
        for raw in self._machine.stdout:
            self._lines.put(raw.decode(errors="replace").strip())
        self._lines.put(_ENDED)

    def _next(self, timeout_s: float) -> str:
        try:
            line = self._lines.get(timeout=timeout_s)
        except Empty:
            raise TimeoutError(f"no word from the machine in {timeout_s:.0f} s") from None
        if line == _ENDED or line.startswith("Traceback"):
            rest = [line, *(self._lines.get() for _ in range(self._lines.qsize()))]
            raise RuntimeError("the machine has failed: " + "\n".join(rest))
        return line


def _make_registry(folder: Path) -> None:
    """Make the disk of the registry that the machine has for itself: two images that share two layers."""
    root = folder / "registry"
    root.mkdir()
    server = RegistryServer(root / "root")
    try:
        dice = random.Random(1)
        shared = [_layer(dice, f"shared{number}") for number in range(2)]
        for name in IMAGES:
            tag = name.rpartition(":")[2]
            image = make_image([*shared, *(_layer(dice, f"{tag}{number}") for number in range(3))])
            for blob in image.blobs.values():
                server.push_blob("app", blob)
            done = server.ask(
                "PUT", f"/v2/app/manifests/{tag}", image.manifest, Content_Type=image.media_type
            )
            assert done.status == 201, done
    finally:
        server.close()
    _make_disk(folder / "registry.img", _REGISTRY_BYTES, "-d", str(root))


def _layer(dice: random.Random, name: str) -> bytes:
    """Return a layer of many small files and a large one."""
    small = [
        (entry(f"{name}/{number % 7}/{number}"), dice.randbytes(dice.randrange(6000)))
        for number in range(150)
    ]
    return tar(*small, (entry(f"{name}/large"), dice.randbytes(1 << 20)))


def _make_disk(path: Path, size_bytes: int, *options: str) -> None:
    with open(path, "wb") as file:
        file.truncate(size_bytes)
    lazy = "lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-F", "-E", lazy, *options, str(path)], check=True)
