"""`sampan stop`, `update`, `wait`, `rename`, `container prune`, `ps` and `top`, against both daemons."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from tests.system.cli.harness import Daemon, sampan
from tests.system.sampand import Sampand, wait_for

FOR_EVER = ("busybox", "sleep", "1000")


@pytest.fixture
def run(daemon: Daemon) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run a command of sampan; its code, output, errors. Containers it names are removed."""

    def call(*words: str, stdin: bytes = b"") -> tuple[int, str, str]:
        done = sampan(daemon.host, *words, stdin=stdin)
        return done.code, done.out, done.err

    yield call
    names = call("ps", "-aq")[1].split()
    if names:
        call("rm", "-f", *names)


@pytest.fixture
def own(sampand: Sampand) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """The same against sampand alone."""

    def call(*words: str, stdin: bytes = b"") -> tuple[int, str, str]:
        done = sampan(sampand.host, *words, stdin=stdin)
        return done.code, done.out, done.err

    yield call
    sampand.remove_containers()


def test_stop_says_why_it_killed(own: Callable[..., tuple[int, str, str]]) -> None:
    own("run", "-d", "--name", "deaf", *FOR_EVER)
    code, out, err = own("stop", "-t", "1", "deaf")
    assert (code, out) == (0, "deaf\n")
    assert "deaf: killed: PID 1 (sleep) has no handler for SIGTERM\n" in err
    assert "--now-if-unhandled" in err
    own("start", "deaf")
    began = time.monotonic()
    code, out, err = own("stop", "--now-if-unhandled", "deaf")
    assert time.monotonic() - began < 5
    assert (code, out) == (0, "deaf\n")


def test_stop_waits_for_who_handles_the_signal(own: Callable[..., tuple[int, str, str]]) -> None:
    script = "trap 'sleep 1; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    own("run", "-d", "--name", "polite", "busybox", "sh", "-c", script)
    wait_for(lambda: "ready" in own("logs", "polite")[1], "its handler is there")
    assert own("stop", "--now-if-unhandled", "polite") == (0, "polite\n", "")
    assert own("wait", "polite") == (0, "7\n", "")
    assert own("wait", "--condition", "not-running", "polite") == (0, "7\n", "")
    code, _, err = own("wait", "--condition", "nonsense", "polite")
    assert (code, 'invalid condition: "nonsense"' in err) == (1, True), err
    own("run", "-d", "--name", "stubborn", "busybox", "sh", "-c", script.replace("exit 7", "true"))
    wait_for(lambda: "ready" in own("logs", "stubborn")[1], "its handler is there")
    _, _, err = own("stop", "-t", "1", "stubborn")
    assert "stubborn: killed: PID 1 (sh) did not end within 1 s of SIGTERM" in err


def test_with_init_a_stop_is_quick(own: Callable[..., tuple[int, str, str]]) -> None:
    own("run", "-d", "--init", "--name", "ini", *FOR_EVER)
    assert own("stop", "ini") == (0, "ini\n", "")
    assert own("wait", "ini")[1] == "143\n"


def test_zombies_are_shown(own: Callable[..., tuple[int, str, str]]) -> None:
    orphan = "(sleep 0.1 & exec sleep 0) & exec sleep 1000"  # exec: the shell that would reap is gone
    own("run", "-d", "--name", "zoo", "busybox", "sh", "-c", orphan)
    wait_for(lambda: "(2 zombies)" in own("ps")[1], "they are counted")
    assert own("top", "zoo")[1].count("<defunct>") == 2
    own("run", "-d", "--init", "--name", "clean", "busybox", "sh", "-c", orphan)
    time.sleep(0.3)
    assert "zombie" not in own("ps", "--filter", "name=clean")[1]


@pytest.mark.parametrize("signal", ["RTMIN+3", "SIGRTMIN+3", "37"])
def test_real_time_stop_signal(run: Callable[..., tuple[int, str, str]], signal: str) -> None:
    script = "trap 'exit 37' 37; echo ready; while :; do sleep 0.05; done"
    run("run", "-d", "--name", "rt", "--stop-signal", signal, "busybox", "sh", "-c", script)
    wait_for(lambda: "ready" in run("logs", "rt")[1], "its handler is there")
    assert run("stop", "rt")[:2] == (0, "rt\n")
    assert run("wait", "rt")[1] == "37\n"


