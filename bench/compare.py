"""Measure sampan beside its peers, alternating in one run, and print ratios (`bench/run --help`)."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import api, engines, logs, observing

TARGET = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BURST = 100
MANY, READERS, EVENTS = 1000, 100, 400
STREAMED = {"sampan": 500, "docker": 100}


@dataclass(slots=True)
class Row:
    """One comparison: what was measured, the unit, and the values of each contestant."""

    name: str
    unit: str
    budget: str = ""
    values: dict[str, list[float]] = field(default_factory=dict)

    def result(self, contestant: str) -> float | None:
        found = self.values.get(contestant)
        return median(found) if found else None


Contestants = dict[str, Sequence[str]]


def time_command(command: Sequence[str], *, limit_s: float | None = None) -> float:
    """Return the milliseconds a command takes, as its user waits for it.

    Raises:
        RuntimeError: it failed; the message carries what it said.
        subprocess.TimeoutExpired: it was killed after limit_s.
    """
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, timeout=limit_s)
    spent = (time.perf_counter() - begin) * 1000
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stderr.decode()[-300:]}"
        )
    return spent


def alternate(row: Row, contestants: Contestants, rounds: int, *, pause_s: float = 0.0) -> Row:
    """Run every contestant once a round; one that cannot run here is left out of the row, and said.

    In another order each round, since what one leaves to be cleared away is on the next one's time; pause_s:
    how long that is waited for.
    """
    able = {}
    for name, command in contestants.items():
        try:
            time_command(command)  # warms caches, and shows whether it works at all
            able[name] = command
        except (RuntimeError, OSError) as exc:
            print(f"{row.name}: {name} left out: {exc}", file=sys.stderr)
    for number in range(rounds):
        for name in random.Random(number).sample(sorted(able), len(able)):
            time.sleep(pause_s)
            row.values.setdefault(name, []).append(time_command(able[name]))
    return row


def start_rows(found: dict[str, engines.Engine], rounds: int) -> list[Row]:
    rows = []
    for network in ("none", "host"):
        contestants: Contestants = {
            name: engine.run("--rm", "--network", network, "busybox", "true")
            for name, engine in found.items()
        }
        if "sampan" in found:
            contestants["docker CLI on sampand"] = (
                "/usr/bin/docker", "-H", f"unix://{found['sampan'].socket}",
                "run", "--rm", "--network", network, "busybox", "true",
            )  # fmt: skip
        budget = "≤ 1/8 of docker; its CLI here ≤ 1/5" if network == "none" else ""
        row = Row(f"start: run --rm --network {network} busybox true", "ms", budget)
        rows.append(alternate(row, contestants, rounds))
    return rows


def exec_row(found: dict[str, engines.Engine], rounds: int) -> Row:
    row = Row("exec: exec NAME true", "ms", "≤ 1/4 of docker; its CLI here ≤ 1/2")
    start = ("-d", "--name", "target", "--network", "none", "busybox", "sleep", "900")
    try:
        for engine in found.values():
            time_command(engine.run(*start))
        contestants: Contestants = {
            name: (*engine.client, "exec", "target", "true") for name, engine in found.items()
        }
        if "sampan" in found:
            socket = f"unix://{found['sampan'].socket}"
            contestants["docker CLI on sampand"] = ("/usr/bin/docker", "-H", socket, "exec", "target", "true")
        return alternate(row, contestants, rounds)
    finally:
        for engine in found.values():
            subprocess.run([*engine.client, "rm", "-f", "target"], capture_output=True)


def logs_rows(found: dict[str, engines.Engine], root: Path, rounds: int) -> list[Row]:
    lines = logs.make_log(root / "big.log")
    try:
        for engine in found.values():
            if engine.socket:
                logs.put_log(engine, "big", root / "big.log")
        since = logs.stamp_of(lines - 200)
        return [
            alternate(
                Row("logs: logs --tail 100 of a 1 GB log", "ms", "≤ 1/2 of docker"),
                logs.commands(found, "big", "--tail", "100"),
                rounds,
            ),
            alternate(
                Row("logs: logs --since of it, the last 200 lines", "ms", "≤ 1/2 of docker"),
                logs.commands(found, "big", "--since", since),
                max(1, rounds // 4),
            ),
        ]
    finally:
        for engine in found.values():
            subprocess.run([*engine.client, "rm", "-f", "big"], capture_output=True)
        (root / "big.log").unlink()


def runtime_row(root: Path, rounds: int) -> Row:
    bundle = engines.runtime_bundle(root / "bundle")
    programs = {
        "sampan": str(engines.VENV / "sampan-runtime"),
        "runc": "/usr/sbin/runc",
        "crun": "/usr/bin/crun",
    }
    contestants: Contestants = {
        name: (program, "--root", f"{root}/state-{name}", "run", "--bundle", str(bundle), f"bench-{name}")
        for name, program in programs.items()
    }
    return alternate(Row("runtime: run of a bundle, no daemon", "ms", "≤ runc"), contestants, rounds)


def burst_rows(found: dict[str, engines.Engine], rounds: int) -> list[Row]:
    burst = Row(f"burst: {BURST} containers at once, to all running", "s", "≤ 1 s, ≥ 5 times docker")
    memory = Row("memory: for each running container", "MiB", "≤ 1.5 MiB")
    for _ in range(rounds):
        for name, engine in found.items():
            if engine.socket is None:
                continue
            spent, ids = api.start_burst(engine.socket, BURST)
            burst.values.setdefault(name, []).append(spent)
            pids = engine.container_pids()
            memory.values.setdefault(name, []).append(engines.pss_bytes(pids) / len(ids) / 2**20)
            api.remove_all(engine.socket, ids)
    return [burst, memory]


def ps_row(found: dict[str, engines.Engine], rounds: int) -> Row:
    """Time `ps -a` with many containers; they are not started, which costs the peers minutes."""
    row = Row(f"ps: ps -a with {MANY:,} containers", "ms", "≤ 1/2 of docker")
    made = {
        name: (engine.socket, observing.create_many(engine.socket, MANY))
        for name, engine in found.items()
        if engine.socket is not None
    }
    try:
        contestants: Contestants = {name: (*found[name].client, "ps", "-a") for name in made}
        if "sampan" in made:
            contestants["docker CLI on sampand"] = (
                "/usr/bin/docker", "-H", f"unix://{found['sampan'].socket}", "ps", "-a",
            )  # fmt: skip
        return alternate(row, contestants, rounds)
    finally:
        for socket, ids in made.values():
            api.remove_all(socket, ids)


def stats_row(found: dict[str, engines.Engine]) -> Row:
    """Stream the stats of many running containers, fewer of the peer: the cost of a sample counts."""
    row = Row("stats: CPU of the daemon for a sample of a container", "µs", "≤ 1/2 of docker")
    for name, engine in found.items():
        if engine.socket is None:
            continue
        ids: list[str] = []
        try:
            for _ in range(STREAMED[name] // BURST):
                ids += api.start_burst(engine.socket, BURST)[1]
            row.values[name] = [observing.stats_cpu_us(engine.socket, ids, engine.daemon_pids())]
        finally:
            api.remove_all(engine.socket, ids)
    return row


def events_rows(found: dict[str, engines.Engine], rounds: int) -> list[Row]:
    told = Row(f"events: an image is tagged, {READERS} readers told", "ms", "≤ 1/2 of docker")
    each = Row(f"events: CPU of the daemon for each of {READERS} readers", "µs", "≤ 1/2 of docker")
    for _ in range(rounds):
        for name, engine in found.items():
            if engine.socket is not None:
                spent = observing.fan_out_ms(engine.socket, readers=READERS, events=EVENTS)
                told.values.setdefault(name, []).append(spent)
                cpu = observing.fan_out_cpu_us(
                    engine.socket, engine.daemon_pids(), readers=READERS, events=EVENTS
                )
                each.values.setdefault(name, []).append(cpu)
    return [told, each]


def idle_row(found: dict[str, engines.Engine]) -> Row:
    row = Row("memory: daemon and its helpers, idle", "MiB", "≤ 60 MiB")
    for name, engine in found.items():
        if pids := engine.daemon_pids():
            row.values[name] = [engines.pss_bytes(pids) / 2**20]
    return row


def render(rows: list[Row], rounds: int) -> str:
    """Return the table in Markdown: values, and how many times as much each peer takes."""
    names = ["sampan", "docker CLI on sampand", "buildx on sampand"]
    names += ["docker", "docker BuildKit", "podman", "buildah"]
    names += ["skopeo, umoci", "runc", "crun", "by hand", "sampan, none"]
    names = [name for name in names if any(name in row.values for row in rows)]
    lines = [
        "| what (median) | unit | budget | " + " | ".join(names) + " |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for row in rows:
        own = row.result("sampan")
        cells = []
        for name in names:
            value = row.result(name)
            if value is None:
                cells.append("-")
            elif name == "sampan" or not own:
                cells.append(f"{value:.3g}")
            else:
                cells.append(f"{value:.3g} ({value / own:.1f} x)")
        lines.append(f"| {row.name} | {row.unit} | {row.budget} | " + " | ".join(cells) + " |")
    return "\n".join([*_machine(rounds), "", *lines, ""])


def _machine(rounds: int) -> list[str]:
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "?")
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    versions = []
    for command in (
        ["/usr/bin/docker", "--version"],
        ["podman", "--version"],
        ["runc", "--version"],
        ["crun", "--version"],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            versions.append(done.stdout.splitlines()[0])
        except (OSError, IndexError):
            continue
    return [
        f"Measured {when}; {os.cpu_count()} cores, {model}, Linux {platform.release()}, Python "
        f"{platform.python_version()}; {rounds} rounds, alternating. In brackets: times sampan's value.",
        f"Peers: {'; '.join(versions)}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="keep the table in docs/performance.md")
    parser.add_argument("--root", type=Path, default=Path("/var/tmp"), help="where scratch files go")
    parser.add_argument(
        "names", nargs="*", help="only rows whose name begins with one of these words; builds:WORD, one row"
    )
    options = parser.parse_args()

    def wanted(word: str) -> bool:
        return not options.names or word in options.names

    builds_rows = [name.partition(":")[2] for name in options.names if name.startswith("builds:")]
    rows: list[Row] = []
    broken_off = False
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both keep what was measured so far
    try:
        _measure_all(rows, options, wanted, builds_rows)
    except KeyboardInterrupt:
        broken_off = True
    table = render([row for row in rows if row.values], options.rounds)
    print(table)
    if broken_off:
        sys.exit("broken off: the table has what was measured until then")
    if options.write:
        head = TARGET.read_text().partition("<!-- table -->")[0] if TARGET.exists() else "# Performance\n\n"
        TARGET.write_text(f"{head}<!-- table -->\n\n{table}")


def _measure_all(
    rows: list[Row],
    options: argparse.Namespace,
    wanted: Callable[[str], bool],
    builds_rows: list[str],
) -> None:
    """Start the engines that are asked for, and append the rows."""
    with ExitStack() as stack:
        root = stack.enter_context(engines.scratch(options.root))
        if wanted("runtime"):
            rows.append(runtime_row(root, options.rounds))
        words = "start exec burst memory ps stats events files logs registry builds"
        if builds_rows or any(map(wanted, words.split())):
            makers: list[Callable[[Path], object]] = [engines.sampan, engines.dockerd, engines.podman]
            found: dict[str, engines.Engine] = {}
            for maker in makers:
                engine: engines.Engine = stack.enter_context(maker(root / maker.__name__))  # type: ignore[arg-type]
                found[engine.name] = engine
            if wanted("memory"):
                rows.append(idle_row(found))
            if wanted("start"):
                rows += start_rows(found, options.rounds)
            if wanted("exec"):
                rows.append(exec_row(found, options.rounds))
            if wanted("burst"):
                rows += burst_rows(found, max(1, options.rounds // 7))
            if wanted("ps"):
                rows.append(ps_row(found, options.rounds))
            if wanted("stats"):
                rows.append(stats_row(found))
            if wanted("logs"):
                rows += logs_rows(found, root, options.rounds)
            if wanted("events"):
                rows += events_rows(found, max(1, options.rounds // 4))
            if wanted("files"):
                from bench import files  # which needs what is defined here

                rows += files.rows(root, found, max(1, options.rounds // 7))
            if wanted("registry"):
                from bench import registries

                rows += registries.rows(root, found, max(1, options.rounds // 7))
            if builds_rows or wanted("builds"):
                from bench import builds  # which needs what is defined here

                builds.measure(rows, root, found, builds_rows)


if __name__ == "__main__":
    main()
