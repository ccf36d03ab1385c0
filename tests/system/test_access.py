"""Doors with fewer rights, and TLS: what each lets in, tried with real clients and with tricks."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.cli.harness import SAMPAN
from tests.system.sampand import DOCKER, Sampand, busybox_tar, needs_busybox, needs_root
from tests.system.tls_kit import make_certificates

from sampan.client import Client, ContainerOptions
from sampan.client.tls import TlsFiles
from sampan.errors import Forbidden, NotFound, Unavailable

pytestmark = [needs_root, needs_busybox]
NONE = ContainerOptions(network="none", auto_remove=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca, server-cert, cert (a client's), and `other` from another authority."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def door(certificates: Path, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    daemon = Sampand(tmp_path_factory.mktemp("access"))
    (daemon.folder / "shared").mkdir()
    daemon.start(
        f"-H={daemon.host}",
        f"-H=tcp://127.0.0.1:{port}",
        "--tlsverify",
        f"--tlscacert={certificates}/ca.pem",
        f"--tlscert={certificates}/server-cert.pem",
        f"--tlskey={certificates}/server-cert-key.pem",
        f"--socket={daemon.folder}/look.sock,role=read-only",
        f"--socket={daemon.folder}/ci.sock,role=run-only,group=daemon,bind={daemon.folder}/shared",
        f"--socket={daemon.folder}/other.sock,role=run-only,mode=666",
    )
    daemon.load_busybox()
    yield daemon
    daemon.close()


@pytest.fixture
def look(door: Sampand) -> Client:
    return Client(f"unix://{door.folder}/look.sock")


@pytest.fixture
def ci(door: Sampand) -> Client:
    return Client(f"unix://{door.folder}/ci.sock")


@pytest.fixture
def root_box(door: Sampand) -> Iterator[Any]:
    """A container of somebody with all rights."""
    with Client(door.host).containers.running(
        "busybox", ["sleep", "100"], ContainerOptions(name="roots", network="none")
    ) as box:
        yield box


def docker(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([DOCKER, "-H", address, *arguments], capture_output=True, text=True, timeout=60)


def raw(path: str, *requests: str) -> list[int]:
    """Send requests as they are over one connection, at once, and return the status codes of the answers.

    The answers are over when nothing came for a while behind the first.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(path)
        sock.sendall("".join(requests).encode())
        data = b""
        with contextlib.suppress(TimeoutError):
            while piece := sock.recv(65536):
                data += piece
                sock.settimeout(0.2)
    return [int(part.split()[0]) for part in data.split(b"HTTP/1.1 ")[1:]]


def request(line: str, *, body: str = "", extra: str = "") -> str:
    head = f"{line} HTTP/1.1\r\nHost: x\r\n{extra}"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n{body}"


def test_sockets_have_the_modes_asked_for(door: Sampand) -> None:
    found = {name: (door.folder / name).stat() for name in ("look.sock", "ci.sock", "other.sock")}
    assert {name: oct(one.st_mode & 0o777) for name, one in found.items()} == {
        "look.sock": "0o600",
        "ci.sock": "0o660",
        "other.sock": "0o666",
    }
    assert found["ci.sock"].st_gid == 1


def test_a_dashboard_reads(look: Client, root_box: Any) -> None:
    assert [one.name for one in look.containers.list()] == ["roots"]
    assert look.info()["ContainersRunning"] == 1
    assert look.containers.get("roots").top()
    assert docker(look._address.text, "ps", "-q").stdout.strip() == root_box.id[:12]


def test_a_dashboard_changes_nothing(look: Client, root_box: Any) -> None:
    box = look.containers.get("roots")
    for forbidden in (
        box.kill,
        box.remove,
        lambda: box.exec(["true"]),
        lambda: box.read_file("/etc/passwd"),
        box.attach,
        box.export,
        lambda: look.containers.create("busybox"),
        lambda: look.images.remove("busybox"),
        lambda: look.call("POST", "/sampan/v1/system/stop"),
        lambda: look.call("POST", "/containers/prune"),
    ):
        with pytest.raises(Forbidden, match=r"not allowed on a read-only socket|403 Forbidden"):
            forbidden()
    assert Client(root_box.client._address.text).containers.get("roots").state == "running"


