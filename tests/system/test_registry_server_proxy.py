"""`sampan registry serve --proxy`: a cache of another registry, asked by real clients."""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.hostile_registry import Answerer, serve_hostile
from tests.system.registry_kit import (
    OCI_INDEX,
    OCI_MANIFEST,
    Registry,
    digest_of,
    make_image,
    needs_registry,
    serve_registry,
)
from tests.system.registry_server_kit import PROGRAM, RegistryServer, run
from tests.system.sampand import wait_for
from tests.system.store_kit import entry, tar

pytestmark = [needs_registry, pytest.mark.peers]

LAYER = tar((entry("noise"), os.urandom(3 << 20)))
IMAGE = make_image([LAYER])
OTHER = make_image([tar((entry("file"), b"two"))])
BLOB = next(digest for digest in IMAGE.blobs if digest != IMAGE.config)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Registry]:
    with serve_registry(tmp_path / "origin") as running:
        running.put("team/app", "1", IMAGE)
        yield running


@pytest.fixture
def cache(origin: Registry, tmp_path: Path) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path / "cache", "--proxy", f"http://{origin.domain}")
    yield server
    server.close()


def copy(cache: RegistryServer, name: str, target: Path) -> None:
    place = f"docker://{cache.address}/{name}"
    run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", place, f"dir:{target}")


def blobs_asked(origin: Registry) -> list[str]:
    return [line for line in origin.requests() if line.startswith("GET") and "/blobs/" in line]


def test_what_was_pulled_once_is_served_without_upstream(
    cache: RegistryServer, origin: Registry, tmp_path: Path
) -> None:
    copy(cache, "team/app:1", tmp_path / "first")
    assert (tmp_path / "first/manifest.json").read_bytes() == IMAGE.manifest
    assert len(blobs_asked(origin)) == 2
    assert cache.blob_path(BLOB).read_bytes() == IMAGE.blobs[BLOB]
    copy(cache, "team/app:1", tmp_path / "second")
    assert len(blobs_asked(origin)) == 2
    assert not list((cache.root / "partial").iterdir())


def test_upstream_that_is_gone(cache: RegistryServer, tmp_path: Path) -> None:
    with serve_registry(tmp_path / "short") as short:
        short.put("box", "1", IMAGE)
        other = RegistryServer(tmp_path / "other", "--proxy", f"http://{short.domain}")
        copy(other, "box:1", tmp_path / "first")
    try:
        copy(other, "box:1", tmp_path / "second")
        assert other.ask("GET", "/v2/box/tags/list").document == {"name": "box", "tags": ["1"]}
        assert other.ask("GET", "/v2/box/manifests/2").status == 503
        other.kill()
        other.start()
        copy(other, "box:1", tmp_path / "third")
    finally:
        other.close()


def test_a_tag_that_moved_and_one_that_went(cache: RegistryServer, origin: Registry) -> None:
    path = "/v2/team/app/manifests/1"
    assert cache.ask("GET", path).body == IMAGE.manifest
    origin.put("team/app", "1", OTHER)
    assert cache.ask("HEAD", path).headers["Docker-Content-Digest"] == OTHER.digest
    assert cache.ask("GET", path).body == OTHER.manifest
    assert cache.ask("GET", f"/v2/team/app/manifests/{IMAGE.digest}").body == IMAGE.manifest
    missing = cache.ask("GET", "/v2/team/app/manifests/none")
    assert (missing.status, missing.code) == (404, "MANIFEST_UNKNOWN")
    assert cache.ask("GET", f"/v2/team/app/blobs/sha256:{'0' * 64}").code == "BLOB_UNKNOWN"
    assert cache.ask("GET", "/v2/Team/app/manifests/1").code == "NAME_INVALID"


def test_many_at_once_fetch_once(cache: RegistryServer, origin: Registry) -> None:
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: cache.ask("GET", f"/v2/team/app/blobs/{BLOB}"), range(40)))
    assert {digest_of(answer.body) for answer in answers} == {BLOB}
    assert len(blobs_asked(origin)) == 1
    part = cache.ask("GET", f"/v2/team/app/blobs/{BLOB}", Range="bytes=5-9")
    assert (part.status, part.body) == (206, IMAGE.blobs[BLOB][5:10])


