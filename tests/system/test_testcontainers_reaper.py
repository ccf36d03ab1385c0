"""testcontainers with its reaper on: what a test that dies has left behind is removed by a container.

Ryuk's own image is not reachable, nor is the module it is built of. A shell script stands in for it here
that speaks its protocol (a filter a line over port 8080, each answered by ACK; the connection's end begins
the reaping) and works as it does: by Docker's API over the socket, which is mounted into its container.
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import pytest
from tests.system.network_host import network_host
from tests.system.sampand import DOCKER, busybox_tar, needs_busybox, needs_root, wait_for


def _is_static(program: str) -> bool:
    """Tell whether a program runs without the machine's libraries."""
    with open(program, "rb") as file:
        return b"ld-linux" not in file.read(8192)


pytestmark = [
    needs_root,
    needs_busybox,
    pytest.mark.skipif(
        not Path(DOCKER).exists() or not _is_static(DOCKER),
        reason="the reaper needs a docker client that runs in busybox: a static one",
    ),
]

_REAPER = """#!/bin/sh
if [ "$CONNECTION" ]; then
  while read -r filter; do
    echo "${filter%?}" >> /tmp/filters
    echo ACK
  done
  touch /tmp/closed
  exit
fi
CONNECTION=yes nc -ll -p 8080 -e /bin/reaper &
echo "reaper: Started!"
while [ ! -e /tmp/closed ]; do sleep 0.1; done
while read -r filter; do
  docker ps -aq --filter "$filter" | xargs -r docker rm -fv
  docker network ls -q --filter "$filter" | xargs -r docker network rm
  docker volume ls -q --filter "$filter" | xargs -r docker volume rm
done < /tmp/filters
"""

# A test that leaves a container, a network and a volume, and is killed.
_TEST = """
import os, signal
from testcontainers.core.container import DockerContainer
from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID

left = DockerContainer("busybox").with_command(["sleep", "1000"]).with_exposed_ports(80)
left.start()
client = left.get_docker_client().client
client.networks.create("left", labels={LABEL_SESSION_ID: SESSION_ID})
client.volumes.create("left", labels={LABEL_SESSION_ID: SESSION_ID})
names = [one.name.split("-")[1] for one in client.containers.list() if "-" in one.name]
print(left.get_exposed_port(80), names, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def _image() -> bytes:
    archive = io.BytesIO(busybox_tar())
    with tarfile.open(fileobj=archive, mode="a") as tar:
        tar.add(Path(DOCKER).resolve(), "bin/docker")
        script = tarfile.TarInfo("bin/reaper")
        script.size, script.mode = len(_REAPER), 0o755
        tar.addfile(script, io.BytesIO(_REAPER.encode()))
    return archive.getvalue()


def test_what_a_killed_test_left_is_reaped(tmp_path: Path) -> None:
    with network_host(tmp_path) as net:
        query = "fromSrc=-&repo=reaper&tag=1&changes=CMD%20%5B%22reaper%22%5D"
        status, _, answer = net.request("POST", f"/images/create?{query}", raw=_image())
        assert (status, b"error" in answer) == (200, False), answer
        net.docker("run", "-d", "--name", "bystander", "busybox", "sleep", "1000")
        settings = {
            "DOCKER_HOST": net.host,
            "RYUK_CONTAINER_IMAGE": "reaper:1",
            "TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE": net.socket,
        }
        words = [f"{key}={value}" for key, value in settings.items()]
        done = net.on_host("env", *words, sys.executable, "-c", _TEST)
        assert done.code == -9, done.err
        port, _, names = done.text.partition(" ")
        assert (port.isdigit(), names) == (True, "['ryuk']"), done.text
        wait_for(
            lambda: net.docker("ps", "-a", "--format", "{{.Names}}").text == "bystander", "all is reaped"
        )
        assert net.docker("network", "ls", "-q", "--filter", "name=left").text == ""
        assert net.docker("volume", "ls", "-q").text == ""
