"""Pulls from registries that misbehave: a clear error, bounded time, nothing recorded, or a whole image."""

from __future__ import annotations

import gzip
import json
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.hostile_registry import Answerer, Behaviour, Hostile, serve_hostile
from tests.system.registry_kit import MadeImage, make_image, make_index
from tests.system.sampand import needs_root
from tests.system.store_kit import entry, tar

from sampan.errors import SampanError
from sampan.registry.client import Client
from sampan.registry.credentials import Credentials
from sampan.registry.options import Limits, RegistryOptions
from sampan.store.platforms import host_platform
from sampan.store.references import parse_reference
from sampan.store.store import Store

pytestmark = needs_root

LIMITS = Limits(
    connect_s=2,
    silence_s=0.5,
    document_s=1,
    attempts=3,
    backoff_s=0.01,
    retry_after_most_s=0.05,
    slow_window_s=0.3,
    slow_bytes=1000,
)
LAYERS = [tar((entry(f"file{number}"), os.urandom(300_000))) for number in range(3)]
IMAGE = make_image(LAYERS)
ANNA = Credentials("anna", "secret")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client(RegistryOptions(limits=LIMITS, certs=()))
    yield made
    made.close()


def pull(store: Store, client: Client, server: Hostile, credentials: Credentials = ANNA) -> str:
    reference = parse_reference(f"{server.domain}/box:1")
    sources = client.sources_as(reference, credentials)
    puller = client.puller(store.arrivals, reference, lambda line: None)
    return puller.pull(sources, platform=host_platform(), is_wanted=False).image_id


def nothing_recorded(store: Store, tmp_path: Path) -> bool:
    data = tmp_path / "data"
    return (
        store.images.list() == []
        and os.listdir(data / "images/blobs/sha256") == []
        and os.listdir(data / "layers") == []
        and os.listdir(data / "tmp") == []
    )


def manifest(raw: bytes, media_type: str = IMAGE.media_type, **headers: str) -> Behaviour:
    def behave(request: Answerer) -> bool:
        if request.is_manifest:
            request.send(200, raw, Content_Type=media_type, **headers)
        return request.is_manifest

    return behave


def layer(status: int = 200, change: bytes | None = None, **headers: str) -> Behaviour:
    def behave(request: Answerer) -> bool:
        if request.is_layer:
            request.send(status, change or b"", **headers)
        return request.is_layer

    return behave


def truncated(request: Answerer) -> bool:
    if request.is_layer:
        data = request.server.image.blobs[request.path.rpartition("/")[2]]
        request.send(200, data[:1000], length=len(data))
    return request.is_layer


def wrong_bytes(request: Answerer) -> bool:
    if request.is_layer:
        request.send(200, bytes(len(request.server.image.blobs[request.path.rpartition("/")[2]])))
    return request.is_layer


def too_long(request: Answerer) -> bool:
    if request.is_layer:
        data = request.server.image.blobs[request.path.rpartition("/")[2]]
        request.send(200, data + b"more")
    return request.is_layer


def endless_layer(request: Answerer) -> bool:
    if request.is_layer:
        request.pour()
    return request.is_layer


def endless_manifest(request: Answerer) -> bool:
    if request.is_manifest and request.command == "GET":
        request.pour()
        return True
    return False


def endless_error(request: Answerer) -> bool:
    if request.is_layer:
        request.send(500, b"x" * 1_000_000)
    return request.is_layer


def dripping_manifest(request: Answerer) -> bool:
    if request.is_manifest and request.command == "GET":
        request.drip(request.server.image.manifest, pause_s=0.05)
        return True
    return False


def dripping_layer(request: Answerer) -> bool:
    if request.is_layer:
        request.drip(b"x" * 10_000, pause_s=0.05)
    return request.is_layer


def silent(request: Answerer) -> bool:
    if request.is_layer:
        request.server.ending.wait(20)
        request.close_connection = True
    return request.is_layer


def redirect_loop(request: Answerer) -> bool:
    if request.is_layer:
        request.send(307, Location=request.path)
    return request.is_layer


def odd_redirect(request: Answerer) -> bool:
    if request.is_layer:
        request.send(307, Location="file:///etc/passwd")
    return request.is_layer


def challenge(text: str) -> Behaviour:
    def behave(request: Answerer) -> bool:
        request.send(401, b"{}", WWW_Authenticate=text)
        return True

    return behave


def always_reset(request: Answerer) -> bool:
    if request.is_layer:
        request.reset()
    return request.is_layer


def too_many(request: Answerer) -> bool:
    request.send(429, b'{"errors":[{"code":"TOOMANYREQUESTS","message":"wait"}]}', Retry_After="99999")
    return True