def test_ranges_and_heads_of_what_is_not_here_yet(cache: RegistryServer) -> None:
    path = f"/v2/team/app/blobs/{BLOB}"
    head = cache.ask("HEAD", path)
    assert (head.status, int(head.headers["Content-Length"])) == (200, len(IMAGE.blobs[BLOB]))
    part = cache.ask("GET", path, Range="bytes=1000000-1000009")
    assert (part.status, part.body) == (206, IMAGE.blobs[BLOB][1000000:1000010])
    assert cache.ask("GET", path).body == IMAGE.blobs[BLOB]


def test_nothing_is_pushed_and_no_other_registry_is_meant(cache: RegistryServer, origin: Registry) -> None:
    refused = cache.ask("POST", "/v2/team/app/blobs/uploads/")
    assert (refused.code, "is a cache of" in refused.body.decode()) == ("DENIED", True)
    assert cache.ask("GET", "/v2/team/app/manifests/1?ns=quay.io").code == "NAME_UNKNOWN"
    assert cache.ask("GET", f"/v2/team/app/manifests/1?ns={origin.domain}").status == 200
    assert cache.ask("GET", "/v2/_catalog").document == {"repositories": ["team/app"]}


def test_upstream_with_a_password(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    with serve_registry(tmp_path / "closed", htpasswd=("anna", "secret")) as closed:
        closed.put("box", "1", IMAGE)
        options = ("--proxy", f"http://{closed.domain}")
        known = RegistryServer(
            tmp_path / "known", *options, "--proxy-user", "anna", "--proxy-password-file", str(password)
        )
        unknown = RegistryServer(tmp_path / "unknown", *options)
        try:
            copy(known, "box:1", tmp_path / "out")
            assert unknown.ask("GET", "/v2/box/manifests/1").code == "DENIED"
            assert "secret" not in known.log.read_text()
        finally:
            known.close()
            unknown.close()


def test_a_damaged_blob_is_never_kept(tmp_path: Path) -> None:
    def lying(request: Answerer) -> bool:
        if request.is_layer and request.command == "GET":
            request.send(200, bytes(len(request.server.image.blobs[BLOB])))
            return True
        return False

    def cut(request: Answerer) -> bool:
        if request.is_layer and request.command == "GET":
            request.send(
                200, request.server.image.blobs[BLOB][:1000], length=len(request.server.image.blobs[BLOB])
            )
            return True
        return False

    for number, behaviour in enumerate((lying, cut)):
        with serve_hostile(IMAGE, behaviour) as server:
            cache = RegistryServer(tmp_path / str(number), "--proxy", f"http://{server.domain}")
            try:
                place = f"docker://{cache.address}/box:1"
                command = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", place]
                began = time.monotonic()
                done = subprocess.run(
                    [*command, f"dir:{tmp_path}/out{number}"], capture_output=True, timeout=60
                )
                assert done.returncode != 0
                assert time.monotonic() - began < 60
                assert not cache.blob_path(BLOB).exists()
                assert cache.ask("GET", "/v2/_catalog").status == 200
            finally:
                cache.close()


def test_a_cache_killed_in_the_middle_goes_on(tmp_path: Path) -> None:
    halves = {"cut": True}

    def slow(request: Answerer) -> bool:
        if request.is_layer and request.command == "GET" and halves["cut"]:
            data = request.server.image.blobs[BLOB]
            request.send_response(200)
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data[: 1 << 20])
            request.server.ending.wait(20)
            request.close_connection = True
            return True
        return False

    with serve_hostile(IMAGE, slow) as server:
        cache = RegistryServer(tmp_path / "cache", "--proxy", f"http://{server.domain}")
        try:
            url = f"http://{cache.address}/v2/box/blobs/{BLOB}"
            client = subprocess.Popen(["curl", "-s", "-o", "/dev/null", url])
            partial = cache.root / "partial" / BLOB.removeprefix("sha256:")
            wait_for(lambda: partial.exists() and partial.stat().st_size >= 1 << 20, "half of it has come")
            cache.kill()
            client.wait(20)
            halves["cut"] = False
            cache.start()
            assert cache.ask("GET", f"/v2/box/blobs/{BLOB}").body == IMAGE.blobs[BLOB]
        finally:
            cache.close()
            server.ending.set()


