"""The driver local: frames become blocks, nothing is torn, a crash at any step is got over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sampan.runtime.launcher import local_format
from sampan.runtime.launcher.local_log import LocalLog
from sampan.runtime.launcher.messages import LogSettings


def settings(path: Path, *, max_size: int = 0, max_files: int = 5, compress: bool = True) -> LogSettings:
    return LogSettings(
        path=str(path),
        driver="local",
        max_size=max_size,
        max_files=max_files,
        compress=compress,
        attrs='{"a":"b"}',
    )


def texts(path: Path) -> list[bytes]:
    """Return the lines of blocks and live file, oldest first."""
    found = []
    number = 0
    names = [Path(f"{path}.{n}") for n in range(20, 0, -1)] + [path]
    for name in names:
        if not name.exists():
            continue
        with name.open("rb") as file:
            head = local_format.read_head(file.fileno())
            for block in local_format.read_blocks(file.fileno(), head.length):
                frames = local_format.read_frames(file.fileno(), block)
                number = block.number
                found += [frames[start:end] for _, _, start, end in local_format.split_frames(frames)]
    with open(f"{path}.live", "rb") as file:
        head = local_format.read_head(file.fileno())
        if head.number > number:
            data = file.read()[head.length :]
            found += [data[start:end] for _, _, start, end in local_format.split_frames(data)]
    return b"".join(found).splitlines(keepends=True)


def write(log: LocalLog, first: int, last: int) -> list[bytes]:
    lines = [b"line %06d of some length, to fill blocks\n" % number for number in range(first, last)]
    for at in range(0, len(lines), 100):
        log.append("stdout", 1000 + first + at, [b"".join(lines[at : at + 100])])
    return lines


@pytest.mark.parametrize("compress", [True, False])
def test_live_file_then_blocks(tmp_path: Path, *, compress: bool) -> None:
    path = tmp_path / "logs" / "container.log"
    log = LocalLog(settings(path, compress=compress))
    want = write(log, 0, 100)
    assert not path.exists()
    for first in range(100, 20_100, 1000):
        want += write(log, first, first + 1000)
        log._compress_from = 0.0  # as if it had taken its time
    log.close()
    assert texts(path) == want
    assert (path.stat().st_size < 200_000) == compress


def test_bytes_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LocalLog(settings(path))
    log.append("stderr", 5, [b"\xff\x00\n", b"part"])
    log.close()
    data = Path(f"{path}.live").read_bytes()
    head = local_format.read_head(os.open(f"{path}.live", os.O_RDONLY))
    assert head.attrs == '{"a":"b"}'
    frames = list(local_format.split_frames(data[head.length :]))
    assert [(stream, at, data[head.length :][start:end]) for stream, at, start, end in frames] == [
        (2, 5, b"\xff\x00\n"),
        (2, 5, b"part"),
    ]


def test_rotates(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LocalLog(settings(path, max_size=30_000, max_files=3, compress=False))
    want = write(log, 0, 5000)
    log.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log", "log.1", "log.2", "log.live"]
    kept = texts(path)
    assert kept == want[-len(kept) :]
    assert all(file.stat().st_size <= 40_000 for file in tmp_path.iterdir())


def test_goes_on_after_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    want = []
    for run in range(4):
        log = LocalLog(settings(path))
        want += write(log, run * 3000, run * 3000 + 3000)
        log.close()
    assert texts(path) == want


def test_torn_frame_and_torn_block_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LocalLog(settings(path))
    want = write(log, 0, 10_000)
    log.close()
    for name in (path, Path(f"{path}.live")):
        with name.open("ab") as file:
            file.write(b"SBLK\x00\xff\x00\x00torn")
    log = LocalLog(settings(path))
    want += write(log, 10_000, 20_000)
    log.close()
    assert texts(path) == want


def test_crash_between_block_and_new_live_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    log = LocalLog(settings(path, max_size=5000, compress=False))
    monkeypatch.setattr(os, "rename", _crash)
    with pytest.raises(KeyboardInterrupt):
        write(log, 0, 200)
    monkeypatch.undo()
    log = LocalLog(settings(path, max_size=5000, compress=False))
    write(log, 900, 901)
    log.close()
    kept = texts(path)
    assert kept[0].startswith(b"line 000000")
    assert kept[-1].startswith(b"line 000900")
    assert len(kept) == len(set(kept))


def _crash(*_names: object) -> None:
    raise KeyboardInterrupt


def test_full_disk_leaves_whole_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    log = LocalLog(settings(path))
    log.append("stdout", 1, [b"one\n"])
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, data[:30]))
    log.append("stdout", 2, [b"two\n", b"three\n"])
    monkeypatch.undo()
    log.append("stdout", 3, [b"four\n"])
    log.close()
    assert texts(path) == [b"one\n", b"two\n", b"four\n"]
    assert log.dropped_bytes > 0


def test_clear_leaves_the_new_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LocalLog(settings(path))
    write(log, 0, 20_000)
    log.clear()
    want = write(log, 5, 10)
    log.close()
    assert texts(path) == want
