"""Whoever is killed with -9: what must live lives, what must die dies, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.system.shim_kit import CGROUPS, Box, Client, open_box, process_lives, remove_cgroups, wait_until

from sampan.errors import NotFound, Unavailable
from sampan.runtime import lifecycle
from sampan.runtime.launcher.client import Exited, Launcher, Lost, connect_shim, read_exit_record

SPARES = 2
_DESCRIPTORS = 4  # of a launcher without spares: the standard ones and its socket


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with open_box(tmp_path) as made:
        yield made


def census(box: Box) -> dict[str, object]:
    """Count what a container could leave: cgroups, mounts, run directories, descriptors, processes."""
    mounts = Path("/proc/self/mountinfo").read_text()
    launcher = Path(f"/proc/{box.launcher.pid}")
    return {
        "cgroups": sorted(str(path) for path in CGROUPS.glob(f"*{box.cgroup}/*")),
        "mounts": [line for line in mounts.splitlines() if str(box.folder) in line],
        "run": sorted(os.listdir(box.run_root / "containers")),
        "children of the launcher": children(box.launcher.pid),
        "launcher descriptors": len(os.listdir(launcher / "fd")),
        "own descriptors": len(os.listdir("/proc/self/fd")),
    }


def children(launcher: int) -> list[str]:
    """Return the names of the launcher's children, once its spares have their workers."""
    names: list[str] = []

    def ready() -> bool:
        names[:] = [name for _, name in child_processes(launcher)]
        spares = spares_of(launcher)
        bonds = len(os.listdir(f"/proc/{launcher}/fd")) - _DESCRIPTORS  # one that was taken is replaced later
        return len(spares) == bonds == SPARES and all(child_processes(spare) for spare in spares)

    wait_until(ready, "the spares are ready")
    return sorted(names)


def child_processes(launcher: int) -> list[tuple[int, str]]:
    """Return (pid, name) of each child."""
    found = []
    for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        with contextlib.suppress(OSError):  # it may end meanwhile
            found.append((int(pid), Path(f"/proc/{pid}/comm").read_text().strip()))
    return found


def spares_of(launcher: int) -> set[int]:
    return {pid for pid, name in child_processes(launcher) if name == "sampan-spare"}


def pss_kib(pids: list[int]) -> int:
    return sum(
        int(line.split()[1])
        for pid in pids
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    )


def test_init(box: Box) -> None:
    container = box.start(["sleep", "1000"])
    os.kill(container.handle.pid, signal.SIGKILL)
    event = container.next_event(Exited)
    assert (event.code, event.signal, event.oom_killed) == (137, 9, False)
    record = read_exit_record(container.request.run_dir)
    assert record is not None
    assert (record.code, record.signal, record.finished_at) == (137, 9, event.at_ns)
    container.wait_released()


def test_shim_takes_its_container_along(box: Box) -> None:
    container = box.shell("sleep 1000 & sleep 2000")
    os.kill(container.handle.shim_pid, signal.SIGKILL)
    container.next_event(Lost)
    wait_until(lambda: not process_lives(container.handle.pid), "init dies with its shim")
    assert read_exit_record(container.request.run_dir) is None
    with pytest.raises(NotFound):
        connect_shim(container.request.run_dir)
    state_root, _, name = container.request.run_dir.rpartition("/")
    lifecycle.delete_container(state_root, name, force=True)
    assert not list(CGROUPS.glob(f"*{box.cgroup}/{name}"))


def test_launcher_does_not_take_containers_along(box: Box) -> None:
    container = box.shell("read line; echo $line; exit 5", open_stdin=True)
    os.kill(box.launcher.pid, signal.SIGKILL)
    wait_until(lambda: not box.launcher.alive(), "the client notices")
    with pytest.raises(Unavailable):
        box.start(["true"])
    box.launcher.close()
    box.launcher = Launcher.spawn(run_root=str(box.run_root))
    assert box.start(["true"]).wait().code == 0
    client = Client(framed=True, stdin=True)
    container.handle.attach(client.request)
    client.handed_over().send(b"still here\n")
    assert client.outputs()[0] == b"still here\n"
    assert container.wait().code == 5


def test_spares_that_are_killed_are_replaced(box: Box) -> None:
    children(box.launcher.pid)
    killed = spares_of(box.launcher.pid)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(spares_of(box.launcher.pid) - killed) == SPARES, "others are forked")
    assert box.start(["true"]).wait().code == 0


def test_a_spare_without_its_worker_starts_a_container_all_the_same(box: Box) -> None:
    children(box.launcher.pid)
    for spare in spares_of(box.launcher.pid):
        (worker,) = [pid for pid, _ in child_processes(spare)]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda pid=worker: not process_lives(pid), "it has ended")  # type: ignore[misc]  # bound now
    for _ in range(SPARES):
        assert box.start(["true"]).wait().code == 0