def test_update(run: Callable[..., tuple[int, str, str]]) -> None:
    run("run", "-d", "--name", "upd", *FOR_EVER)
    assert run("update", "--restart", "on-failure:5", "--pids-limit", "77", "upd")[:2] == (0, "upd\n")
    policy = run("inspect", "-f", "{{json .HostConfig.RestartPolicy}} {{.HostConfig.PidsLimit}}", "upd")[1]
    text, _, limit = policy.strip().rpartition(" ")
    assert json.loads(text) == {"Name": "on-failure", "MaximumRetryCount": 5}
    assert limit == "77"
    code, _, err = run("update", "upd")
    assert (code, "one or more flags" in err) == (1, True)
    code, _, err = run("update", "--restart", "maybe", "upd")
    assert (code, "is no policy" in err) == (125, True)


def test_update_of_the_health_check(own: Callable[..., tuple[int, str, str]]) -> None:
    own("run", "-d", "--name", "chk", "--health-cmd", "true", "--health-interval", "50ms", *FOR_EVER)
    wait_for(lambda: "(healthy)" in own("ps")[1], "it is well")
    own("update", "--health-cmd", "false", "--health-retries", "1", "--health-on-failure", "none", "chk")
    wait_for(lambda: "(unhealthy)" in own("ps")[1], "it is not")
    assert own("ps", "-q", "--no-trunc", "--filter", "health=unhealthy")[1].count("\n") == 1
    own("update", "--no-healthcheck", "chk")
    assert "healthy" not in own("ps")[1]


def test_prune(run: Callable[..., tuple[int, str, str]]) -> None:
    run("create", "--name", "old", "--label", "keep=no", "busybox")
    run("create", "--name", "kept", "--label", "keep=yes", "busybox")
    run("run", "-d", "--name", "runs", "--label", "keep=no", *FOR_EVER)
    _, out, _ = run("container", "prune", stdin=b"n\n")
    assert "Are you sure you want to continue? [y/N]" in out
    assert len(run("ps", "-aq")[1].split()) == 3
    code, out, _ = run("container", "prune", "-f", "--filter", "label!=keep=yes")
    assert code == 0
    assert out.startswith("Deleted Containers:\n")
    assert "\nTotal reclaimed space: 0B\n" in out
    assert sorted(run("ps", "-a", "--format", "{{.Names}}")[1].split()) == ["kept", "runs"]
    assert run("container", "prune", "--filter", "until=1s", stdin=b"y\n")[0] == 0


def test_restart_flags(run: Callable[..., tuple[int, str, str]]) -> None:
    run("run", "-d", "--name", "loop", "--restart", "on-failure:2", "busybox", "false")
    count = ("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "loop")
    wait_for(lambda: run(*count)[1] == "2 exited\n", "it has given up")
    code, _, err = run("run", "--rm", "--restart", "always", "busybox")
    assert (code, "cannot specify both" in err) == (125, True)


def test_a_wait_for_several(run: Callable[..., tuple[int, str, str]]) -> None:
    run("run", "-d", "--name", "three", "busybox", "sh", "-c", "exit 3")
    run("run", "-d", "--name", "four", "busybox", "sh", "-c", "exit 4")
    assert run("wait", "three", "four")[:2] == (0, "3\n4\n")


def test_rename(run: Callable[..., tuple[int, str, str]]) -> None:
    run("create", "--name", "first", "busybox")
    run("create", "--name", "second", "busybox")
    assert run("rename", "first", "third") == (0, "", "")
    code, _, err = run("rename", "third", "second")
    assert (code, "is already in use by container" in err) == (1, True)
    code, _, err = run("rename", "third", "third")
    assert (code, "same name" in err) == (1, True)
    assert run("rename", "third", ".bad")[0] == 1
