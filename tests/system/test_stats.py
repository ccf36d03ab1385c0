"""Stats over HTTP and by both command lines: right numbers, one sampler, streams that end."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from tests.system.sampand import Sampand, UnixConnection, needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]

SAMPAN = Path(sys.executable).parent / "sampan"
BUSY = "while :; do :; done"


@contextmanager
def container(sampand: Sampand, name: str, *command: str, **host: Any) -> Iterator[str]:
    body = {"Image": "busybox", "Cmd": list(command), "HostConfig": {"NetworkMode": "none"} | host}
    container_id: str = sampand.call("POST", f"/containers/create?name={name}", body)["Id"]
    try:
        sampand.call("POST", f"/containers/{container_id}/start")
        yield container_id
    finally:
        sampand.request("DELETE", f"/containers/{container_id}?force=1")


@contextmanager
def stream(sampand: Sampand, name: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Open a stats stream; yields its samples."""
    connection = UnixConnection(sampand.socket)
    connection.request("GET", f"/containers/{name}/stats")
    response = connection.getresponse()
    assert response.status == 200, response.read()
    try:
        yield (json.loads(line) for line in iter(response.readline, b""))
    finally:
        connection.close()


def once(sampand: Sampand, name: str, query: str = "stream=0") -> dict[str, Any]:
    sample: dict[str, Any] = sampand.call("GET", f"/containers/{name}/stats?{query}")
    return sample


def test_samples_carry_the_one_before(sampand: Sampand) -> None:
    with container(sampand, "web", "sleep", "100"), stream(sampand, "web") as samples:
        first, second, third = next(samples), next(samples), next(samples)
    assert first["preread"] == "0001-01-01T00:00:00Z"
    assert "system_cpu_usage" not in first["precpu_stats"]
    assert second["preread"] == first["read"] != second["read"]
    assert third["preread"] == second["read"]
    assert third["precpu_stats"] == second["cpu_stats"]
    machine_ns = third["cpu_stats"]["system_cpu_usage"] - second["cpu_stats"]["system_cpu_usage"]
    assert 0.5 < machine_ns / 1e9 / (os.cpu_count() or 1) < 3  # a second apart


def test_one_answer_with_rates_and_one_without(sampand: Sampand) -> None:
    with container(sampand, "web", "sleep", "100"):
        assert once(sampand, "web")["precpu_stats"]["system_cpu_usage"] > 0
        assert "system_cpu_usage" not in once(sampand, "web", "stream=0&one-shot=1")["precpu_stats"]
        status, _, answer = sampand.request("GET", "/containers/web/stats?one-shot=1")
        assert (status, b"cannot have stream=true and one-shot=true" in answer) == (400, True)


def test_numbers_are_those_of_the_cgroup(sampand: Sampand) -> None:
    fill = "head -c 40m /dev/zero | tail -c 40m | { sleep 100; }"
    with container(sampand, "web", "sh", "-c", fill, Memory=100 << 20, PidsLimit=77):
        wait_for(
            lambda: once(sampand, "web", "stream=0&one-shot=1")["memory_stats"]["usage"] > 40 << 20, "full"
        )
        wait_for(
            lambda: once(sampand, "web", "stream=0&one-shot=1")["pids_stats"]["current"] == 3,
            "head has ended",
        )
        sample = once(sampand, "web", "stream=0&one-shot=1")
    memory = sample["memory_stats"]
    assert memory["limit"] == 100 << 20
    assert 40 << 20 < memory["usage"] < 60 << 20
    assert {"inactive_file", "total_inactive_file"} & memory["stats"].keys()
    assert sample["pids_stats"] == {"current": 3, "limit": 77}
    assert (sample["num_procs"], sample["storage_stats"]) == (0, {})
    assert "networks" not in sample
    assert sample["cpu_stats"]["online_cpus"] == os.cpu_count()
    assert sample["cpu_stats"]["cpu_usage"]["total_usage"] > 0


def test_host_network_has_no_interfaces(sampand: Sampand) -> None:
    with container(sampand, "web", "sleep", "100", NetworkMode="host"):
        assert "networks" not in once(sampand, "web", "stream=0&one-shot=1")


def test_interfaces_of_a_network_namespace_of_its_own(sampand: Sampand) -> None:
    add = "ip link add eth9 type veth; sleep 100"
    with container(sampand, "web", "sh", "-c", add, NetworkMode="default", CapAdd=["NET_ADMIN"]):
        wait_for(
            lambda: "eth9" in once(sampand, "web", "stream=0&one-shot=1").get("networks", {}), "the interface"
        )
        counters = once(sampand, "web", "stream=0&one-shot=1")["networks"]["eth9"]
    assert counters.keys() == {
        f"{way}_{what}" for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "dropped")
    }


def test_a_stopped_container_has_the_empty_shape_until_it_is_removed(sampand: Sampand) -> None:
    with container(sampand, "job", "true") as container_id:
        wait_for(
            lambda: sampand.call("GET", "/containers/job/json")["State"]["Status"] == "exited", "its end"
        )
        sample = once(sampand, "job")
        assert (sample["name"], sample["id"]) == ("/job", container_id)
        assert (sample["read"], sample["pids_stats"], sample["memory_stats"]) == (
            "0001-01-01T00:00:00Z",
            {},
            {},
        )
        with stream(sampand, "job") as samples:
            assert next(samples) == sample
            sampand.request("DELETE", "/containers/job")
            assert list(samples)[1:] == []  # at most the one that was on its way


