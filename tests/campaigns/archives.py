"""Random archives, valid and hostile, unpacked beside files that must not change.

Hostile ones have names that climb, links that lead out, whiteouts, devices, sparse maps, long names, wrong
numbers and flipped bits. After each: nothing outside of the target is another one than before, and the error,
if there is one, is one for users. Valid ones make the tree that GNU tar makes of them.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import shutil
import stat
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from tests.system.sampand import Sampand
from tests.system.store_kit import describe, unpack_bytes

from sampan.errors import InvalidArgument
from sampan.store.archive.limits import Limits

LIMITS = Limits(entries=2000, inflated_free_bytes=8 << 20)
SLOW_S = 20.0
MEMORY_GROWTH = 64 << 20
_PARTS = ("a", "b", "c", "dir", "ü", "x" * 100, "...", "-rf", "a b", ".wh", "new\nline")
_EVIL_PARTS = (
    "..",
    ".",
    "",
    "/",
    ".wh.a",
    ".wh..wh..opq",
    ".wh.",
    ".wh..",
    ".wh...",
    "y" * 300,
    "../..",
    "//etc",
)
_KINDS = (
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)


class Maker:
    """Archives out of one source of chance."""

    def __init__(self, dice: random.Random, outside: Path) -> None:
        self._dice = dice
        self._outside = outside

    def valid(self) -> bytes:
        """Return an archive whose names and links stay inside, of what GNU tar makes the same of."""
        dice, entries, folders, files = self._dice, [], [""], []
        for number in range(dice.randrange(1, 12)):
            parent = dice.choice(folders)
            name = f"{parent}{dice.choice(_PARTS)}{number}"
            info = tarfile.TarInfo(name)
            info.mode = dice.choice((0o644, 0o755, 0o600, 0o4755, 0o1777))
            info.uid, info.gid = dice.choice(((0, 0), (1000, 1000), (65534, 5)))
            info.mtime = dice.randrange(1, 2**31)
            info.type = dice.choice(
                (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)
            )
            data = b""
            if info.type == tarfile.LNKTYPE:
                if not files:
                    continue
                info.linkname = dice.choice(files)
            elif info.type == tarfile.SYMTYPE:
                info.linkname = dice.choice(("a", "../a", "/etc/passwd", "nowhere"))
            elif info.type == tarfile.DIRTYPE:
                folders.append(f"{name}/")
            elif info.type == tarfile.REGTYPE:
                data = dice.randbytes(dice.choice((0, 1, 511, 512, 513, 5000)))
                files.append(name)
            entries.append((info, data))
        return _write(entries, dice.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)))

    def hostile(self) -> bytes:
        """Return an archive that is wrong somewhere."""
        dice, entries = self._dice, []
        for _ in range(dice.randrange(1, 10)):
            info = tarfile.TarInfo(self._name())
            info.type = dice.choice(_KINDS)
            info.mode = dice.choice((0, 0o644, 0o7777, 0o777))
            info.uid = dice.choice((0, 1, 2**21 - 1))
            info.mtime = dice.choice((0, 1, 2**31, 2**33 - 1))
            info.devmajor, info.devminor = dice.choice(((0, 0), (1, 3), (8, 0)))
            if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = self._target()
            if dice.random() < 0.2:
                key = dice.choice(
                    ("path", "linkpath", "size", "GNU.sparse.map", "GNU.sparse.major", "SCHILY.xattr.user.x")
                )
                info.pax_headers = {
                    key: dice.choice(("../../x", "-1", "99999999999", "1.5", "0,1,5", "\u00e9" * 50, ""))
                }
            data = dice.randbytes(dice.choice((0, 10, 3000))) if info.type == tarfile.REGTYPE else b""
            entries.append((info, data))
        raw = bytearray(
            _write(entries, dice.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)))
        )
        match dice.randrange(4):
            case 0:
                for _ in range(dice.randrange(1, 6)):
                    raw[dice.randrange(min(len(raw), 4096))] = dice.randrange(256)
            case 1:
                del raw[dice.randrange(1, len(raw)) :]
        return bytes(raw)

    def _name(self) -> str:
        parts = [self._dice.choice((*_PARTS, *_EVIL_PARTS)) for _ in range(self._dice.randrange(1, 5))]
        return self._dice.choice(("", "/", "../", "./")) + "/".join(parts)

    def _target(self) -> str:
        outside = self._outside
        return self._dice.choice(
            (
                str(outside),
                f"{outside}/file",
                "../outside",
                "../outside/file",
                "/",
                "..",
                "a",
                "dir",
                self._name(),
            )
        )


def _write(entries: list[tuple[tarfile.TarInfo, bytes]], format: int) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format, errors="surrogateescape") as archive:
        for info, data in entries:
            info.size = len(data)
            with contextlib.suppress(ValueError):  # ustar has no room for it
                archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def archives(_daemon: Sampand, count: int, seed: int) -> list[str]:
    """Unpack count archives; a tenth of them valid."""
    base = Path(tempfile.mkdtemp(prefix="sampan-archives-"))
    try:
        return _Run(base, seed).spend(count)
    finally:
        subprocess.run(["rm", "-rf", base], check=True)


class _Run:
    def __init__(self, base: Path, seed: int) -> None:
        self._base = base
        self._dice = random.Random(seed)
        self._outside = base / "outside"
        (self._outside / "folder").mkdir(parents=True)
        (self._outside / "file").write_text("untouched")
        (self._outside / "folder/other").write_text("untouched")
        self._maker = Maker(self._dice, self._outside)
        self._before = self._see()
        self._violations: list[str] = []
        self.refused = self.taken = self.compared = 0

    def spend(self, count: int) -> list[str]:
        memory = 0
        for number in range(count):
            if number == min(1000, count // 2):
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            is_valid = self._dice.random() < 0.1
            raw = self._maker.valid() if is_valid else self._maker.hostile()
            self._one(number, raw, is_valid)
            if number % 5000 == 4999:
                print(f"{number + 1} archives, {self.refused} refused, {self.compared} compared", flush=True)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024
        if grown > MEMORY_GROWTH:
            self._violations.append(f"memory has grown by {grown >> 20} MiB")
        print(f"{self.taken} unpacked, {self.refused} refused, {self.compared} compared with GNU tar")
        return self._violations

    def _one(self, number: int, raw: bytes, is_valid: bool) -> None:
        target = self._base / "target"
        began = time.monotonic()
        try:
            unpack_bytes(raw, target, limits=LIMITS)
            self.taken += 1
        except InvalidArgument as exc:
            self.refused += 1
            if is_valid:
                self._violate(number, raw, f"a valid archive is refused: {exc}")
        except Exception as exc:
            self._violate(number, raw, f"no error for users: {exc!r}")
        else:
            if is_valid:
                self._compare(number, raw, target)
        if time.monotonic() - began > SLOW_S:
            self._violate(number, raw, "slow")
        if self._see() != self._before:
            self._violate(number, raw, "something outside has changed")
            self._before = self._see()
        _remove(target)

    def _compare(self, number: int, raw: bytes, target: Path) -> None:
        other = self._base / "gnu"
        other.mkdir()
        done = subprocess.run(
            ["tar", "-xp", "--numeric-owner", "--same-owner", "-C", other],
            input=raw,
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            self.compared += 1
            # GNU tar sets a directory's time when it leaves it, and does not when it comes back.
            ours, theirs = (describe(one, directory_times=False) for one in (target, other))
            ours.pop("."), theirs.pop(".")
            if ours != theirs:
                different = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
                self._violate(number, raw, f"another tree than GNU tar's: {sorted(different)[:3]}")
        _remove(other)

    def _violate(self, number: int, raw: bytes, what: str) -> None:
        kept = Path(tempfile.gettempdir()) / f"sampan-archive-{os.getpid()}-{number}.tar"
        kept.write_bytes(raw)
        self._violations.append(f"archive {number}: {what} (kept as {kept})")

    def _see(self) -> dict[str, tuple[object, ...]]:
        """Describe everything beside the target: names, attributes, content."""
        found: dict[str, tuple[object, ...]] = {}
        for path in [self._base, *(one for one in self._base.iterdir() if one.name not in ("target", "gnu"))]:
            for one in [path] if path == self._base else [path, *path.rglob("*")]:
                status = one.lstat()
                content = one.read_bytes() if stat.S_ISREG(status.st_mode) else b""
                times = () if one == self._base else (status.st_mtime_ns, status.st_ctime_ns)
                found[str(one)] = (
                    status.st_mode,
                    status.st_uid,
                    status.st_gid,
                    status.st_nlink if times else 0,
                    times,
                    content,
                )
        return found


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        try:
            shutil.rmtree(path)
        except OSError:
            subprocess.run(["rm", "-rf", path], check=True)
