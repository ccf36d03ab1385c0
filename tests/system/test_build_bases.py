"""Bases that are pulled while an image is built, with the client's credentials; networks of RUN."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.network_host import HOST, LAN, NetworkHost, network_host
from tests.system.registry_kit import (
    Registry,
    busybox_image,
    make_index,
    needs_registry,
    serve_registry,
)
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root, serve

pytestmark = [needs_root, needs_busybox]
USER, PASSWORD = "someone", "a secret"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("registry"), htpasswd=(USER, PASSWORD)) as running:
        yield running


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Sampand]:
    running = serve(tmp_path_factory.mktemp("bases"))
    config = Path(running.environment["DOCKER_CONFIG"])
    config.mkdir()
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (config / "config.json").write_text(json.dumps({"auths": {registry.domain: {"auth": basic}}}))
    running.environment["DOCKER_BUILDKIT"] = "0"
    yield running
    running.close()


def build(daemon: Sampand, client: str, folder: Path, text: str, *options: str) -> Result:
    (folder / "Dockerfile").write_text(text)
    run = daemon.docker if client == "docker" else daemon.sampan
    return run("build", *options, str(folder))


@needs_registry
@pytest.mark.parametrize("client", ["docker", "sampan"])
def test_base_is_pulled(daemon: Sampand, registry: Registry, tmp_path: Path, client: str) -> None:
    registry.put(f"{client}-base", "1", busybox_image(Labels={"made": "there"}))
    name = f"{registry.domain}/{client}-base:1"
    done = build(daemon, client, tmp_path, f"FROM {name}\nRUN echo ran\n", "-t", "pulled")
    assert done.code == 0, done.err
    assert b"ran\n" in done.out
    assert json.loads(daemon.docker("inspect", "pulled").out)[0]["Config"]["Labels"] == {"made": "there"}
    asked = len(registry.requests())
    again = build(daemon, client, tmp_path, f"FROM {name}\nRUN echo ran\n")
    assert again.out.count(b"Using cache") == 1
    assert len(registry.requests()) == asked  # a local base is never asked for


@needs_registry
def test_pull_asks_again(daemon: Sampand, registry: Registry, tmp_path: Path) -> None:
    registry.put("moves", "1", busybox_image(Labels={"v": "1"}))
    text = f"FROM {registry.domain}/moves:1\n"
    ids = [build(daemon, "sampan", tmp_path, text, "-q").text]
    registry.put("moves", "1", busybox_image(Labels={"v": "2"}))
    ids.append(build(daemon, "sampan", tmp_path, text, "-q").text)
    ids.append(build(daemon, "sampan", tmp_path, text, "-q", "--pull").text)
    assert ids[0] == ids[1] != ids[2]


@needs_registry
def test_copy_from_an_image(daemon: Sampand, registry: Registry, tmp_path: Path) -> None:
    registry.put("source", "1", busybox_image())
    text = f"FROM scratch\nCOPY --from={registry.domain}/source:1 /etc/plain /\n"
    done = build(daemon, "sampan", tmp_path, text)
    assert done.code == 0, done.err


@needs_registry
def test_without_credentials(daemon: Sampand, registry: Registry, tmp_path: Path) -> None:
    registry.put("closed", "1", busybox_image())
    environment = daemon.environment
    daemon.environment = {**environment, "DOCKER_CONFIG": str(tmp_path)}
    try:
        done = build(daemon, "sampan", tmp_path, f"FROM {registry.domain}/closed:1\n")
    finally:
        daemon.environment = environment
    assert done.code == 1
    assert f"sampan login {registry.domain}" in done.err
    assert PASSWORD not in daemon.log.read_text()


@needs_registry
def test_another_platform(daemon: Sampand, registry: Registry, tmp_path: Path) -> None:
    here, there = busybox_image(), busybox_image(architecture="s390x")
    registry.put("many", "here", here)
    registry.put("many", "there", there)
    index = make_index((here, "amd64"), (there, "s390x"))
    registry.put_document("many", "1", index, "application/vnd.oci.image.index.v1+json")
    text = f"FROM {registry.domain}/many:1\nCOPY Dockerfile /\n"
    done = build(daemon, "sampan", tmp_path, text, "--platform=linux/s390x", "-t", "other")
    assert done.code == 0, done.err
    assert json.loads(daemon.docker("inspect", "other").out)[0]["Architecture"] == "s390x"
    done = build(daemon, "sampan", tmp_path, text + "RUN true\n", "--platform=linux/s390x")
    assert done.code == 1
    assert "cannot run programs for linux/s390x" in done.err
    assert "binfmt" in done.err


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkHost]:
    with network_host(tmp_path_factory.mktemp("network")) as running:
        yield running


def test_networks_of_run(host: NetworkHost, tmp_path: Path) -> None:
    served = host.docker("run", "-d", "--name", "web", "busybox", "sh", "-c",
                         "echo page > /tmp/index.html; exec httpd -f -p 80 -h /tmp")  # fmt: skip
    assert served.code == 0, served.err
    address = host.docker("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "web").text
    fetch = f"RUN wget -q -O /page http://{address}/ && cat /page"
    done = build(host, "sampan", tmp_path, f"FROM busybox\n{fetch}\nRUN ip -4 -o addr; ip route\n")
    assert done.code == 0, done.err
    assert b"page\n" in done.out
    assert b"eth0" in done.out
    for option in ("--network=none", "--network=host"):
        text = "FROM busybox\nRUN ip -4 -o addr\n"
        done = build(host, "sampan", tmp_path, text, option)
        assert done.code == 0, done.err
        assert (HOST.encode() in done.out) is (option == "--network=host")
        assert b"eth0" not in done.out
    host.docker("rm", "-f", "web")


def test_a_network_of_ones_own(host: NetworkHost, tmp_path: Path) -> None:
    host.docker("network", "create", "own")
    host.docker("run", "-d", "--name", "web", "--net", "own", "busybox", "sh", "-c",
                "echo named > /tmp/index.html; exec httpd -f -p 80 -h /tmp")  # fmt: skip
    text = "FROM busybox\nRUN wget -q -O - http://web/; cat /etc/hosts\n"
    options = ("--network=own", f"--add-host=lan:{LAN}")
    done = build(host, "sampan", tmp_path, text, *options)
    assert done.code == 0, done.err
    assert b"named\n" in done.out
    assert f"{LAN}\tlan" in done.out.decode()
    host.docker("rm", "-f", "web")
    assert host.docker("network", "rm", "own").code == 0  # no step is left in it
    done = build(host, "sampan", tmp_path, text, *options, "--no-cache")
    assert done.code == 1
    assert "network own not found" in done.err
