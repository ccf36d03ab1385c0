"""What `docker stats` shows of one cgroup, read fast: a dozen files, opened by path. Lean (decision 0002).

`CgroupManager.stats` gives all that runc's events have and takes ten times as long; a thousand containers are
sampled each second. No descriptor is held between samples. Paths are those a manager gave for a cgroup of
ours: cgroup file systems have no links, and nothing inside a container can rename its cgroup.
Source: kernel admin-guide/cgroup-v1 and cgroup-v2.
"""

from __future__ import annotations

import errno
import os

from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Read = Callable[[], "Sample"]
    IoEntry = tuple[int, int, str, int]  # major, minor, operation as the kernel writes it, value

_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_SIZE = 16384  # bytes; memory.stat has 2 KiB, the files of block devices a line for each device
_GONE = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)
_FAMILIES = ("bfq", "throttle")  # kernel 5.0 and newer; the throttling layer's, where the disk has no BFQ


@record
class Sample:
    """One moment of one cgroup. Times in ns, sizes in bytes; None: not in this version of cgroups.

    memory_limit and pids_limit: -1 is no limit (v1's memory limit is then a huge number).
    """

    cpu_ns: int
    user_ns: int
    kernel_ns: int
    percpu_ns: list[int] | None
    periods: int
    throttled_periods: int
    throttled_ns: int
    memory_bytes: int
    memory_peak_bytes: int | None
    memory_failures: int | None
    memory_limit: int
    memory_details: dict[str, int]
    pids: int
    pids_limit: int
    io_bytes: list[IoEntry]
    io_operations: list[IoEntry] | None


def open_samples(paths: Mapping[str, str]) -> Read:
    """Return a function that reads a sample of the cgroup with these paths (`CgroupManager.paths`).

    It raises FileNotFoundError when the cgroup is gone.
    """
    by_controller = {name: path for names, path in paths.items() for name in names.split(",") if name}
    if by_controller:
        return _V1(by_controller).read
    return _V2(paths[""]).read


class _V1:
    def __init__(self, directories: Mapping[str, str]) -> None:
        """Name each file once; a controller that is not mounted reads as nothing."""
        find = directories.get
        cpuacct, cpu, memory = find("cpuacct"), find("cpu"), find("memory")
        pids, blkio = find("pids"), find("blkio")
        self._home = cpuacct or memory or pids or next(iter(directories.values()))
        self._usage, self._percpu = _name(cpuacct, "cpuacct.usage"), _name(cpuacct, "cpuacct.usage_percpu")
        self._ticks, self._throttling = _name(cpuacct, "cpuacct.stat"), _name(cpu, "cpu.stat")
        self._memory = [
            _name(memory, f"memory.{file}")
            for file in ("usage_in_bytes", "max_usage_in_bytes", "failcnt", "limit_in_bytes", "stat")
        ]
        self._pids, self._pids_limit = _name(pids, "pids.current"), _name(pids, "pids.max")
        self._blkio = blkio

    def read(self) -> Sample:
        usage = _find_file(self._usage)
        if not usage and not os.path.isdir(self._home):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._home)
        ticks, throttling = _keyed(_find_file(self._ticks)), _keyed(_find_file(self._throttling))
        memory, peak, failures, limit = (_number(_find_file(path)) for path in self._memory[:4])
        return Sample(
            cpu_ns=_number(usage),
            user_ns=ticks.get("user", 0) * _NS_PER_TICK,
            kernel_ns=ticks.get("system", 0) * _NS_PER_TICK,
            percpu_ns=[int(part) for part in _find_file(self._percpu).split()],
            periods=throttling.get("nr_periods", 0),
            throttled_periods=throttling.get("nr_throttled", 0),
            throttled_ns=throttling.get("throttled_time", 0),
            memory_bytes=memory,
            memory_peak_bytes=peak,
            memory_failures=failures,
            memory_limit=limit,
            memory_details=_keyed(_find_file(self._memory[4])),
            pids=_number(_find_file(self._pids)),
            pids_limit=_number(_find_file(self._pids_limit)),
            io_bytes=self._entries("io_service_bytes_recursive"),
            io_operations=self._entries("io_serviced_recursive"),
        )

    def _entries(self, counter: str) -> list[IoEntry]:
        for family in _FAMILIES:
            found = _io_entries(_find_file(_name(self._blkio, f"blkio.{family}.{counter}")))
            if found:
                return found
        return []


class _V2:
    def __init__(self, directory: str) -> None:
        self._directory = directory

    def read(self) -> Sample:
        cpu = _keyed(read_small(f"{self._directory}/cpu.stat"))
        return Sample(
            cpu_ns=cpu.get("usage_usec", 0) * 1000,
            user_ns=cpu.get("user_usec", 0) * 1000,
            kernel_ns=cpu.get("system_usec", 0) * 1000,
            percpu_ns=None,
            periods=cpu.get("nr_periods", 0),
            throttled_periods=cpu.get("nr_throttled", 0),
            throttled_ns=cpu.get("throttled_usec", 0) * 1000,
            memory_bytes=_number(self._find("memory.current")),
            memory_peak_bytes=None,
            memory_failures=None,
            memory_limit=_number(self._find("memory.max")),
            memory_details=_keyed(self._find("memory.stat")),
            pids=_number(self._find("pids.current")),
            pids_limit=_number(self._find("pids.max")),
            io_bytes=_io_stat(self._find("io.stat")),
            io_operations=None,
        )

    def _find(self, name: str) -> str:
        return _find_file(f"{self._directory}/{name}")


def _name(directory: str | None, file: str) -> str:
    return "" if directory is None else f"{directory}/{file}"


def _find_file(path: str) -> str:
    """Return the text of a cgroup file; nothing where there is none."""
    if not path:
        return ""
    try:
        return read_small(path)
    except OSError as exc:
        if exc.errno not in _GONE:
            raise
        return ""


def read_small(path: str) -> str:
    """Return the text of a file of the kernel's in three calls."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, _SIZE)
        if len(data) >= _SIZE - 4096:  # kernfs fills a page at a time: there may be more
            while more := os.read(fd, _SIZE):
                data += more
    finally:
        os.close(fd)
    return data.decode("ascii", "replace")


def _number(text: str) -> int:
    text = text.strip()
    return -1 if text == "max" else int(text or 0)


def _keyed(text: str) -> dict[str, int]:
    """Return a file of `key number` lines."""
    words = text.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=False))


def _io_entries(text: str) -> list[IoEntry]:
    """Parse lines as `8:0 Read 4096`; the total of all devices, `Total 4096`, is left out."""
    entries = []
    for line in text.splitlines():
        words = line.split()
        major, colon, minor = words[0].partition(":")
        if colon and len(words) == 3:
            entries.append((int(major), int(minor), words[1], int(words[2])))
    return entries


_IO_KEYS = {"rbytes": "read", "wbytes": "write"}


def _io_stat(text: str) -> list[IoEntry]:
    """Parse `8:0 rbytes=1 wbytes=2 …`; Docker shows the bytes alone on v2."""
    entries: list[IoEntry] = []
    for line in text.splitlines():
        node, *pairs = line.split()
        major, colon, minor = node.partition(":")
        for pair in pairs if colon else ():
            key, _, value = pair.partition("=")
            if key in _IO_KEYS:
                entries.append((int(major), int(minor), _IO_KEYS[key], int(value)))
    return entries
