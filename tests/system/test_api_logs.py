"""The log endpoints over HTTP, our CLI and docker's: whole lines, clearing, defaults, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root, serve

pytestmark = [needs_root, needs_busybox]
SAMPAN = str(Path(sys.executable).parent / "sampan")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    daemon = serve(tmp_path_factory.mktemp("sampand"))
    try:
        yield daemon
    finally:
        daemon.close()


def run(daemon: Sampand, script: str, *, log: dict[str, Any] | None = None, **body: Any) -> str:
    """Run a shell script in a container to its end and return the container's id."""
    host = {"NetworkMode": "none"} | ({"LogConfig": log} if log else {})
    made = daemon.call(
        "POST",
        "/containers/create",
        {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host} | body,
    )["Id"]
    daemon.call("POST", f"/containers/{made}/start")
    daemon.call("POST", f"/containers/{made}/wait")
    return str(made)


def sampan(daemon: Sampand, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [SAMPAN, *arguments], env=daemon.environment, capture_output=True, timeout=60, check=False
    )


def test_a_long_line_is_whole_for_us_and_in_parts_for_docker(daemon: Sampand) -> None:
    container = run(daemon, "head -c 50000 /dev/zero | tr '\\0' x; echo; echo end")
    ours = sampan(daemon, "logs", "-t", container).stdout
    theirs = daemon.docker("logs", "-t", container).out
    assert [len(line) for line in ours.splitlines()] == [50_031, 34]
    assert theirs.count(b"Z x") == 4
    _, _, raw = daemon.request("GET", f"/containers/{container}/logs?stdout=1")
    assert int.from_bytes(raw[4:8], "big") == 16384
    assert sampan(daemon, "logs", "-n", "2", container).stdout == b"x" * 50_000 + b"\nend\n"


def test_clear(daemon: Sampand) -> None:
    container = run(daemon, "echo hi")
    assert sampan(daemon, "logs", "--clear", container).returncode == 0
    assert sampan(daemon, "logs", container).stdout == b""
    assert daemon.request("DELETE", "/sampan/v1/containers/nope/logs")[0] == 404
    none = run(daemon, "echo hi", log={"Type": "none"})
    assert daemon.request("DELETE", f"/sampan/v1/containers/{none}/logs")[0] == 501
    missing = sampan(daemon, "logs", "nope")
    assert (missing.returncode, b"No such container: nope" in missing.stderr) == (1, True)


def test_since_and_until_to_the_microsecond(daemon: Sampand) -> None:
    container = run(daemon, "for i in 1 2 3 4 5; do echo $i; usleep 2000; done")
    stamps = [
        line.split()[0] for line in sampan(daemon, "logs", "-t", container).stdout.decode().splitlines()
    ]
    third = stamps[2]

    def lines(wanted: Callable[[str], bool]) -> bytes:
        """Return the lines with such a time: those that were read at once have the same."""
        return b"".join(b"%d\n" % number for number, stamp in enumerate(stamps, 1) if wanted(stamp))

    for logs in (lambda *a: sampan(daemon, "logs", *a).stdout, lambda *a: daemon.docker("logs", *a).out):
        assert logs("--since", third, container) == lines(lambda stamp: stamp >= third)
        assert logs("--until", third, container) == lines(lambda stamp: stamp <= third)
        assert logs("--since", third, "--until", third, container) == lines(lambda stamp: stamp == third)


def test_follow_until(daemon: Sampand) -> None:
    made = daemon.docker("run", "-d", "--network", "none", "busybox", "sh", "-c", "echo hi; sleep 60").text
    begin = time.monotonic()
    until = f"{time.time() + 0.5:.6f}"
    assert sampan(daemon, "logs", "-f", "--until", until, made).stdout == b"hi\n"
    assert time.monotonic() - begin < 20
    daemon.docker("rm", "-f", made)


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ({"Type": "json-file", "Config": {"x": "1"}}, "unknown log opt 'x' for json-file log driver"),
        ({"Config": {"x": "1"}}, "unknown log opt 'x' for json-file log driver"),
        ({"Type": "nope"}, 'error looking up logging plugin nope: plugin "nope" not found'),
        ({"Type": "syslog", "Config": {"syslog-format": "x"}}, "Invalid syslog format"),
    ],
)
def test_refusals(daemon: Sampand, log: dict[str, Any], message: str) -> None:
    body = {"Image": "busybox", "HostConfig": {"NetworkMode": "none", "LogConfig": log}}
    status, _, answer = daemon.request("POST", "/containers/create", body)
    assert (status, json.loads(answer)["message"]) == (400, message)


def test_a_target_that_is_away_fails_the_start(daemon: Sampand) -> None:
    log = {"Type": "syslog", "Config": {"syslog-address": "tcp://127.0.0.1:1"}}
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", "LogConfig": log}}
    made = daemon.call("POST", "/containers/create", body)["Id"]
    status, _, answer = daemon.request("POST", f"/containers/{made}/start")
    assert status == 500
    assert "failed to initialize logging driver: dial tcp 127.0.0.1:1" in json.loads(answer)["message"]


def test_defaults_of_the_daemon(tmp_path: Path) -> None:
    daemon = Sampand(tmp_path)
    daemon.start("--log-driver=local", "--log-opt=max-size=1m", "--log-opt=tag={{.Name}}")
    try:
        daemon.load_busybox()
        info = daemon.call("GET", "/info")
        assert info["LoggingDriver"] == "local"
        assert info["Plugins"]["Log"] == ["journald", "json-file", "local", "none", "syslog"]
        container = run(daemon, "echo hi")
        found = daemon.call("GET", f"/containers/{container}/json")
        assert found["HostConfig"]["LogConfig"] == {
            "Type": "local",
            "Config": {"max-size": "1m", "tag": "{{.Name}}"},
        }
        name = found["Name"].removeprefix("/")
        assert sampan(daemon, "logs", "--details", container).stdout == f"tag={name} hi\n".encode()
        done = sampan(
            daemon,
            "run",
            "--network=none",
            "--log-driver=json-file",
            "--log-opt=max-file=3",
            "busybox",
            "echo",
            "x",
        )
        assert done.stdout == b"x\n"
        latest = daemon.call("GET", "/containers/json?all=1&limit=1")[0]["Id"]
        config = daemon.call("GET", f"/containers/{latest}/json")["HostConfig"]["LogConfig"]
        assert config == {"Type": "json-file", "Config": {"max-file": "3"}}
    finally:
        daemon.close()


def test_bad_defaults_are_refused_at_once(tmp_path: Path) -> None:
    from tests.system.sampand import SAMPAND

    done = subprocess.run(
        [SAMPAND, f"--data-root={tmp_path}/d", f"--run-root={tmp_path}/r", "--log-opt=x=1"],
        capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert b"unknown log opt 'x' for json-file log driver" in done.stderr
