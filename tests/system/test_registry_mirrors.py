"""Mirrors, other places, TLS of one's own and proxies, against Debian's registry and a real proxy."""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.system.hostile_registry import Answerer, serve_hostile
from tests.system.registry_kit import (
    Registry,
    free_port,
    make_image,
    needs_registry,
    serve_registry,
)
from tests.system.sampand import Sampand, needs_busybox, needs_root
from tests.system.store_kit import entry, tar
from tests.system.tls_kit import make_certificates

from sampan.errors import Forbidden, InvalidArgument, NotFound, SampanError
from sampan.registry.client import Client
from sampan.registry.credentials import NOBODY, Credentials
from sampan.registry.options import Limits, RegistryOptions
from sampan.store.platforms import host_platform
from sampan.store.references import parse_reference
from sampan.store.store import Store

pytestmark = needs_registry

QUICK = Limits(connect_s=2, silence_s=2, attempts=2, backoff_s=0.01)
IMAGE = make_image([tar((entry("file"), b"one")), tar((entry("more"), os.urandom(200_000)))])
OTHER = make_image([tar((entry("file"), b"two"))])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("near")) as running:
        running.put("library/box", "1", IMAGE)
        running.put("copies/box", "1", IMAGE)
        yield running


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Registry]:
    """A registry that answers only clients with a certificate."""
    with serve_registry(tmp_path_factory.mktemp("mutual"), tls=certificates, mutual=True) as running:
        running.put("box", "1", IMAGE)
        yield running


class Here:
    """A store, and files for its client."""

    def __init__(self, folder: Path) -> None:
        self.certs = folder / "certs.d"
        self.certs.mkdir()
        self.conf = folder / "registries.conf"
        self.store = Store(str(folder / "data"))

    def hosts(self, domain: str, text: str) -> Path:
        """Write hosts.toml for a registry."""
        folder = self.certs / domain
        folder.mkdir(exist_ok=True)
        (folder / "hosts.toml").write_text(text)
        return folder

    def pull(self, name: str, credentials: Credentials = NOBODY, **options: object) -> str:
        client = Client(
            RegistryOptions(
                limits=QUICK,
                certs=(str(self.certs),),
                registries_conf=str(self.conf),
                **options,  # type: ignore[arg-type]  # passed on
            )
        )
        try:
            reference = parse_reference(name)
            sources = client.sources_as(reference, credentials)
            puller = client.puller(self.store.arrivals, reference, lambda line: None)
            return puller.pull(sources, platform=host_platform(), is_wanted=False).image_id
        finally:
            client.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    yield made
    made.store.close()


def seen_by(registry: Registry, call: object, *arguments: str) -> Sequence[str]:
    before = len(registry.requests())
    call(*arguments)  # type: ignore[operator]  # a bound method
    return registry.requests()[before:]


def test_hosts_toml_asks_mirrors_in_order_and_says_for_whom(here: Here, near: Registry) -> None:
    dead = free_port()
    here.hosts(
        "reg.example",
        f'server = "http://127.0.0.1:{dead}"\n[host."http://127.0.0.1:{dead}"]\n[host."http://{near.domain}"]\n',
    )
    asked = seen_by(near, here.pull, "reg.example/library/box:1")
    assert "HEAD /v2/library/box/manifests/1?ns=reg.example" in asked
    assert here.store.images.resolve("reg.example/library/box:1").id == IMAGE.config


def test_a_mirror_that_may_not_resolve_brings_blobs_only(here: Here, near: Registry, tmp_path: Path) -> None:
    with serve_registry(tmp_path / "origin") as origin:
        origin.put("library/box", "1", IMAGE)
        here.hosts(
            "reg.example",
            f'server = "http://{origin.domain}"\n[host."http://{near.domain}"]\ncapabilities = ["pull"]\n',
        )
        asked = seen_by(near, here.pull, "reg.example/library/box:1")
        assert asked
        assert not any("/manifests/1" in line for line in asked)
        assert not any("/blobs/" in line for line in origin.requests()[-3:])


