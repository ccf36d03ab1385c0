"""What a registry gives out: ranges, lists in pages, referrers; and what deleting takes with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.registry_server_kit import RegistryServer, descriptor, digest_of

from sampan.ids import parse_digest
from sampan.spec.image import OCI_INDEX, OCI_MANIFEST
from sampan.store.store import Store

CONTENT = bytes(range(256)) * 4000


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry") / "root")
    yield server
    server.close()


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        pytest.param("bytes=0-9", 0, 10, id="the first bytes"),
        pytest.param("bytes=500000-", 500000, len(CONTENT), id="from a place on"),
        pytest.param("bytes=-7", len(CONTENT) - 7, len(CONTENT), id="the last bytes"),
        pytest.param(f"bytes=5-{10**12}", 5, len(CONTENT), id="an end behind the end"),
    ],
)
def test_a_range_of_a_blob(registry: RegistryServer, asked: str, start: int, end: int) -> None:
    digest = registry.push_blob("ranges", CONTENT)
    got = registry.ask("GET", f"/v2/ranges/blobs/{digest}", Range=asked)
    assert (got.status, got.body) == (206, CONTENT[start:end])
    assert got.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"


def test_a_range_outside_and_an_unchanged_blob(registry: RegistryServer) -> None:
    digest = registry.push_blob("ranges", CONTENT)
    outside = registry.ask("GET", f"/v2/ranges/blobs/{digest}", Range=f"bytes={len(CONTENT)}-")
    assert (outside.status, outside.headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")
    same = registry.ask("GET", f"/v2/ranges/blobs/{digest}", If_None_Match=f'"{digest}"')
    assert (same.status, same.body) == (304, b"")


def test_tags_come_in_pages(registry: RegistryServer) -> None:
    for tag in ("b", "A", "c", "1", "latest"):
        registry.push_image("pages", tag)
    assert registry.ask("GET", "/v2/pages/tags/list").document == {
        "name": "pages",
        "tags": ["1", "A", "b", "c", "latest"],
    }
    found, place, requests = [], "/v2/pages/tags/list?n=2", 0
    while place:
        answer = registry.ask("GET", place)
        found += answer.document["tags"]
        link = answer.headers.get("Link", "")
        place = link.partition(">")[0].removeprefix("<")
        requests += 1
    assert (found, requests) == (["1", "A", "b", "c", "latest"], 3)
    assert registry.ask("GET", "/v2/pages/tags/list?n=0").document["tags"] == []


def test_the_catalog_comes_in_pages(registry: RegistryServer) -> None:
    for name in ("cat/one", "cat/two"):
        registry.push_blob(name, b"x")
    page = registry.ask("GET", "/v2/_catalog?n=1&last=cat")
    assert page.document == {"repositories": ["cat/one"]}
    assert page.headers["Link"] == '</v2/_catalog?n=1&last=cat%2Fone>; rel="next"'


def test_referrers_are_listed_by_type(registry: RegistryServer) -> None:
    subject = registry.make_image("refs")
    absent = registry.ask("GET", f"/v2/refs/referrers/{digest_of(subject)}")
    assert (absent.status, absent.document["manifests"]) == (200, [])
    kinds = {}
    for kind in ("application/signature", "application/sbom"):
        raw = registry.make_image(
            "refs",
            artifactType=kind,
            subject=descriptor(OCI_MANIFEST, subject),
            annotations={"kind": kind},
        )
        done = registry.ask("PUT", f"/v2/refs/manifests/{digest_of(raw)}", raw, Content_Type=OCI_MANIFEST)
        assert done.headers["OCI-Subject"] == digest_of(subject)
        kinds[kind] = digest_of(raw)
    found = registry.ask("GET", f"/v2/refs/referrers/{digest_of(subject)}")
    assert found.headers["Content-Type"] == OCI_INDEX
    assert {one["artifactType"]: one["digest"] for one in found.document["manifests"]} == kinds
    some = registry.ask("GET", f"/v2/refs/referrers/{digest_of(subject)}?artifactType=application/sbom")
    assert some.headers["OCI-Filters-Applied"] == "artifactType"
    (one,) = some.document["manifests"]
    assert one["annotations"] == {"kind": "application/sbom"}


def test_deleting_a_tag_leaves_the_manifest_and_deleting_that_takes_tags(registry: RegistryServer) -> None:
    digest = registry.push_image("gone", "one", text="gone")
    assert registry.push_image("gone", "two", text="gone") == digest
    assert registry.ask("DELETE", "/v2/gone/manifests/one").status == 202
    assert registry.ask("DELETE", "/v2/gone/manifests/one").code == "MANIFEST_UNKNOWN"
    assert registry.ask("GET", f"/v2/gone/manifests/{digest}").status == 200
    assert registry.ask("DELETE", f"/v2/gone/manifests/{digest}").status == 202
    assert registry.ask("GET", "/v2/gone/manifests/two").code == "MANIFEST_UNKNOWN"
    assert not registry.blob_path(digest).exists()


def test_a_blob_that_a_manifest_names_stays(registry: RegistryServer) -> None:
    registry.push_image("kept", "latest")
    manifest = json.loads(registry.ask("GET", "/v2/kept/manifests/latest").body)
    layer = manifest["layers"][0]["digest"]
    assert registry.ask("DELETE", f"/v2/kept/blobs/{layer}").code == "DENIED"
    assert registry.ask("GET", f"/v2/kept/blobs/{layer}").status == 200


def test_collection_keeps_what_repositories_have(tmp_path: Path) -> None:
    server = RegistryServer(tmp_path / "root")
    server.push_image("app", "latest")
    server.close()
    with Store(str(server.root)) as store:  # opening collects
        store.wait_until_swept()
        assert store.check.find() == []
        stray = store.repositories.path(parse_digest(f"sha256:{'5' * 64}"))
        Path(stray).write_bytes(b"nobody's")
    server.start()
    try:
        assert not Path(stray).exists()
        assert server.ask("GET", "/v2/app/manifests/latest").status == 200
        for one in json.loads(server.ask("GET", "/v2/app/manifests/latest").body)["layers"]:
            assert server.ask("GET", f"/v2/app/blobs/{one['digest']}").status == 200
    finally:
        server.close()