def test_a_restart_while_it_is_watched(sampand: Sampand) -> None:
    with container(sampand, "web", "sleep", "100"), stream(sampand, "web") as samples:
        assert next(samples)["pids_stats"]["current"] == 1
        sampand.call("POST", "/containers/web/restart?t=0")
        assert any(one["pids_stats"].get("current") == 1 for one in islice(samples, 60))


def test_many_streams_have_one_thread(sampand: Sampand) -> None:
    assert sampand.process is not None
    tasks = Path(f"/proc/{sampand.process.pid}/task")
    with container(sampand, "web", "sleep", "100"):
        readers = []
        for _ in range(60):
            reader = socket.socket(socket.AF_UNIX)
            reader.connect(sampand.socket)
            reader.sendall(b"GET /containers/web/stats HTTP/1.1\r\nHost: x\r\n\r\n")
            readers.append(reader)
        for reader in readers:
            reader.settimeout(20)
            assert b"200 OK" in reader.recv(65536)
        names = [(task / "comm").read_text().strip() for task in tasks.iterdir()]
        assert len(names) < 40, names
        for reader in readers:
            reader.close()


def cpu_of(text: str) -> float:
    found = re.search(r"([0-9.]+)%", text)
    assert found is not None, text
    return float(found[1])


def half_a_cpu(rows: dict[str, str], name: str) -> bool:
    """Tell whether a row shows what a limit of half a CPU lets through. One second may show more: an emulated
    machine that was stopped for a while counts fewer ticks for itself than it gives to the container."""
    return 5 < cpu_of(rows[name]) < 75


def test_docker_stats(sampand: Sampand, cli: str) -> None:
    with (
        container(sampand, "busy", "sh", "-c", BUSY, NanoCpus=500_000_000, Memory=64 << 20),
        container(sampand, "idle", "sleep", "100"),
    ):
        form = "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}"

        def read() -> dict[str, str]:
            done = sampand.docker("stats", "--no-stream", "--format", form, cli=cli)
            assert done.code == 0, done.err
            return dict(line.split(" ", 1) for line in done.text.splitlines())

        rows = wait_for(lambda: half_a_cpu(found := read(), "busy") and found, "half a CPU is shown")
        assert rows.keys() == {"busy", "idle"}
        assert cpu_of(rows["idle"]) < 5
        assert "/ 64MiB 1" in rows["busy"]
        assert sampand.docker("stats", "--no-stream", "nothing", cli=cli).code == 1


def test_docker_stats_live(sampand: Sampand, cli: str) -> None:
    command = [cli, "stats", "--format", "{{.Name}} {{.MemUsage}}"]
    with (
        container(sampand, "web", "sleep", "100"),
        subprocess.Popen(command, stdout=subprocess.PIPE, env=sampand.environment) as shown,
    ):
        assert shown.stdout is not None
        text = b""
        while text.count(b"web ") < 2 or b"MiB / " not in text.replace(b"KiB / ", b"MiB / "):
            text += os.read(shown.stdout.fileno(), 4096)
        shown.terminate()


def sampan(sampand: Sampand, *arguments: str) -> str:
    done = subprocess.run(
        [SAMPAN, *arguments], capture_output=True, env=sampand.environment, timeout=60, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sampan_stats(sampand: Sampand) -> None:
    with (
        container(sampand, "busy", "sh", "-c", BUSY, NanoCpus=500_000_000),
        container(sampand, "job", "true"),
    ):
        wait_for(
            lambda: sampand.call("GET", "/containers/job/json")["State"]["Status"] == "exited", "its end"
        )
        head, only = sampan(sampand, "stats", "--no-stream").splitlines()
        assert (
            head.split() == "CONTAINER ID NAME CPU % MEM USAGE / LIMIT MEM % NET I/O BLOCK I/O PIDS".split()
        )
        assert only.split()[1] == "busy"

        def read() -> dict[str, str]:
            text = sampan(sampand, "stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}}")
            return dict(line.split(" ", 1) for line in text.splitlines())

        wait_for(lambda: half_a_cpu(read(), "busy"), "half a CPU is shown")
        both = sampan(
            sampand, "stats", "--no-stream", "--all", "--format", "{{.Name}} {{.PIDs}}"
        ).splitlines()
        assert both == ["job --", "busy 1"]
        shown = json.loads(sampan(sampand, "stats", "--no-stream", "--no-trunc", "--format", "json", "busy"))
        assert shown["ID"] == sampand.call("GET", "/containers/busy/json")["Id"]


def test_sampan_stats_follows_what_comes_and_goes(sampand: Sampand) -> None:
    command = [SAMPAN, "stats", "--format", "{{.Name}}"]
    with (
        container(sampand, "first", "sleep", "100"),
        subprocess.Popen(command, stdout=subprocess.PIPE, env=sampand.environment) as shown,
    ):
        assert shown.stdout is not None
        assert shown.stdout.readline() == b"first\n"
        with container(sampand, "second", "sleep", "100"):
            while shown.stdout.readline() != b"second\n":
                pass
        lines = [shown.stdout.readline() for _ in range(4)]
        assert lines[-1] == lines[-2] == b"first\n"
        shown.terminate()