def test_spares_go_with_a_launcher_that_is_killed(box: Box) -> None:
    children(box.launcher.pid)
    spares = spares_of(box.launcher.pid)
    workers = {pid for spare in spares for pid, _ in child_processes(spare)}
    assert len(workers) == SPARES
    os.kill(box.launcher.pid, signal.SIGKILL)
    wait_until(lambda: not any(process_lives(pid) for pid in spares | workers), "nothing waits any more")


def test_spares_go_when_sampand_closes(box: Box) -> None:
    children(box.launcher.pid)
    spares = spares_of(box.launcher.pid)
    running = box.start(["sleep", "1000"])
    box.launcher.close()
    wait_until(lambda: not any(process_lives(pid) for pid in spares - {running.handle.shim_pid}), "they end")
    assert process_lives(running.handle.pid)


def test_many_starts_at_once_are_all_served(box: Box) -> None:
    with ThreadPoolExecutor(16) as pool:
        ended = list(pool.map(lambda number: box.shell(f"exit {number}").next_event(Exited).code, range(40)))
    assert ended == list(range(40))


_SAMPAND = """
import sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from sampan.runtime.launcher.client import Launcher
from tests.system.shim_kit import Box
box = Box(Path({folder!r}))
running = box.shell("i=0; while [ $i -lt 10000 ]; do echo line $i; i=$((i+1)); done; exit 9")
print(running.request.run_dir, running.log, box.cgroup, flush=True)
time.sleep(600)
"""


def test_sampand(tmp_path: Path) -> None:
    """Its launcher ends, its containers run on and log on, and their end is on record."""
    source = str(Path(__file__).parents[2] / "src")
    program = _SAMPAND.format(path=[source, str(Path(__file__).parents[2])], folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as sampand:
        assert sampand.stdout is not None
        run_dir, log, cgroup = sampand.stdout.readline().split()
        sampand.kill()
    wait_until(lambda: read_exit_record(run_dir), "the container's end is recorded")
    record = read_exit_record(run_dir)
    assert record is not None
    assert record.code == 9
    texts = [line.split('"')[3] for line in Path(log).read_text().splitlines()]
    assert texts == [f"line {number}\\n" for number in range(10000)]
    wait_until(lambda: os.listdir(run_dir) == ["exit.json"], "the shim removes the rest and ends")
    assert not [path for path in CGROUPS.glob(f"*{cgroup}/*") if path.is_dir()]
    remove_cgroups(cgroup)


def test_100_starts_leave_nothing(box: Box) -> None:
    box.shell("echo warm").wait()
    box.tidy()
    before = census(box)
    for number in range(100):
        container = box.shell(f"echo {number}; exit {number % 5}")
        assert container.wait().code == number % 5
        container.handle.close()
    box.running.clear()
    assert census(box) == before


def test_failed_starts_leave_nothing(box: Box) -> None:
    box.shell("echo warm").wait()
    box.tidy()
    before = census(box)
    for args in (["no-such-program"], ["/etc"], []):
        client = Client(framed=True)
        with pytest.raises(Exception, match=r"executable file not found|directory|denied|args"):
            box.start(args, client)
        client.close()
    wait_until(lambda: census(box) == before, "failed starts leave nothing behind")
    assert census(box) == before


def test_memory_of_a_container(box: Box) -> None:
    """The price of one more: all of our processes with ten containers and with thirty, spares among them."""

    def start(count: int) -> int:
        for _ in range(count):
            container = box.shell("echo x; read never", open_stdin=True)
            wait_until(container.log.exists, "it runs")
        return pss_of_all()

    def pss_of_all() -> int:
        children(box.launcher.pid)  # all spares are there
        forks = [pid for pid, _ in child_processes(box.launcher.pid)]
        workers = [worker for spare in spares_of(box.launcher.pid) for worker, _ in child_processes(spare)]
        return pss_kib([box.launcher.pid, *forks, *workers])

    base = pss_of_all()
    few = start(10)
    each = (start(20) - few) / 20
    print(f"launcher with its spares {base} KiB; each container's shim {each:.0f} KiB PSS")
    # The budget is 1.5 MiB on average of 100 (bench/, docs/performance.md).
    assert each < 1536


def test_out_of_memory(box: Box) -> None:
    def limit(config: dict) -> None:  # type: ignore[type-arg]
        config["linux"]["resources"]["memory"] = {"limit": 16 << 20}

    container = box.shell("tail -c 200000000 /dev/zero; exit 3", config=limit)
    event = container.wait()
    assert event.oom_killed
    assert event.code in (3, 137)
