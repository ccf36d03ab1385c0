"""`sampan explain run`, `sampan inspect --anatomy`, completion of names, and mistakes that reach a daemon."""

from __future__ import annotations

import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator

import pytest
from tests.system.cli.harness import DEADLINE_S, SAMPAN, sampan
from tests.system.sampand import Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]


@pytest.fixture
def sleeper(sampand: Sampand) -> Iterator[str]:
    name = f"t{uuid.uuid4().hex[:12]}"
    flags = ["--network", "none", "--name", name, "-m", "32m", "--read-only", "--cap-drop", "ALL"]
    assert sampan(sampand.host, "run", "-d", *flags, "busybox", "sleep", "600").code == 0
    yield name
    sampan(sampand.host, "rm", "-f", name)


def test_explain_runs_and_tells_every_plank(sampand: Sampand) -> None:
    done = sampan(
        sampand.host, "explain", "run", "--rm", "--network", "none", "busybox", "sh", "-c", "echo hi; exit 3"
    )
    assert (done.code, done.err) == (3, "")
    lines = done.out.splitlines()
    assert lines[0] == "hi"
    assert re.fullmatch(r"[a-z0-9_]+: \d+ steps, [0-9.]+ [mµ]s", lines[1])
    for wanted in (
        "what it sees",
        "what it may use",
        "mount proc at /proc",
        "pivot_root",
        "seccomp filter",
        "new namespaces",
    ):
        assert any(wanted in line for line in lines), wanted
    assert "\x1b" not in done.out
    assert sampan(sampand.host, "ps", "-aq").out == ""


def test_explain_as_json(sampand: Sampand) -> None:
    done = sampan(
        sampand.host, "explain", "run", "--rm", "--network", "none", "--format", "json", "busybox", "true"
    )
    steps = json.loads(done.out)
    assert {step["plank"] for step in steps} >= {"sees", "may", "process"}
    assert all(isinstance(step["microseconds"], int) for step in steps)


def test_explain_of_what_cannot_run_leaves_nothing(sampand: Sampand) -> None:
    done = sampan(sampand.host, "explain", "run", "--rm", "--network", "none", "busybox", "nosuchprogram")
    assert done.code == 127
    assert sampan(sampand.host, "ps", "-aq").out == ""


def test_anatomy_is_read_back_from_the_kernel(sampand: Sampand, sleeper: str) -> None:
    for command in (["inspect", "--anatomy", sleeper], ["explain", "show", sleeper]):
        shown = sampan(sampand.host, *command).out
        pid = sampan(sampand.host, "inspect", "-f", "{{.State.Pid}}", sleeper).out.strip()
        assert shown.startswith(f"{sleeper} (")
        assert f"process {pid} outside" in shown
        for wanted in ("sleep 600", "its own", "capabilities (0)", "overlay", "pids.max"):
            assert wanted in shown, wanted
    document = json.loads(sampan(sampand.host, "explain", "show", "--format", "json", sleeper).out)
    assert document["may_use"]["capabilities"]["effective"] == []


def test_anatomy_of_what_does_not_run(sampand: Sampand, sleeper: str) -> None:
    assert sampan(sampand.host, "explain", "show", "nosuch").err == "error: No such container: nosuch\n"
    sampan(sampand.host, "kill", sleeper)
    sampan(sampand.host, "wait", sleeper)
    done = sampan(sampand.host, "explain", "show", sleeper)
    assert done.code == 1
    assert "is not running" in done.err


def test_names_are_completed(sampand: Sampand, sleeper: str) -> None:
    def offered(*words: str) -> list[str]:
        done = sampan(sampand.host, "__complete", *words)
        return [line.partition("\t")[0] for line in done.out.splitlines()]

    assert offered("exec", "-i", sleeper[:4]) == [sleeper]
    assert offered("stop", "x", sleeper[:4]) == [sleeper]
    assert offered("run", "--rm", "busy") == ["busybox"]
    assert offered("inspect", "") == [sleeper, "busybox"]
    sampan(sampand.host, "kill", sleeper)
    sampan(sampand.host, "wait", sleeper)
    assert offered("exec", "") == []
    assert offered("rm", "") == [sleeper]


def test_a_socket_that_others_may_not_open(sampand: Sampand) -> None:
    """Another user; who runs the command is root still, or it could not read a checkout in root's home."""
    socket = sampand.host.removeprefix("unix://")
    owner = os.stat(socket)
    os.chown(socket, 65534, 65534)
    try:
        done = subprocess.run(
            ["setpriv", "--bounding-set=-all", "--inh-caps=-all", SAMPAN, "-H", sampand.host, "ps"],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
    finally:
        os.chown(socket, owner.st_uid, owner.st_gid)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: permission denied on {sampand.host}\nhint: ")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--memory", "1m"], "Minimum memory limit allowed is 6MB"),
        (["--cap-add", "FLY"], "FLY"),
        (["--user", "nobodyhere"], "nobodyhere"),
        (["-v", "/no/such/path:/x:badoption"], "badoption"),
        (["--name", "-bad"], "Invalid container name"),
        (["--runtime", "nosuch"], "nosuch"),
    ],
)
def test_refusals_of_the_daemon_are_one_line_and_125(
    sampand: Sampand, flags: list[str], message: str
) -> None:
    done = sampan(sampand.host, "run", "--rm", "--network", "none", *flags, "busybox", "true")
    assert done.code == 125
    first, *rest = done.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert all(line.startswith("hint: ") for line in rest)
    assert sampan(sampand.host, "ps", "-aq").out == ""
