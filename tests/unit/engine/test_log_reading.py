"""Both file forms behind one reader: tail, times, whole lines, rotation, compression, clearing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.engine.logs.json_files import JsonFiles
from sampan.engine.logs.local_files import LocalFiles
from sampan.engine.logs.reader import LogReader
from sampan.engine.logs.records import LogSource
from sampan.engine.types import LogRequest
from sampan.runtime.launcher import json_lines
from sampan.runtime.launcher.local_log import LocalLog
from sampan.runtime.launcher.log_file import LogFile
from sampan.runtime.launcher.log_gzip import compress_file
from sampan.runtime.launcher.messages import LogSettings

SECOND = 10**9
START = 1_700_000_000 * SECOND


class Log:
    """A log that the test writes and reads."""

    def __init__(self, folder: Path, driver: str) -> None:
        self.driver = driver
        self.path = str(folder / "x.log")
        self.sink = self.open()
        self.count = 0

    def open(self, **options: object) -> LogFile | LocalLog:
        settings = LogSettings(path=self.path, driver=self.driver, **options)
        return LogFile(settings) if self.driver == "json-file" else LocalLog(settings)

    def reopen(self, **options: object) -> None:
        self.sink.close()
        self.sink = self.open(**options)

    def write(self, count: int, *, stream: str = "stdout", each: int = 10) -> None:
        """Write numbered lines, one second apart for each batch."""
        for _ in range(count // each):
            lines = b"".join(b"%d some text to fill the file with\n" % (self.count + n) for n in range(each))
            self.sink.append(stream, START + self.count * SECOND, [lines])
            self.count += each

    def source(self) -> LogSource:
        return JsonFiles(self.path) if self.driver == "json-file" else LocalFiles(self.path)

    def read(self, **request: object) -> list[bytes]:
        with LogReader(self.source(), LogRequest(**request), container=None) as reader:
            entries = []
            while not reader.finished:
                entries += reader.read_available()
        return [entry.data for entry in entries]

    def numbers(self, **request: object) -> list[int]:
        return [int(line.split()[0]) for line in self.read(**request)]


@pytest.fixture(params=["json-file", "local"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    return Log(tmp_path, request.param)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("tail", [None, 0, 1, 7, 999, 12_345, 99_999])
def test_tail_over_many_files(log: Log, *, compress: bool, tail: int | None) -> None:
    log.reopen(max_size=300_000, max_files=100, compress=compress)
    log.write(20_000)
    want = list(range(20_000))
    assert log.numbers(tail=tail) == want[20_000 - min(20_000, tail) :] if tail is not None else want


@pytest.mark.parametrize("compress", [False, True])
def test_times(log: Log, *, compress: bool) -> None:
    log.reopen(max_size=300_000, max_files=100, compress=compress)
    log.write(20_000)
    for since in (0, 5, 9_990, 10_000, 19_995):
        want = [n for n in range(20_000) if n // 10 * 10 >= since]
        assert log.numbers(since_ns=START + since * SECOND) == want
    assert log.numbers(since_ns=START + 50 * SECOND, until_ns=START + 70 * SECOND) == list(range(50, 80))
    assert log.numbers(since_ns=START + 50 * SECOND + 1, until_ns=START + 70 * SECOND - 1) == list(
        range(60, 70)
    )
    assert log.numbers(since_ns=START + 10**6 * SECOND) == []


def test_since_reads_little_of_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path, "json-file")
    log.reopen(max_size=0)
    log.write(100_000, each=100)
    read = [0]
    for name in ("read", "pread"):
        _count_reads(monkeypatch, name, read)
    assert log.numbers(since_ns=START + 99_900 * SECOND) == list(range(99_900, 100_000))
    assert os.path.getsize(log.path) > 9 * read[0]


def _count_reads(monkeypatch: pytest.MonkeyPatch, name: str, total: list[int]) -> None:
    real: Callable[..., bytes] = getattr(os, name)

    def counting(*arguments: int) -> bytes:
        data = real(*arguments)
        total[0] += len(data)
        return data

    monkeypatch.setattr(os, name, counting)


def test_timestamps_and_details(log: Log) -> None:
    log.reopen(attrs='{"b":"x y","a":"1"}')
    log.sink.append("stdout", START + 5, [b"hi\n"])
    assert log.read(timestamps=True, details=True) == [b"2023-11-14T22:13:20.000000005Z a=1,b=x+y hi\n"]


def test_attributes_that_change_between_two_runs(tmp_path: Path) -> None:
    log = Log(tmp_path, "local")
    for attrs in ("", '{"tag":"one"}', '{"tag":"two"}', '{"tag":"two"}'):
        log.reopen(attrs=attrs)
        log.sink.append("stdout", START, [b"line\n"])
    assert log.read(details=True) == [b" line\n", b"tag=one line\n", b"tag=two line\n", b"tag=two line\n"]


def test_long_lines_in_parts_and_whole(log: Log) -> None:
    splitter = json_lines.LineSplitter()
    text = b"x" * 100_000 + b"\n"
    log.sink.append("stdout", START, [b"before\n"])
    pieces = list(splitter.feed(text))
    log.sink.append("stdout", START + 1, pieces[:3])
    log.sink.append("stderr", START + 2, [b"between\n"])
    log.sink.append("stdout", START + 3, pieces[3:])
    log.sink.append("stdout", START + 4, [b"unfinished"])
    assert len(log.read()) == 10
    assert log.read(whole_lines=True) == [b"before\n", b"between\n", text, b"unfinished"]
    assert [len(line) for line in log.read(whole_lines=True, timestamps=True)] == [38, 39, 100_032, 41]
    assert log.read(whole_lines=True, tail=2, stderr=False)[-1:] == [b"unfinished"]


def test_a_line_longer_than_what_is_held_back(log: Log) -> None:
    pieces = [b"y" * 16384 for _ in range(200)]
    log.sink.append("stdout", START, [*pieces, b"\n"])
    entries = log.read(whole_lines=True, timestamps=True)
    assert entries[0].startswith(b"2023-11-14T22:13:20.000000000Z yyy")
    assert b"".join(entries)[31:] == b"".join(pieces) + b"\n"


def test_binary_text_of_local_comes_back_as_it_was(tmp_path: Path) -> None:
    log = Log(tmp_path, "local")
    log.sink.append("stdout", START, [b"\xff\xfe\x00\r\n"])
    assert log.read() == [b"\xff\xfe\x00\r\n"]


@pytest.mark.parametrize("compress", [False, True])
def test_follows_through_rotation_and_clearing(log: Log, *, compress: bool) -> None:
    log.reopen(max_size=20_000, max_files=200, compress=compress)
    source = log.source()
    source.seek_start()
    got: list[int] = []

    def drain() -> None:
        while (records := source.read()) is not None:
            got.extend(int(record.text.split()[0]) for record in records)

    for number in range(60):
        log.write(50)
        if number % 7 == 3:
            drain()
        if number == 40:
            drain()
            log.sink.clear()
    drain()
    source.close()
    assert got == list(range(log.count))
    assert log.numbers()[0] > 2000


def test_a_json_file_that_someone_truncates_is_read_on(tmp_path: Path) -> None:
    log = Log(tmp_path, "json-file")
    source = log.source()
    source.seek_start()
    log.write(100)
    assert source.read()
    os.truncate(log.path, 0)
    log.write(10)
    assert [record.text.split()[0] for record in source.read() or []] == [b"%d" % n for n in range(100, 110)]
    source.close()


def test_gzip_reads_our_compressed_files(tmp_path: Path) -> None:
    import gzip

    log = Log(tmp_path, "json-file")
    log.reopen(max_size=20_000, compress=True)
    log.write(500)
    log.sink.close()
    text = gzip.decompress(Path(f"{log.path}.1.gz").read_bytes())
    assert text.count(b"\n") > 100
    assert not Path(f"{log.path}.1").exists()


class Overtaken(JsonFiles):
    """A source whose newest rotated file is compressed just after the files were listed."""

    def _files(self) -> list[tuple[str, int]]:
        files = super()._files()
        if os.path.exists(f"{self._path}.1"):
            compress_file(f"{self._path}.1")
        return files


@pytest.mark.parametrize("wanted", [LogRequest(), LogRequest(tail=18_000), LogRequest(since_ns=START)])
def test_a_file_that_is_compressed_while_it_is_looked_for_is_not_missed(
    tmp_path: Path, wanted: LogRequest
) -> None:
    log = Log(tmp_path, "json-file")
    log.reopen(max_size=1_500_000, max_files=100)
    log.write(20_000)
    with LogReader(Overtaken(log.path), wanted, container=None) as reader:
        got = []
        while not reader.finished:
            got += [int(entry.data.split()[0]) for entry in reader.read_available()]
    assert got == list(range(20_000 - (wanted.tail or 20_000), 20_000))