def test_a_job_runs_containers_of_its_own(door: Sampand, ci: Client) -> None:
    bind = f"{door.folder}/shared:/shared"
    done = docker(
        ci._address.text,
        "run",
        "--rm",
        "--network",
        "none",
        "-v",
        bind,
        "busybox",
        "sh",
        "-c",
        "echo hi >/shared/x",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (door.folder / "shared" / "x").read_text() == "hi\n"
    assert ci.containers.run("busybox", ["echo", "hi"], NONE).stdout == b"hi\n"
    ours = subprocess.run(
        [SAMPAN, "-H", ci._address.text, "run", "--rm", "--network", "none", "busybox", "echo", "x"],
        capture_output=True,
    )
    assert (ours.returncode, ours.stdout) == (0, b"x\n")
    with ci.containers.running("busybox", ["sleep", "100"], ContainerOptions(network="none")) as box:
        assert box.exec(["echo", "in"]).stdout == b"in\n"
        assert [one.id for one in ci.containers.list(limit=1)] == [box.id]
        other = Client(f"unix://{door.folder}/other.sock")
        assert other.containers.list(all=True) == []
        with pytest.raises(NotFound):
            other.containers.get(box.id)


def test_a_job_sees_nobody_else(ci: Client, root_box: Any) -> None:
    assert ci.containers.list(all=True) == []
    assert ci.containers.list(all=True, limit=10) == []
    made = root_box.create_exec(["sleep", "1"])
    for reference in ("roots", root_box.id, root_box.id[:12]):
        path = f"/containers/{reference}"
        for method, verb in (
            ("GET", "/json"),
            ("GET", "/logs?stdout=1"),
            ("POST", "/kill"),
            ("POST", "/exec"),
            ("DELETE", ""),
            ("POST", "/wait"),
            ("POST", "/attach"),
        ):
            with pytest.raises(NotFound, match=f"No such container: {reference}"):
                ci.call(
                    method, path + verb.partition("?")[0], body={"Cmd": ["sh"]} if verb == "/exec" else None
                )
    with pytest.raises(NotFound, match="No such exec instance"):
        ci.call("POST", f"/exec/{made.id}/start", body={"Detach": True})
    with pytest.raises(NotFound, match="No such container: nobody"):
        ci.call("GET", "/containers/nobody/json")


@pytest.mark.parametrize(
    "flags",
    [
        ("--privileged",),
        ("--pid=host",),
        ("--network=host",),
        ("--cap-add=SYS_ADMIN",),
        ("--security-opt=seccomp=unconfined",),
        ("--device=/dev/null",),
        ("-v", "/:/host"),
        ("-v", "/etc:/host:ro"),
        ("--mount", "type=bind,src=/etc,dst=/host"),
        ("--cgroup-parent=/x",),
        ("--ipc=host",),
        ("--uts=host",),
        ("--userns=host",),
        ("--runtime=other",),
        ("--sysctl=net.ipv4.ip_forward=1",),
    ],
    ids=lambda flags: " ".join(flags),
)
def test_a_job_gets_nothing_of_the_host(ci: Client, flags: tuple[str, ...]) -> None:
    network = () if flags[0].startswith("--network") else ("--network", "none")
    done = docker(ci._address.text, "run", "--rm", *network, *flags, "busybox", "true")
    assert done.returncode == 125
    assert "is not allowed on a run-only socket" in done.stderr
    assert ci.containers.list(all=True) == []


def test_a_link_in_a_shared_folder_leads_nowhere(door: Sampand, ci: Client) -> None:
    (door.folder / "shared" / "root").symlink_to("/")
    for source in (f"{door.folder}/shared/root", f"{door.folder}/shared/../shared/root"):
        done = docker(ci._address.text, "run", "--rm", "-v", f"{source}:/h", "busybox", "ls", "/h")
        assert "HostConfig.Binds is not allowed" in done.stderr


def test_a_privileged_exec_is_refused(ci: Client) -> None:
    with ci.containers.running("busybox", ["sleep", "100"], ContainerOptions(network="none")) as box:
        with pytest.raises(Forbidden, match="Privileged"):
            box.exec(["true"], privileged=True)


TRICKS = [
    "/v1.41/images/busybox/json/../../../containers/prune",
    "/containers%2fprune",
    "/v1.51/containers%2Fprune",
    "//containers/prune",
    "/containers//prune",
    "/./containers/prune",
    "/_ping/../containers/prune",
    "/_ping%00/containers/prune",
    "/_ping;/containers/prune",
    "/v1.51/v1.51/containers/prune",
    "/v1.99/containers/prune",
    "/containers/prune?x=/_ping",
    "/containers/prune#/_ping",
    "http://x/containers/prune",
    "/CONTAINERS/PRUNE",
    "/containers/prune/",
    "/containers/wait/prune",
    "/containers/prune%3fx",
    "/images/x/json%2f..%2f..%2f..%2fcontainers%2fprune",
    "/sampan/v1/../v1/system/stop",
    "/sampan/v1/system%2fstop",
    "/v1.51/sampan/v1/system/stop",
]


@pytest.mark.parametrize("socket_name", ["look.sock", "ci.sock"])
@pytest.mark.parametrize("target", TRICKS)
def test_no_spelling_of_a_path_gets_through(
    door: Sampand, root_box: Any, socket_name: str, target: str
) -> None:
    path = str(door.folder / socket_name)
    (status,) = raw(path, request(f"POST {target}"))
    assert status in (400, 403, 404)
    assert Client(door.host).ping()


@pytest.mark.parametrize("socket_name", ["look.sock", "ci.sock"])
def test_every_request_of_a_connection_is_judged(door: Sampand, root_box: Any, socket_name: str) -> None:
    path = str(door.folder / socket_name)
    kill = request("POST /containers/roots/kill")
    assert raw(path, request("GET /_ping"), kill, request("GET /_ping"))[:2] in ([200, 403], [200, 404])
    upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n"
    # A request behind one that asks for an upgrade and does not get it, and one inside its body.
    refused = raw(path, request("POST /containers/roots/attach?stream=1", extra=upgrade), kill)
    assert set(refused) <= {403, 404, 400}
    smuggled = raw(path, request("POST /containers/roots/wait", body=kill), request("GET /_ping"))
    assert 204 not in smuggled
    both = "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"
    assert 204 not in raw(path, request("POST /_ping", extra=both) + "0\r\n\r\n" + kill)
    for method in ("X-HTTP-Method-Override: POST\r\n", "X-Original-URL: /containers/roots/kill\r\n"):
        assert raw(path, request("GET /_ping", extra=method)) == [200]
    assert Client(door.host).containers.get("roots").state == "running"


def test_nobody_names_an_owner_but_the_listener(door: Sampand, root_box: Any) -> None:
    path = str(door.folder / "ci.sock")
    body = {"Image": "busybox", "HostConfig": {"Annotations": {"org.sampan.owner": "x"}}}
    for spelled in (json.dumps(body), json.dumps(body).replace("Annotations", "annotations")):
        assert raw(path, request("POST /containers/create", body=spelled)) == [403]
    twice = '{"Image":"busybox","HostConfig":{"Privileged":true},"hostconfig":{"privileged":true}}'
    assert raw(path, request("POST /containers/create", body=twice)) == [403]


def files(folder: Path, name: str = "cert", key: str = "key", ca: str = "ca") -> TlsFiles:
    return TlsFiles(ca=f"{folder}/{ca}.pem", cert=f"{folder}/{name}.pem", key=f"{folder}/{key}.pem")


def test_tls_with_a_certificate(door: Sampand, certificates: Path, port: int) -> None:
    client = Client(f"tcp://127.0.0.1:{port}", tls=files(certificates))
    data = bytes(range(256)) * 8000
    assert client.containers.run("busybox", ["cat"], NONE, stdin=data).stdout == data
    with client.containers.running("busybox", ["sleep", "100"], ContainerOptions(network="none")) as box:
        assert box.exec(["sh", "-c", "cat; echo end >&2"], stdin=b"in").stderr == b"end\n"
        follow = box.logs(follow=True)
        box.stop(timeout_s=0)
        assert list(follow) == []
    archive = busybox_tar()
    client.images.import_rootfs(archive, repository="overtls")
    client.images.remove("overtls")


def test_tls_with_the_command_lines(door: Sampand, certificates: Path, port: int) -> None:
    address = f"tcp://localhost:{port}"
    flags = ["--tlsverify", "--tlscacert", f"{certificates}/ca.pem"]
    flags += ["--tlscert", f"{certificates}/cert.pem", "--tlskey", f"{certificates}/key.pem"]
    command = ["run", "-i", "--rm", "--network", "none", "busybox", "sh", "-c", "cat; exit 3"]
    for program in (str(SAMPAN), DOCKER):
        done = subprocess.run(
            [program, "-H", address, *flags, *command], input=b"data", capture_output=True, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (3, b"data", b"")
    env = {"PATH": "/usr/bin", "HOME": "/", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(certificates)}
    done = subprocess.run(
        [str(SAMPAN), "-H", address, *command], input=b"data", capture_output=True, env=env, timeout=60
    )
    assert (done.returncode, done.stdout) == (3, b"data")


def test_tls_refuses_strangers(door: Sampand, certificates: Path, port: int) -> None:
    address = f"tcp://127.0.0.1:{port}"
    for stranger in (files(certificates, "other", "other-key"), TlsFiles(ca=f"{certificates}/ca.pem")):
        with pytest.raises(Unavailable, match=r"unknown ca|certificate required|closed the connection"):
            Client(address, tls=stranger).info()
    with pytest.raises(Unavailable, match=r"unable to get local issuer|self.signed"):
        Client(address, tls=files(certificates, ca="foreign-ca")).info()
    with pytest.raises(Unavailable):
        Client(address).info()  # plain HTTP
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates / "ca.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", port)) as sock, pytest.raises(ssl.SSLError):
        context.wrap_socket(sock, server_hostname="127.0.0.1").recv(1)
    assert Client(address, tls=files(certificates)).ping()


def test_a_client_that_goes_ends_its_stream(door: Sampand, certificates: Path, port: int) -> None:
    client = Client(f"tcp://127.0.0.1:{port}", tls=files(certificates))
    for _ in range(20):
        events = client.open_stream("GET", "/events", patient=True)
        events.close()
    with client.containers.running("busybox", ["sleep", "100"], ContainerOptions(network="none")) as box:
        attachment = box.attach()
        attachment.close()
        assert box.inspect()["State"]["Running"]
