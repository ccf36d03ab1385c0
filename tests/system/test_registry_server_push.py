"""Uploads in every way of the specification, manifests and what is refused, as bytes on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.system.registry_server_kit import RegistryServer, descriptor, digest_of

from sampan.spec.image import DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST

ABSENT = digest_of(b"absent")
CONTENT = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry") / "root")
    yield server
    server.close()


def start(registry: RegistryServer, repository: str = "up/load") -> str:
    answer = registry.ask("POST", f"/v2/{repository}/blobs/uploads/")
    assert (answer.status, answer.headers["Range"]) == (202, "0-0")
    return answer.headers["Location"]


def test_a_blob_in_one_request_is_there(registry: RegistryServer) -> None:
    digest = registry.push_blob("mono", CONTENT)
    got = registry.ask("GET", f"/v2/mono/blobs/{digest}")
    assert (got.status, got.body, got.headers["Docker-Content-Digest"]) == (200, CONTENT, digest)
    head = registry.ask("HEAD", f"/v2/mono/blobs/{digest}")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(CONTENT)))
    assert registry.blob_path(digest).read_bytes() == CONTENT


def test_a_blob_in_chunks_is_there_and_each_chunk_must_follow_the_last(registry: RegistryServer) -> None:
    place = start(registry)
    first = registry.ask("PATCH", place, CONTENT[:100], Content_Range="0-99")
    assert (first.status, first.headers["Range"]) == (202, "0-99")
    wrong = registry.ask("PATCH", place, CONTENT[200:300], Content_Range="200-299")
    assert (wrong.status, wrong.headers["Range"], wrong.code) == (416, "0-99", "BLOB_UPLOAD_INVALID")
    short = registry.ask("PATCH", place, CONTENT[100:150], Content_Range="100-199")
    assert (short.status, short.code) == (400, "SIZE_INVALID")
    asked = registry.ask("GET", place)
    assert (asked.status, asked.headers["Range"]) == (204, "0-99")
    digest = digest_of(CONTENT)
    last = registry.ask(
        "PUT", f"{place}?digest={digest}", CONTENT[100:], Content_Range=f"100-{len(CONTENT) - 1}"
    )
    assert (last.status, last.headers["Location"]) == (201, f"/v2/up/load/blobs/{digest}")
    assert registry.ask("GET", f"/v2/up/load/blobs/{digest}").body == CONTENT
    assert registry.ask("GET", place).code == "BLOB_UPLOAD_UNKNOWN"


def test_content_of_another_digest_is_refused_and_leaves_nothing(registry: RegistryServer) -> None:
    place = start(registry)
    done = registry.ask("PUT", f"{place}?digest={ABSENT}", CONTENT + b"!")
    assert (done.status, done.code) == (400, "DIGEST_INVALID")
    assert not registry.blob_path(digest_of(CONTENT + b"!")).exists()
    assert registry.ask("GET", place).status == 404
    assert list((registry.root / "uploads").iterdir()) == []


def test_an_upload_is_cancelled(registry: RegistryServer) -> None:
    place = start(registry)
    assert registry.ask("DELETE", place).status == 204
    assert registry.ask("PATCH", place, b"x").code == "BLOB_UPLOAD_UNKNOWN"


def test_an_upload_belongs_to_its_repository(registry: RegistryServer) -> None:
    place = start(registry, "one")
    assert registry.ask("PATCH", place.replace("/one/", "/two/"), b"x").code == "BLOB_UPLOAD_UNKNOWN"


def test_a_blob_is_mounted_without_a_copy(registry: RegistryServer) -> None:
    digest = registry.push_blob("source", b"to be mounted")
    query = f"mount={digest}&from=source"
    assert registry.ask("POST", f"/v2/target/blobs/uploads/?{query}").status == 201
    assert registry.ask("GET", f"/v2/target/blobs/{digest}").body == b"to be mounted"
    absent = registry.ask("POST", f"/v2/target/blobs/uploads/?mount={ABSENT}&from=source")
    assert absent.status == 202  # then it is uploaded
    assert registry.ask("DELETE", f"/v2/source/blobs/{digest}").status == 202
    assert registry.ask("GET", f"/v2/target/blobs/{digest}").status == 200
    assert registry.ask("DELETE", f"/v2/target/blobs/{digest}").status == 202
    assert not registry.blob_path(digest).exists()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"schemaVersion": 1}, "MANIFEST_INVALID", id="schema 1"),
        pytest.param(
            {"mediaType": DOCKER_MANIFEST}, "MANIFEST_INVALID", id="another type than the request's"
        ),
        pytest.param({"manifests": []}, "MANIFEST_INVALID", id="manifest and index at once"),
        pytest.param({"Layers": []}, "MANIFEST_INVALID", id="a field in two cases"),
        pytest.param(
            {"config": {"mediaType": OCI_CONFIG, "digest": ABSENT, "size": 6}},
            "MANIFEST_BLOB_UNKNOWN",
            id="a blob that is not there",
        ),
        pytest.param(
            {"config": {"mediaType": OCI_CONFIG, "digest": "sha256:../../x", "size": 6}},
            "MANIFEST_INVALID",
            id="a digest that is a path",
        ),
    ],
)
def test_a_manifest_is_refused(registry: RegistryServer, change: dict[str, object], code: str) -> None:
    raw = json.dumps({**json.loads(registry.make_image("refused")), **change}).encode()
    done = registry.ask("PUT", "/v2/refused/manifests/latest", raw, Content_Type=OCI_MANIFEST)
    assert done.code == code
    assert registry.ask("GET", "/v2/refused/manifests/latest").status == 404
    assert not registry.blob_path(digest_of(raw)).exists()


def test_a_manifest_may_say_its_type_alone(registry: RegistryServer) -> None:
    raw = registry.make_image("untyped")
    assert registry.ask("PUT", "/v2/untyped/manifests/latest", raw).status == 201
    assert registry.ask("GET", "/v2/untyped/manifests/latest").headers["Content-Type"] == OCI_MANIFEST


def test_a_manifest_of_more_than_four_mebibytes_is_refused(registry: RegistryServer) -> None:
    raw = registry.make_image("large", annotations={"x": "y" * (4 << 20)})
    done = registry.ask("PUT", "/v2/large/manifests/latest", raw, Content_Type=OCI_MANIFEST)
    assert (done.status, done.code) == (413, "SIZE_INVALID")


def test_an_index_needs_its_manifests(registry: RegistryServer) -> None:
    image = registry.make_image("multi")
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_MANIFEST, image)]}
    ).encode()
    refused = registry.ask("PUT", "/v2/multi/manifests/all", index, Content_Type=OCI_INDEX)
    assert refused.code == "MANIFEST_BLOB_UNKNOWN"
    registry.ask("PUT", f"/v2/multi/manifests/{digest_of(image)}", image, Content_Type=OCI_MANIFEST)
    assert registry.ask("PUT", "/v2/multi/manifests/all", index, Content_Type=OCI_INDEX).status == 201
    got = registry.ask("GET", "/v2/multi/manifests/all")
    assert (got.body, got.headers["Content-Type"]) == (index, OCI_INDEX)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        pytest.param("GET", "/v2/UPPER/tags/list", 400, "NAME_INVALID", id="capital letters"),
        pytest.param("GET", "/v2/a/../b/tags/list", 400, "NAME_INVALID", id="dots"),
        pytest.param("GET", f"/v2/{'a' * 256}/tags/list", 400, "NAME_INVALID", id="too long"),
        pytest.param("GET", "/v2/nobody/tags/list", 404, "NAME_UNKNOWN", id="no such repository"),
        pytest.param("GET", "/v2/nobody/manifests/latest", 404, "NAME_UNKNOWN", id="no such manifest"),
        pytest.param("PUT", "/v2/x/manifests/-bad", 400, "MANIFEST_INVALID", id="an empty manifest"),
        pytest.param("GET", "/v2/x/manifests/-bad", 400, "TAG_INVALID", id="a tag with a dash in front"),
        pytest.param("GET", "/v2/x/blobs/md5:00", 400, "DIGEST_INVALID", id="another algorithm"),
        pytest.param("GET", f"/v2/x/blobs/{ABSENT}", 404, "BLOB_UNKNOWN", id="no such blob"),
        pytest.param(
            "GET", f"/v2/x/blobs/uploads/{'0' * 32}", 404, "BLOB_UPLOAD_UNKNOWN", id="no such upload"
        ),
        pytest.param(
            "GET", "/v2/x/blobs/uploads/..", 404, "BLOB_UPLOAD_UNKNOWN", id="an upload that is a path"
        ),
        pytest.param("PUT", "/v2/_catalog", 405, "UNSUPPORTED", id="another method"),
        pytest.param("GET", "/v2/_catalog?n=x", 400, "PAGINATION_NUMBER_INVALID", id="no number"),
    ],
)
def test_a_request_is_refused_with_the_code_of_the_specification(
    registry: RegistryServer, method: str, path: str, status: int, code: str
) -> None:
    done = registry.ask(method, path)
    assert (done.status, done.code) == (status, code)
    assert done.headers["Docker-Distribution-API-Version"] == "registry/2.0"