def other_range(request: Answerer) -> bool:
    if request.is_layer and "Range" in request.headers:
        request.send(206, b"x" * 100, Content_Range="bytes 5-104/105")
        return True
    return truncated(request)


def no_registry(request: Answerer) -> bool:
    request.send(302, Location="/login") if request.path == "/v2/" else request.send(418, b"<html>")
    return True


def bad_status_line(request: Answerer) -> bool:
    request.wfile.write(b"HTTP/9.9 what\r\n\r\n")
    request.close_connection = True
    return True


def many_headers(request: Answerer) -> bool:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000 + b"\r\n")
    request.close_connection = True
    return True


def with_layer(**fields: object) -> bytes:
    document = json.loads(IMAGE.manifest)
    document["layers"][0].update(fields)
    return json.dumps(document).encode()


both = IMAGE.manifest.replace(b'"schemaVersion": 2', b'"schemaVersion": 2, "manifests": []')
MISBEHAVIOUR = [
    pytest.param(truncated, "ends after|broke off", id="truncated blob"),
    pytest.param(wrong_bytes, "is damaged|archive", id="wrong bytes of the right length"),
    pytest.param(too_long, "is longer than", id="blob too long"),
    pytest.param(endless_layer, "is longer than|damaged", id="endless blob"),
    pytest.param(endless_manifest, "exceeds 4194304 bytes", id="endless manifest"),
    pytest.param(endless_error, "exceeds|500", id="endless error"),
    pytest.param(dripping_manifest, "too slow", id="dripping manifest"),
    pytest.param(dripping_layer, "too slowly", id="dripping blob"),
    pytest.param(silent, "timed out", id="silence"),
    pytest.param(redirect_loop, "redirects without end", id="redirect loop"),
    pytest.param(odd_redirect, "redirects to a 'file' address", id="redirect to a file"),
    pytest.param(challenge('Basic realm="x"'), "incorrect username or password", id="401 without end"),
    pytest.param(challenge("Nonsense"), "unauthorized", id="401 of an unknown scheme"),
    pytest.param(challenge('Bearer realm="https://evil.example/t"'), "evil.example: refused", id="realm"),
    pytest.param(challenge('Bearer realm="http://10.255.255.1/t"'), "10.255.255.1: refused", id="address"),
    pytest.param(challenge('Bearer realm="file:///etc/passwd"'), "is not https", id="realm is a file"),
    pytest.param(always_reset, "broke off|cannot reach", id="reset each time"),
    pytest.param(too_many, "toomanyrequests|429", id="429 without end"),
    pytest.param(other_range, "the registry sends from", id="another range than asked for"),
    pytest.param(no_registry, "418|registry", id="no registry at all"),
    pytest.param(bad_status_line, "cannot reach", id="bad status line"),
    pytest.param(many_headers, "cannot reach", id="ten thousand headers"),
    pytest.param(layer(404), "blob of .* is not in the registry", id="blob unknown"),
    pytest.param(manifest(b"{"), "invalid image document", id="manifest is no JSON"),
    pytest.param(manifest(b"[" * 1_000_000), "invalid image document", id="manifest is deep"),
    pytest.param(manifest(b"{}"), "neither", id="manifest is empty"),
    pytest.param(manifest(both), "ambiguous", id="manifest and index at once"),
    pytest.param(
        manifest(IMAGE.manifest, "application/vnd.oci.image.index.v1+json"), "document says", id="other type"
    ),
    pytest.param(
        manifest(b'{"schemaVersion":1}', "application/vnd.docker.distribution.manifest.v1+json"),
        "schema 1, which is not supported",
        id="schema 1",
    ),
    pytest.param(manifest(with_layer(digest="sha256:../../etc")), "is not sha256", id="digest is a path"),
    pytest.param(manifest(with_layer(size=-1)), "layer of -1 bytes", id="negative size"),
    pytest.param(manifest(with_layer(size=1 << 60)), "bytes is refused", id="huge size"),
    pytest.param(manifest(with_layer(size=10)), "is longer than", id="size too small"),
    pytest.param(manifest(with_layer(urls=["http://evil.example/"])), "outside of the registry", id="urls"),
]


@pytest.mark.parametrize(("behaviour", "want"), MISBEHAVIOUR)
def test_refused(store: Store, client: Client, tmp_path: Path, behaviour: Behaviour, want: str) -> None:
    began = time.monotonic()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serve_hostile(IMAGE, behaviour) as server:
        with pytest.raises(SampanError, match=want):
            pull(store, client, server)
    assert time.monotonic() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 64 * 1024
    assert nothing_recorded(store, tmp_path)


