"""The docker command and docker-py on restarts, health, signals, waits, pauses, updates."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import docker
import docker.errors
import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]
FOR_EVER = ("busybox", "sleep", "1000")


@pytest.fixture
def client(sampand: Sampand) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=sampand.host)
    yield client
    client.close()
    sampand.remove_containers()


def inspect(sampand: Sampand, cli: str, name: str, template: str) -> str:
    return sampand.docker("inspect", "-f", template, name, cli=cli).text


def past_events(sampand: Sampand, cli: str, event: str) -> str:
    until = str(int(time.time()) + 1)
    return sampand.docker(
        "events", "--since", "1", "--until", until, "--filter", f"event={event}", cli=cli
    ).text


def test_restart_policy(sampand: Sampand, cli: str) -> None:
    sampand.docker("run", "-d", "--name", "loop", "--restart", "always", "busybox", "false", cli=cli)
    wait_for(lambda: int(inspect(sampand, cli, "loop", "{{.RestartCount}}")) >= 4, "it is restarted")
    wait_for(lambda: "Restarting (1)" in sampand.docker("ps", cli=cli).text, "it is listed")
    assert sampand.docker("ps", "-q", "--filter", "status=restarting", cli=cli).text
    removed = sampand.docker("rm", "loop", cli=cli)
    assert "container is restarting: stop the container before removing or force remove" in removed.err
    refused = sampand.docker("exec", "loop", "true", cli=cli)
    assert "is restarting, wait until the container is running" in refused.err
    assert sampand.docker("update", "--restart", "no", "loop", cli=cli).text == "loop"
    wait_for(lambda: inspect(sampand, cli, "loop", "{{.State.Status}}") == "exited", "it stays ended")
    assert sampand.docker("run", "--rm", "--restart", "always", "busybox", cli=cli).code == 125


def test_health(sampand: Sampand, cli: str) -> None:
    flags = ("--health-cmd", "test -e /ok", "--health-interval", "100ms", "--health-retries", "1")
    sampand.docker("run", "-d", "--name", "well", *flags, *FOR_EVER, cli=cli)
    wait_for(lambda: "(unhealthy)" in sampand.docker("ps", cli=cli).text, "it is not well")
    sampand.docker("exec", "well", "touch", "/ok", cli=cli)
    wait_for(lambda: "(healthy)" in sampand.docker("ps", cli=cli).text, "it is well")
    assert inspect(sampand, cli, "well", "{{.State.Health.Status}}") == "healthy"
    log = json.loads(inspect(sampand, cli, "well", "{{json .State.Health.Log}}"))
    assert {"Start", "End", "ExitCode", "Output"} == set(log[-1])
    events = past_events(sampand, cli, "health_status")
    assert [line for line in events.splitlines() if "health_status: healthy" in line]
    assert sampand.docker("run", "--no-healthcheck", "--rm", "busybox", "true", cli=cli).code == 0


def test_pause(sampand: Sampand, cli: str) -> None:
    script = "while :; do date +%s%N > /now; sleep 0.02; done"
    sampand.docker("run", "-d", "--name", "ice", "busybox", "sh", "-c", script, cli=cli)
    not_paused = sampand.docker("unpause", "ice", cli=cli)
    assert "is not paused" in not_paused.err
    assert sampand.docker("pause", "ice", cli=cli).text == "ice"
    assert "is already paused" in sampand.docker("pause", "ice", cli=cli).err
    assert "(Paused)" in sampand.docker("ps", cli=cli).text
    assert "unpause the container before exec" in sampand.docker("exec", "ice", "true", cli=cli).err
    assert "You cannot attach to a paused container" in sampand.docker("attach", "ice", cli=cli).err
    assert "try unpause instead" in sampand.docker("start", "ice", cli=cli).err
    assert "is paused and must be unpaused first" in sampand.docker("rm", "ice", cli=cli).err
    assert sampand.docker("unpause", "ice", cli=cli).text == "ice"
    sampand.docker("pause", "ice", cli=cli)
    began = time.monotonic()
    assert sampand.docker("kill", "ice", cli=cli).text == "ice"
    assert time.monotonic() - began < 10
    assert inspect(sampand, cli, "ice", "{{.State.Status}} {{.State.ExitCode}}") == "exited 137"
    sampand.docker("start", "ice", cli=cli)
    sampand.docker("pause", "ice", cli=cli)
    assert sampand.docker("stop", "-t", "1", "ice", cli=cli).text == "ice"


def test_signals(sampand: Sampand, cli: str) -> None:
    script = "trap 'echo hup' HUP; trap 'exit 21' 37; echo ready; while :; do sleep 0.02; done"
    sampand.docker("run", "-d", "--name", "ear", "busybox", "sh", "-c", script, cli=cli)
    wait_for(lambda: "ready" in sampand.docker("logs", "ear", cli=cli).text, "its handlers are there")
    for signal in ("HUP", "SIGHUP", "1"):
        sampand.docker("kill", "-s", signal, "ear", cli=cli)
    wait_for(lambda: "hup" in sampand.docker("logs", "ear", cli=cli).text, "the signal came")
    assert "nvalid signal" in sampand.docker("kill", "-s", "NONSENSE", "ear", cli=cli).err
    sampand.docker("kill", "-s", "37", "ear", cli=cli)
    assert sampand.docker("wait", "ear", cli=cli).text == "21"
    assert "is not running" in sampand.docker("kill", "ear", cli=cli).err


def test_everything_dies_with_pid_1(sampand: Sampand, cli: str) -> None:
    script = "(setsid sleep 3333 &) ; (trap '' TERM; sleep 3334 &) ; sleep 0.3"
    sampand.docker("run", "--name", "end", "busybox", "sh", "-c", script, cli=cli)
    assert not [line for line in sampand.processes() if "333" in line]


def test_update_while_it_runs(sampand: Sampand, client: docker.DockerClient) -> None:
    box = client.containers.run("busybox", ["sleep", "1000"], detach=True)
    answer = box.update(mem_limit="64m", memswap_limit="128m", restart_policy={"Name": "on-failure"})
    assert answer["Warnings"] is None or answer["Warnings"] == []
    _, out = box.exec_run(
        ["sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"]
    )
    assert str(64 << 20).encode() in out
    box.reload()
    assert box.attrs["HostConfig"]["RestartPolicy"]["Name"] == "on-failure"
    with pytest.raises(docker.errors.APIError, match="Minimum memory limit allowed is 6MB"):
        box.update(mem_limit="1m")


def test_wait_conditions(sampand: Sampand, client: docker.DockerClient) -> None:
    box = client.containers.create("busybox", ["sh", "-c", "exit 4"])
    assert box.wait(condition="not-running")["StatusCode"] == 0  # it never ran
    box.start()
    assert box.wait()["StatusCode"] == 4
    with pytest.raises(docker.errors.APIError, match='invalid condition: "sometime"'):
        box.wait(condition="sometime")


@pytest.mark.parametrize("condition", ["next-exit", "removed", "not-running"])
def test_the_head_of_a_wait_comes_at_once(sampand: Sampand, condition: str) -> None:
    created = sampand.call("POST", "/containers/create", {"Image": "busybox", "Cmd": ["sh", "-c", "exit 6"]})
    path = f"/containers/{created['Id']}"
    if condition == "not-running":
        sampand.call("POST", f"{path}/start")  # a wait that has nothing to wait for is answered whole
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.settimeout(10)
        sock.connect(sampand.socket)
        sock.sendall(f"POST {path}/wait?condition={condition} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = sock.recv(4096)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        if condition != "not-running":
            assert b"StatusCode" not in head
            sampand.call("POST", f"{path}/start")
            wait_for(lambda: sampand.call("GET", f"{path}/json")["State"]["Status"] == "exited", "it ends")
        if condition == "removed":
            sampand.call("DELETE", path)
        while b"StatusCode" not in head:
            head += sock.recv(4096)
        assert b'{"StatusCode":6}' in head


def test_out_of_memory_is_told(sampand: Sampand, cli: str) -> None:
    eat = "x=$(head -c 60000000 /dev/zero | tr '\\0' x); echo not here"
    limits = ("-m", "12m", "--memory-swap", "12m")
    done = sampand.docker("run", "--name", "eater", *limits, "busybox", "sh", "-c", eat, cli=cli)
    assert done.code == 137
    assert inspect(sampand, cli, "eater", "{{.State.OOMKilled}}") == "true"
    assert "container oom" in past_events(sampand, cli, "oom")


def test_rename(sampand: Sampand, client: docker.DockerClient) -> None:
    first = client.containers.create("busybox", name="first")
    client.containers.create("busybox", name="second")
    with pytest.raises(
        docker.errors.APIError, match='The container name "/second" is already in use'
    ) as error:
        first.rename("second")
    assert error.value.status_code == 409
    with pytest.raises(docker.errors.APIError, match="same name as its current name") as error:
        first.rename("first")
    assert error.value.status_code == 400
    first.rename("third")
    assert client.containers.get("third").id == first.id
    client.containers.create("busybox", name="first")  # the old name is free


def test_prune(sampand: Sampand, cli: str) -> None:
    for name, label in (("one", "a=b"), ("two", "c=d")):
        sampand.docker("create", "--name", name, "--label", label, "busybox", cli=cli)
    done = sampand.docker("container", "prune", "-f", "--filter", "label=a=b", cli=cli)
    assert "Total reclaimed space" in done.text
    assert sampand.docker("ps", "-a", "--format", "{{.Names}}", cli=cli).text == "two"
    assert (
        "Total reclaimed" in sampand.docker("container", "prune", "-f", "--filter", "until=24h", cli=cli).text
    )
    assert sampand.docker("ps", "-aq", cli=cli).text
    assert sampand.docker("container", "prune", "-f", "--filter", "colour=red", cli=cli).code == 1


def test_errors_as_docker_words_them(sampand: Sampand, cli: str) -> None:
    sampand.docker("run", "-d", "--name", "box", "-m", "64m", "--memory-swap", "64m", *FOR_EVER, cli=cli)
    for arguments, code, text in (
        (
            ("update", "-m", "128m", "box"),
            1,
            "smaller than already set memoryswap limit, update the memoryswap",
        ),
        (("rename", "box", "_x"), 1, "Error when allocating new name: Invalid container name (/_x), only"),
        (("container", "prune", "-f", "--filter", "until=never"), 1, 'as time or duration: "never"'),
        (("run", "--pid", "container:nobody", "busybox"), 125, "No such container: nobody"),
        (("run", "--ipc", "container:box", "busybox", "true"), 125, "non-shareable IPC"),
    ):
        done = sampand.docker(*arguments, cli=cli)
        assert (done.code, text in done.err) == (code, True), done.err
        assert "Unable to find image" not in done.err
        assert "Error waiting for container" not in done.err


def test_a_signal_thaws(sampand: Sampand, cli: str) -> None:
    script = "trap 'exit 33' HUP; echo ready; while :; do sleep 0.02; done"
    for name, flags in (("any", ()), ("own", ("--stop-signal", "USR1"))):
        sampand.docker("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", script, cli=cli)
        wait_for(lambda name=name: "ready" in sampand.docker("logs", name, cli=cli).text, "it listens")
        sampand.docker("pause", name, cli=cli)
        sampand.docker("kill", "-s", "HUP", name, cli=cli)
    assert sampand.docker("wait", "any", cli=cli).text == "33"
    assert inspect(sampand, cli, "own", "{{.State.Status}}") == "paused"
