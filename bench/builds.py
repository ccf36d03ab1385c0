"""Builds beside docker's classic builder, BuildKit in dockerd, buildah and podman.

Every row is a whole command as its user waits for it; all contestants build the same directory, alternating.
`builds` names all rows, `builds:WORD` one of them. Each value is told as it comes; who takes longer than the
limit of a row is left out of it, so that the whole ends within about ten minutes on a quiet machine.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench import engines
from bench.compare import Row, time_command

CLIENTS: Final = Path(__file__).resolve().parent.parent / ".clients"  # tools/buildkit-clients
FILES = 50_000
SMALL = 100
BIG_FILES, BIG_MB = 100, 10
CONTEXT_GB = 5
SOURCES = 40
_ONCE_MS = 5000
_C_PACKAGES: Final = ("tcc", "libc6", "libc6-dev", "linux-libc-dev")
_NETWORK: Final = "--network=none"

Command = Callable[..., tuple[str, ...]]


def measure(rows: list[Row], root: Path, found: dict[str, engines.Engine], words: Sequence[str]) -> None:
    """Append the rows (words: which ones), each before it is measured: broken off, it keeps what it has."""
    os.environ["DOCKER_BUILDKIT"] = "0"
    builders = _builders(root, found)
    # What takes longest comes last.
    for word, row, fill in (
        ("cached", Row("builds: 20 steps, all cached", "ms", "≤ 100 ms, ≤ 1/5 of docker"), _cached),
        ("stages", Row("builds: two stages of 5 s each", "s", "5 s"), _two_stages),
        ("c", Row(f"builds: a C program of {SOURCES} files, two stages", "s"), _c_project),
        ("gigabyte", Row("builds: one changed file in a COPY of 1 GB", "s"), _one_of_a_gigabyte),
        (
            "files",
            Row(f"builds: context of {FILES:,} files, all cached", "ms", "≤ 1/5 of docker"),
            _many_files,
        ),
        ("memory", Row(f"builds: most memory, context of {CONTEXT_GB} GB", "MiB", "flat"), _memory),
        ("steps", Row(f"builds: {SMALL} RUN steps", "s", "≤ 1/5 of docker"), _small_steps),
    ):
        if words and word not in words:
            continue
        rows.append(row)
        folder = root / "context"
        folder.mkdir()
        begin = time.monotonic()
        fill(row, folder, found, builders)
        shutil.rmtree(folder)
        _tell(f"{row.name}: {time.monotonic() - begin:.0f} s in all")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _builders(root: Path, found: dict[str, engines.Engine]) -> dict[str, Command]:
    """Return, by name, what makes the command line of a build of its options."""
    builders: dict[str, Command] = {}
    for name, engine in found.items():
        builders[name] = _command(*engine.client, "build", "-q", _NETWORK)
    if "sampan" in found:
        at = f"unix://{found['sampan'].socket}"
        builders["docker CLI on sampand"] = _command("/usr/bin/docker", "-H", at, "build", "-q", _NETWORK)
    buildx = CLIENTS / "docker-buildx"
    if buildx.exists():
        for name, title in (("docker", "docker BuildKit"), ("sampan", "buildx on sampand")):
            if name in found:
                at = f"DOCKER_HOST=unix://{found[name].socket}"
                home = f"BUILDX_CONFIG={root}/buildx-{name}"
                builders[title] = _command("/usr/bin/env", at, home, str(buildx), "build", "-q", _NETWORK)
    buildah = CLIENTS / "buildah"
    if buildah.exists() and "podman" in found:
        storage = found["podman"].client[1:5]
        builders["buildah"] = _command(
            str(buildah), *storage, "--runtime=/usr/sbin/runc", "bud", "--layers", "-q", _NETWORK
        )
    return builders


def _command(*words: str) -> Command:
    return lambda *options: (*words, *options)


def _measure(
    row: Row,
    builders: dict[str, Command],
    options: tuple[str, ...],
    *,
    rounds: int = 1,
    warm: bool = True,
    limit_s: float = 60,
    prepare: Callable[[], None] = lambda: None,
) -> None:
    """Run every builder once a round, after prepare; warm: and once before, which is not counted.

    Who takes longer than limit_s is left out, who takes longer than a few seconds is measured once.
    """
    able = dict(builders)
    for number in range(rounds + warm):
        for name, command in list(able.items()):
            prepare()
            try:
                spent = time_command(command(*options), limit_s=limit_s)
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as exc:
                _tell(f"{row.name}: {name} left out: {exc}")
                del able[name]
                continue
            value = spent / (1 if row.unit == "ms" else 1000)
            counts = number >= warm
            _tell(f"{row.name}: {name} {value:.3g} {row.unit}{'' if counts else ' (does not count)'}")
            if counts:
                row.values.setdefault(name, []).append(value)
                if spent > _ONCE_MS:
                    del able[name]


def _write(folder: Path, dockerfile: str) -> str:
    (folder / "Dockerfile").write_text(dockerfile)
    return str(folder)


def _cached(row: Row, folder: Path, _: object, builders: dict[str, Command]) -> None:
    steps = "".join(f"RUN echo {n} > /f{n}\n" if n % 2 else f"ENV v{n}={n}\n" for n in range(19))
    _measure(row, builders, (_write(folder, f"FROM busybox\n{steps}"),), rounds=5)


def _many_files(row: Row, folder: Path, _: object, builders: dict[str, Command]) -> None:
    for number in range(FILES):
        if number % 500 == 0:
            (folder / f"d{number // 500}").mkdir()
        (folder / f"d{number // 500}" / f"f{number}").write_text(f"{number}\n" * 50)
    path = _write(folder, "FROM busybox\nCOPY . /d\nRUN true\n")
    _measure(row, builders, (path,), rounds=3)


def _small_steps(row: Row, folder: Path, _: object, builders: dict[str, Command]) -> None:
    path = _write(folder, "FROM busybox\n" + "".join(f"RUN true {n}\n" for n in range(SMALL)))
    _measure(row, builders, ("--no-cache", path), warm=False)


def _one_of_a_gigabyte(row: Row, folder: Path, _: object, builders: dict[str, Command]) -> None:
    data = os.urandom(BIG_MB << 20)
    for number in range(BIG_FILES):
        (folder / f"f{number}").write_bytes(data[number:] + data[:number])
    changed: list[int] = []

    def change() -> None:
        changed.append(0)
        (folder / "f0").write_text(f"{len(changed)}")

    path = _write(folder, "FROM busybox\nCOPY . /d\n")
    _measure(row, builders, (path,), rounds=3, prepare=change)


def _two_stages(row: Row, folder: Path, _: object, builders: dict[str, Command]) -> None:
    stages = "".join(f"FROM busybox AS {one}\nRUN sleep 5; echo > /{one}\n" for one in "ab")
    path = _write(folder, f"{stages}FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n")
    _measure(row, builders, ("--no-cache", path), warm=False)


def _c_project(
    row: Row, folder: Path, found: dict[str, engines.Engine], builders: dict[str, Command]
) -> None:
    """Compile a program of many files with tcc and put it into `scratch`."""
    base = _c_base(folder.parent / "c-base")
    for engine in found.values():
        image = ("image", "import") if engine.name == "sampan" else ("import",)
        subprocess.run([*engine.client, *image, "-", "cbase"], input=base, check=True, capture_output=True)
    source = folder / "src"
    source.mkdir()
    calls = "".join(f"int f{n}(int); s += f{n}(s);\n" for n in range(SOURCES))
    (source / "main.c").write_text(f"int printf(const char *, ...);\nint main(void) {{ int s = 1; {calls}")
    with (source / "main.c").open("a") as file:
        file.write('printf("%d\\n", s); return 0; }\n')
    for number in range(SOURCES):
        text = f"#include <stdio.h>\n#include <stdlib.h>\nint f{number}(int x) {{ return x + {number}; }}\n"
        (source / f"f{number}.c").write_text(text)
    path = _write(
        folder,
        "FROM cbase AS build\nWORKDIR /src\nCOPY src /src\n"
        "RUN for f in *.c; do tcc -c $f || exit 1; done\nRUN tcc -o /app *.o && /app\n"
        "FROM scratch\nCOPY --from=build /lib/x86_64-linux-gnu/libc.so.6 /lib/x86_64-linux-gnu/\n"
        'COPY --from=build /lib64 /lib64\nCOPY --from=build /app /app\nCMD ["/app"]\n',
    )
    _measure(row, builders, ("--no-cache", path))


def _c_base(folder: Path) -> bytes:
    """Return the root file system of a small C compiler of Debian, as a tar archive."""
    folder.mkdir()
    subprocess.run(["apt-get", "download", "-qq", *_C_PACKAGES], cwd=folder, check=True, capture_output=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
    out = io.BytesIO(engines.busybox_rootfs())
    with tarfile.open(fileobj=out, mode="a") as archive:
        for part in ("lib", "lib64", "usr/lib", "usr/include", "usr/bin"):
            archive.add(folder / "root" / part, part)
    shutil.rmtree(folder)
    return out.getvalue()


def _memory(row: Row, folder: Path, found: dict[str, engines.Engine], _: object) -> None:
    """Send a large context to each daemon and return the most memory that it had in use meanwhile."""
    _write(folder, "FROM busybox\nCOPY Dockerfile /\n")
    with (folder / "big").open("wb") as file:
        file.truncate(CONTEXT_GB << 30)
    for name, engine in found.items():
        pids = engine.daemon_pids()
        if engine.socket is None or not pids:
            continue
        Path(f"/proc/{pids[0]}/clear_refs").write_text("5")  # the peak counts from here; proc(5)
        time_command(("/usr/bin/docker", "-H", f"unix://{engine.socket}", "build", "-q", str(folder)))
        status = Path(f"/proc/{pids[0]}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        row.values[name] = [int(peak.split()[1]) / 1024]
        _tell(f"{row.name}: {name} {row.values[name][0]:.3g} MiB")