@pytest.mark.parametrize(
    ("options", "want"),
    [
        pytest.param(("--proxy", "x", "--host-images"), "does not go with --host-images", id="host images"),
        pytest.param(("--proxy-user", "anna"), "go together", id="user alone"),
        pytest.param(
            ("--proxy", "x.y", "--proxy-user", "a", "--proxy-password-file", "/none"),
            "cannot read",
            id="no file",
        ),
        pytest.param(("--proxy", "http://a b"), "invalid reference format", id="no address"),
    ],
)
def test_wrong_options(tmp_path: Path, options: tuple[str, ...], want: str) -> None:
    command = [PROGRAM, "127.0.0.1:0", "--data-root", str(tmp_path / "root"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, want in done.stderr) == (1, True), done.stderr


def test_types_are_kept(cache: RegistryServer) -> None:
    assert cache.ask("GET", "/v2/team/app/manifests/1").headers["Content-Type"] == OCI_MANIFEST


def test_the_catalog_is_upstreams_and_what_is_here_without_it(tmp_path: Path) -> None:
    with serve_registry(tmp_path / "short") as short:
        for name in ("a/one", "b", "c/three"):
            short.put(name, "1", IMAGE)
        cache = RegistryServer(tmp_path / "cache", "--proxy", f"http://{short.domain}")
        copy(cache, "b:1", tmp_path / "first")
        whole = cache.ask("GET", "/v2/_catalog").document
        page = cache.ask("GET", "/v2/_catalog?n=1&last=a/one")
    try:
        assert whole == {"repositories": ["a/one", "b", "c/three"]}
        assert page.document == {"repositories": ["b"]}
        assert "last=b" in page.headers["Link"]
        assert cache.ask("GET", "/v2/_catalog").document == {"repositories": ["b"]}
    finally:
        cache.close()


@pytest.mark.parametrize("has_list", [True, False], ids=["by upstream's list", "by the tag for it"])
def test_what_refers_to_an_image_upstream(tmp_path: Path, origin: Registry, has_list: bool) -> None:
    """As `oras discover` and cosign ask: signatures and SBOMs are found through the cache."""
    upstream = RegistryServer(tmp_path / "upstream") if has_list else None
    if upstream is not None:
        upstream.push_image("team/app", "1")
        subject = upstream.ask("HEAD", "/v2/team/app/manifests/1").headers["Docker-Content-Digest"]
        about = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1}
        raw = upstream.make_image("team/app", "about", subject=about, artifactType="test/sbom")
        assert (
            upstream.ask("PUT", "/v2/team/app/manifests/sbom", raw, Content_Type=OCI_MANIFEST).status == 201
        )
        address, wanted = upstream.address, digest_of(raw)
    else:
        subject, wanted = IMAGE.digest, OTHER.digest
        entry_of = {"mediaType": OCI_MANIFEST, "digest": wanted, "size": len(OTHER.manifest)}
        index = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [{**entry_of, "artifactType": "test/sbom"}],
        }
        origin.put("team/app", "other", OTHER)
        tag = subject.replace(":", "-")
        origin.put_document("team/app", tag, json.dumps(index).encode(), OCI_INDEX)
        address = origin.domain
    cache = RegistryServer(tmp_path / "cache", "--proxy", f"http://{address}")
    try:
        path = f"/v2/team/app/referrers/{subject}"
        found = cache.ask("GET", path).document["manifests"]
        assert [(one["digest"], one["artifactType"]) for one in found] == [(wanted, "test/sbom")]
        assert cache.ask("GET", f"{path}?artifactType=other").document["manifests"] == []
        nothing = cache.ask("GET", f"/v2/team/app/referrers/{wanted}")
        assert (nothing.status, nothing.document["manifests"]) == (200, [])
    finally:
        cache.close()
        if upstream is not None:
            upstream.close()
