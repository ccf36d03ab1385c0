"""testcontainers, as its users drive it, its reaper (Ryuk) off; on: test_testcontainers_reaper.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy
from tests.system.postgres import ENVIRONMENT, load_postgres, needs_postgres
from tests.system.sampand import DOCKER, Sampand, needs_busybox, needs_root

pytestmark = [
    needs_root,
    needs_busybox,
    # docker-py leaves the sockets of exec to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _no_reaper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)


def container(sampand: Sampand, image: str, **options: Any) -> DockerContainer:
    return DockerContainer(
        image, docker_client_kw={"environment": {"DOCKER_HOST": sampand.host}}, network_mode="none", **options
    )


def test_a_container_is_there_within_the_block_only(sampand: Sampand, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host")
    made = (
        container(sampand, "busybox")
        .with_command(["sh", "-c", 'echo "$GREETING"; echo err >&2; exec sleep 100'])
        .with_env("GREETING", "ready to serve")
        .with_volume_mapping(str(tmp_path), "/mnt", "ro")
        .with_name("tested")
        .waiting_for(LogMessageWaitStrategy("ready to serve"))
    )
    with made as running:
        assert running.get_logs() == (b"ready to serve\n", b"err\n")
        assert running.exec(["cat", "/mnt/file"]) == (0, b"from the host")
        assert running.exec("sh -c 'exit 3'").exit_code == 3
        (listed,) = sampand.call("GET", "/containers/json")
        assert listed["Labels"]["org.testcontainers"] == "true"
        assert listed["Names"] == ["/tested"]
    assert sampand.call("GET", "/containers/json?all=1") == []


def test_a_container_that_ends(sampand: Sampand) -> None:
    made = container(sampand, "busybox").with_command(["sh", "-c", "echo done; exit 7"])
    with made as running:
        assert running.get_wrapped_container().wait()["StatusCode"] == 7
        assert running.get_logs() == (b"done\n", b"")


def test_the_socket_inside_a_container(sampand: Sampand) -> None:
    made = (
        container(sampand, "busybox")
        .with_command(["sleep", "100"])
        .with_volume_mapping(sampand.socket, "/var/run/docker.sock", "rw")
        .with_volume_mapping(DOCKER, "/bin/docker", "ro")
        .with_name("inside")
    )
    for folder in ("/lib", "/lib64"):  # Debian's docker is linked dynamically
        made = made.with_volume_mapping(folder, folder, "ro") if Path(folder).exists() else made
    with made as running:
        assert running.exec(["docker", "ps", "--format", "{{.Names}}"]) == (0, b"inside\n")
        filters = ["--filter", "label=org.testcontainers=true", "-q"]
        assert len(running.exec(["docker", "ps", *filters]).output.split()) == 1


@pytest.fixture(scope="module")
def postgres(sampand: Sampand) -> str:
    return load_postgres(sampand)


@needs_postgres
def test_postgresql(sampand: Sampand, postgres: str) -> None:
    serve = "initdb -D /tmp/data -U test >&2 && exec postgres -D /tmp/data -k /tmp"
    made = (
        container(sampand, postgres, user="1000:1000")
        .with_command(["sh", "-c", serve])
        .with_env("LC_ALL", ENVIRONMENT["LC_ALL"])
        .with_env("PATH", ENVIRONMENT["PATH"])
        .waiting_for(LogMessageWaitStrategy("database system is ready to accept connections"))
    )
    with made as running:
        query = "create table t (n int); insert into t select generate_series(1, 1000); select sum(n) from t"
        asked = running.exec(["psql", "-h", "/tmp", "-U", "test", "-Atqc", query, "postgres"])
        assert asked == (0, b"500500\n"), asked.output