def resets_once(request: Answerer) -> bool:
    if request.is_layer and request.server.count(request.path) == 1:
        request.reset()
        return True
    return False


def breaks_off(request: Answerer) -> bool:
    return truncated(request) if request.is_layer and request.server.count(request.path) <= 2 else False


def ignores_range(request: Answerer) -> bool:
    if request.is_layer and request.server.count(request.path) == 1:
        return truncated(request)
    if request.is_layer:
        del request.headers["Range"]
    return False


def busy_once(request: Answerer) -> bool:
    if request.server.count(request.path) == 1:
        request.send(503, Retry_After="0")
        return True
    return False


@pytest.mark.parametrize("behaviour", [resets_once, breaks_off, ignores_range, busy_once])
def test_gets_there_in_the_end(store: Store, client: Client, behaviour: Behaviour) -> None:
    with serve_hostile(IMAGE, behaviour) as server:
        assert pull(store, client, server) == IMAGE.config
    assert store.images.get(store.images.list()[0].id).size_bytes == 900_000


def test_no_credential_leaves_the_registry(store: Store, client: Client) -> None:
    with serve_hostile(IMAGE, lambda request: False) as elsewhere:

        def redirects(request: Answerer) -> bool:
            if not request.headers.get("Authorization"):
                request.send(401, WWW_Authenticate='Basic realm="x"')
                return True
            if request.is_layer:
                request.send(307, Location=f"http://{elsewhere.domain}{request.path}")
            return request.is_layer

        with serve_hostile(IMAGE, redirects) as server:
            assert pull(store, client, server) == IMAGE.config
            assert any(sent for _, _, sent in server.seen)
        assert len(elsewhere.seen) == 3
        assert all(sent == "" for _, _, sent in elsewhere.seen)


def test_a_gzip_bomb(store: Store, client: Client, tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(64 << 20), 9)
    image = make_image([LAYERS[0], b"plain"], compress=lambda data: bomb if data == b"plain" else data)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serve_hostile(image, lambda request: False) as server:
        with pytest.raises(SampanError, match=r"damaged|bomb|archive"):
            pull(store, client, server)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 64 * 1024
    assert nothing_recorded(store, tmp_path)


def test_an_index_of_another_size(store: Store, client: Client, tmp_path: Path) -> None:
    index = make_index((IMAGE, "amd64"), (IMAGE, "arm64")).replace(b'"size": ', b'"size": 1')

    def behave(request: Answerer) -> bool:
        if request.path.endswith("/manifests/1"):
            request.send(200, index, Content_Type="application/vnd.oci.image.index.v1+json")
            return True
        return False

    with serve_hostile(IMAGE, behave) as server:
        with pytest.raises(SampanError, match=r"has .* bytes, not"):
            pull(store, client, server)
    assert nothing_recorded(store, tmp_path)


def test_a_token_is_asked_for_once_and_stays_home(store: Store, client: Client) -> None:
    def behave(request: Answerer) -> bool:
        if request.path.startswith("/token"):
            request.send(200, b'{"token":"t1","expires_in":300}')
            return True
        if request.headers.get("Authorization") != "Bearer t1":
            realm = f"http://{request.server.domain}/token"
            request.send(401, WWW_Authenticate=f'Bearer realm="{realm}",service="s"')
            return True
        return False

    with serve_hostile(IMAGE, behave) as server:
        assert pull(store, client, server) == IMAGE.config
        asked = [path for _, path, _ in server.seen if path.startswith("/token")]
        assert asked == ["/token?service=s&scope=repository%3Abox%3Apull&account=anna"]


def test_a_damaged_rest_of_a_pull_is_fetched_anew(store: Store, client: Client, tmp_path: Path) -> None:
    for digest in IMAGE.blobs:
        (tmp_path / "data/partial" / digest[7:]).write_bytes(b"\0" * 5000)
    with serve_hostile(IMAGE, lambda request: False) as server:
        assert pull(store, client, server) == IMAGE.config
    assert os.listdir(tmp_path / "data/partial") == [IMAGE.config[7:]]


def test_a_good_rest_is_gone_on_with(store: Store, client: Client, tmp_path: Path) -> None:
    made: MadeImage = IMAGE
    for digest, data in made.blobs.items():
        (tmp_path / "data/partial" / digest[7:]).write_bytes(data[:1000])
    ranges = []

    def behave(request: Answerer) -> bool:
        ranges.append(request.headers.get("Range"))
        return False

    with serve_hostile(IMAGE, behave) as server:
        assert pull(store, client, server) == IMAGE.config
    assert ranges.count("bytes=1000-") == 3