def test_what_a_mirror_lacks_comes_from_the_registry(here: Here, near: Registry, tmp_path: Path) -> None:
    with serve_registry(tmp_path / "origin") as origin:
        origin.put("only/there", "1", OTHER)
        here.hosts("reg.example", f'server = "http://{origin.domain}"\n[host."http://{near.domain}"]\n')
        assert here.pull("reg.example/only/there:1") == OTHER.config
        with pytest.raises(NotFound, match=r"manifest for reg\.example/only/there:2 not found"):
            here.pull("reg.example/only/there:2")


def test_a_mirror_that_breaks_off_is_left(here: Here, near: Registry) -> None:
    def half(request: Answerer) -> bool:
        if request.is_layer:
            data = request.server.image.blobs[request.path.rpartition("/")[2]]
            request.send(200, data[: len(data) // 2], length=len(data))
        return request.is_layer

    with serve_hostile(IMAGE, half) as bad:
        here.hosts("reg.example", f'server = "http://{near.domain}"\n[host."http://{bad.domain}"]\n')
        assert here.pull("reg.example/library/box:1") == IMAGE.config


def test_credentials_stay_with_the_registry(here: Here) -> None:
    """A mirror elsewhere never sees them; a header of hosts.toml goes to its own server."""

    def refuse(request: Answerer) -> bool:
        notes.append(request.headers.get("X-Mine", ""))
        if request.headers.get("Authorization", "").startswith("Basic "):
            return False
        request.send(401, b"{}", WWW_Authenticate='Basic realm="x"')
        return True

    notes: list[str] = []
    anna = Credentials("anna", "secret")
    with serve_hostile(OTHER, refuse) as mirror, serve_hostile(OTHER, refuse) as origin:
        here.hosts(
            origin.domain,
            f'server = "http://{origin.domain}"\n[host."http://{mirror.domain}"]\n'
            f'[host."http://{mirror.domain}".header]\nX-Mine = ["for", "it"]\n',
        )
        assert here.pull(f"{origin.domain}/box:1", anna) == OTHER.config
        assert {authorization for _, _, authorization in mirror.seen} == {""}
        assert origin.seen[-1][2] == anna.basic
        assert notes.count("for, it") == len(mirror.seen)
        assert notes.count("") == len(origin.seen)


def test_mirrors_of_docker_hub(here: Here, near: Registry) -> None:
    assert here.pull("box:1", mirrors=(f"http://{near.domain}/",)) == IMAGE.config
    assert here.store.images.resolve("box:1").id == IMAGE.config


def test_a_registry_with_its_own_authority(here: Here, certificates: Path, tmp_path: Path) -> None:
    with serve_registry(tmp_path / "tls", tls=certificates) as registry:
        registry.put("box", "1", IMAGE)
        folder = here.hosts("reg.example", f'server = "https://{registry.domain}"\n')
        with pytest.raises(SampanError, match="certificate"):
            here.pull("reg.example/box:1")
        (folder / "mine.pem").write_bytes((certificates / "ca.pem").read_bytes())
        here.hosts("reg.example", f'server = "https://{registry.domain}"\nca = "mine.pem"\n')
        assert here.pull("reg.example/box:1") == IMAGE.config
        here.hosts("lax.example", f'server = "https://{registry.domain}"\nskip_verify = true\n')
        assert here.pull("lax.example/box:1") == IMAGE.config
        name = f"{registry.domain}/box:1"  # on loopback nobody need vouch, as for Docker
        assert here.pull(name) == IMAGE.config


def test_certificates_of_ours(here: Here, mutual: Registry, certificates: Path) -> None:
    """As hosts.toml names them, and as Docker's files."""
    name = "reg.example/box:1"
    server = f'server = "https://{mutual.domain}"\nca = "{certificates}/ca.pem"\n'
    here.hosts("reg.example", server)
    with pytest.raises(SampanError, match="cannot reach registry"):
        here.pull(name)
    here.hosts(
        "reg.example", f'{server}client = [["{certificates}/other.pem", "{certificates}/other-key.pem"]]'
    )
    with pytest.raises(SampanError, match="cannot reach registry"):
        here.pull(name)
    here.hosts("reg.example", f'{server}client = [["{certificates}/cert.pem", "{certificates}/key.pem"]]')
    assert here.pull(name) == IMAGE.config
    docker_style = here.certs / mutual.domain
    docker_style.mkdir()
    for source, target in (("ca.pem", "ca.crt"), ("cert.pem", "client.cert")):
        (docker_style / target).write_bytes((certificates / source).read_bytes())
    with pytest.raises(InvalidArgument, match=r"client\.key is missing"):
        here.pull(f"{mutual.domain}/box:1")
    (docker_style / "client.key").write_bytes((certificates / "key.pem").read_bytes())
    assert here.pull(f"{mutual.domain}/box:1") == IMAGE.config
    (docker_style / "client.key").write_text("no key")
    with pytest.raises(InvalidArgument, match="cannot use certificate"):
        here.pull(f"{mutual.domain}/box:1")


def test_registries_conf(here: Here, near: Registry) -> None:
    dead = free_port()
    here.conf.write_text(
        f"""
        unqualified-search-registries = ["elsewhere.example"]
        [[registry]]
        prefix = "moved.example/team"
        location = "{near.domain}/copies"
        [[registry]]
        location = "blocked.example"
        blocked = true
        [[registry]]
        prefix = "*.wild.example"
        [[registry.mirror]]
        location = "127.0.0.1:{dead}"
        [[registry.mirror]]
        location = "{near.domain}"
        [[registry]]
        location = "docker.io/library"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "{near.domain}/copies"
        """
    )
    assert here.pull("moved.example/team/box:1") == IMAGE.config
    assert here.pull("a.wild.example/library/box:1") == IMAGE.config
    assert here.pull(f"box@{IMAGE.digest}") == IMAGE.config
    with pytest.raises(Forbidden, match=r"blocked\.example is blocked in .*registries\.conf"):
        here.pull("blocked.example/box:1")
    with pytest.raises(SampanError, match=r"cannot reach registry moved\.example"):
        here.pull("moved.example/other/box:1")  # the prefix is another one


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("server = 5", "Expected `str`, got `int`", id="wrong type"),
        pytest.param("skip-verify = true", "unknown field `skip-verify`", id="unknown key"),
        pytest.param("server =", "Invalid value", id="no TOML"),
        pytest.param('capabilities = ["pul"]', "'pul' is none of pull, resolve, push", id="capability"),
        pytest.param('server = "ftp://x"', "no http or https address", id="scheme"),
        pytest.param('server = "https://u:secret@x"', "has a user", id="user in the address"),
        pytest.param('proxy = "socks5://x:1"', "proxy socks5://x is not supported", id="proxy"),
        pytest.param('dial_timeout = "soon"', "'soon' is no time", id="time"),
        pytest.param('client = [["a"]]', "no pair of certificate and key", id="pair"),
        pytest.param('[header]\n"a b" = "c"', "'a b' cannot be sent", id="header"),
        pytest.param('ca = "none.pem"', "cannot read certificate .*none.pem", id="missing file"),
    ],
)
def test_a_wrong_hosts_toml_is_an_error(here: Here, text: str, want: str) -> None:
    here.hosts("reg.example", text)
    with pytest.raises(InvalidArgument, match=want) as caught:
        here.pull("reg.example/box:1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param('[[registry]]\nprefx = "a"', "unknown field `prefx`", id="unknown key"),
        pytest.param("[[registry]]\nblocked = true", "neither prefix nor location", id="no name"),
        pytest.param('[registries.search]\nregistries = ["a"]', "version 1", id="the old form"),
        pytest.param('[[registry]]\nprefix = "a.*.b"', "wildcard", id="wildcard within"),
        pytest.param('[[registry]]\nlocation = "https://a.b"', "no https://", id="an address"),
        pytest.param('[[registry]]\nlocation = "a.b"\n' * 2, "two .* tables", id="twice"),
        pytest.param(
            '[[registry]]\nprefix = "reg.example"\nlocation = "No Name"', "makes no name", id="no name made"
        ),
    ],
)
def test_a_wrong_registries_conf_is_an_error(here: Here, text: str, want: str) -> None:
    here.conf.write_text(text)
    with pytest.raises(InvalidArgument, match=want):
        here.pull("reg.example/box:1")


class Proxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy: CONNECT, and absolute addresses; asked: the request lines."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, user: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Relay)
        self.asked: list[str] = []
        self.wanted = f"Basic {base64.b64encode(user.encode()).decode()}" if user else ""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Relay(socketserver.StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        line = self.rfile.readline().decode()
        headers = {}
        while raw := self.rfile.readline().decode().strip():
            name, _, value = raw.partition(":")
            headers[name.lower()] = value.strip()
        self.server.asked.append(line.strip())
        if self.server.wanted and headers.get("proxy-authorization") != self.server.wanted:
            self.wfile.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
            return
        method, target, _ = line.split()
        place = target.removeprefix("http://").partition("/")[0]
        host, _, port = place.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as there:
            if method == "CONNECT":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                path = target.partition(place)[2]
                kept = "".join(
                    f"{name}: {value}\r\n" for name, value in headers.items() if name != "connection"
                )
                there.sendall(f"{method} {path} HTTP/1.1\r\n{kept}Connection: close\r\n\r\n".encode())
            self._pump(there)

    def _pump(self, there: socket.socket) -> None:
        pair = {self.connection: there, there: self.connection}
        while True:
            for one in select.select(list(pair), [], [], 10)[0]:
                data = one.recv(65536)
                if not data:
                    return
                pair[one].sendall(data)


@contextmanager
def serve_proxy(user: str = "") -> Iterator[Proxy]:
    server = Proxy(user)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_proxy_with_a_password(here: Here, near: Registry, mutual: Registry, certificates: Path) -> None:
    with serve_proxy("anna:se@cret") as proxy:
        own = f'proxy = "http://anna:se%40cret@{proxy.address}"\n'
        here.hosts("plain.example", f'server = "http://{near.domain}"\n{own}')
        assert here.pull("plain.example/library/box:1") == IMAGE.config
        assert f"GET http://{near.domain}/v2/?ns=plain.example HTTP/1.1" in proxy.asked
        here.hosts(
            "tls.example",
            f'server = "https://{mutual.domain}"\n{own}ca = "{certificates}/ca.pem"\n'
            f'client = [["{certificates}/cert.pem", "{certificates}/key.pem"]]\n',
        )
        assert here.pull("tls.example/box:1") == IMAGE.config
        assert f"CONNECT {mutual.domain} HTTP/1.1" in [
            line.replace("HTTP/1.0", "HTTP/1.1") for line in proxy.asked
        ]
        here.hosts("wrong.example", f'server = "http://{near.domain}"\nproxy = "http://{proxy.address}"\n')
        with pytest.raises(SampanError, match=r"407|answers"):
            here.pull("wrong.example/library/box:1")


@needs_root
@needs_busybox
@pytest.mark.peers
def test_sampand_with_mirrors(near: Registry, tmp_path: Path) -> None:
    """The real docker CLI; what is set shows in `info`; pushes go to the server that takes them."""
    certs = tmp_path / "certs.d"
    (certs / "reg.example").mkdir(parents=True)
    (certs / "reg.example/hosts.toml").write_text(
        f'[host."http://{near.domain}"]\ncapabilities = ["pull", "resolve", "push"]\n'
    )
    daemon = Sampand(tmp_path / "sampand")
    daemon.folder.mkdir()
    daemon.start(
        f"--registry-mirror=http://{near.domain}",
        f"--registry-certs={certs}",
        f"--registries-conf={tmp_path}/none.conf",
        "--insecure-registry=lax.example",
        "--insecure-registry=10.0.0.0/8",
    )
    try:
        assert daemon.docker("pull", "box:1").code == 0
        assert daemon.docker("pull", "reg.example/copies/box:1").code == 0
        daemon.docker("tag", "box:1", "reg.example/pushed/box:2")
        assert daemon.docker("push", "reg.example/pushed/box:2").code == 0
        assert near.request("GET", "/v2/pushed/box/manifests/2", Accept=IMAGE.media_type)[2] == IMAGE.manifest
        told = json.loads(daemon.docker("info", "--format", "{{json .RegistryConfig}}").text)
        assert told["Mirrors"] == told["IndexConfigs"]["docker.io"]["Mirrors"] == [f"http://{near.domain}/"]
        assert told["IndexConfigs"]["lax.example"]["Secure"] is False
        assert told["InsecureRegistryCIDRs"] == ["10.0.0.0/8", "127.0.0.0/8", "::1/128"]
    finally:
        daemon.close()
