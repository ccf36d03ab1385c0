from __future__ import annotations

import pytest

from sampan.registry.server.access import ALL, Scope, parse_scopes
from sampan.registry.server.documents import parse_document
from sampan.registry.server.errors import RegistryError
from sampan.registry.server.names import Target, parse_path
from sampan.registry.server.sending import Span, parse_range
from sampan.spec.image import OCI_INDEX, OCI_MANIFEST

DIGEST = f"sha256:{'a' * 64}"
OTHER = f"sha512:{'b' * 128}"


@pytest.mark.parametrize(
    ("path", "want"),
    [
        pytest.param("/v2/", Target("base"), id="base"),
        pytest.param("/v2/_catalog", Target("catalog"), id="catalog"),
        pytest.param("/v2/a/b/tags/list", Target("tags", "a/b"), id="tags"),
        pytest.param("/v2/tags/list/tags/list", Target("tags", "tags/list"), id="a name like an endpoint"),
        pytest.param("/v2/a/manifests/latest", Target("manifest", "a", "latest"), id="tag"),
        pytest.param("/v2/a/blobs/uploads/", Target("upload start", "a"), id="upload"),
        pytest.param("/v2/a/blobs/uploads/12", Target("upload", "a", "12"), id="upload by id"),
        pytest.param(f"/v2/a/blobs/{DIGEST}", Target("blob", "a", DIGEST), id="blob"),
        pytest.param(f"/v2/a/referrers/{DIGEST}", Target("referrers", "a", DIGEST), id="referrers"),
        pytest.param("/v1/a/tags/list", None, id="another version"),
        pytest.param("/v2/a/what", None, id="nothing known"),
    ],
)
def test_a_path_names(path: str, want: Target | None) -> None:
    assert parse_path(path) == want


@pytest.mark.parametrize("name", ["A", "a//b", "-a", "a_", "a..b", "a/", "_a", "ä", "a" * 256])
def test_a_name_is_refused(name: str) -> None:
    with pytest.raises(RegistryError, match="grammar of names"):
        parse_path(f"/v2/{name}/tags/list")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("bytes=0-0", Span(0, 1), id="one byte"),
        pytest.param("bytes=10-", Span(10, 90), id="to the end"),
        pytest.param("bytes=-200", Span(0, 100), id="more than there is from the end"),
        pytest.param("bytes=0-1,3-4", None, id="several: all is sent"),
        pytest.param("lines=1-2", None, id="another unit"),
    ],
)
def test_a_range(text: str, want: Span | None) -> None:
    assert parse_range(text, 100) == want


def test_a_range_of_nothing() -> None:
    for text, size in (("bytes=100-", 100), ("bytes=5-4", 100), ("bytes=-0", 100), ("bytes=0-", 0)):
        with pytest.raises(RegistryError, match="not satisfiable"):
            parse_range(text, size)


def test_a_manifest_names_blobs_children_and_its_subject() -> None:
    layer = f'{{"mediaType":"x","digest":"{OTHER}","size":1}}'
    foreign = f'{{"mediaType":"x","digest":"{DIGEST}","size":1,"urls":["https://x"]}}'
    raw = f'{{"schemaVersion":2,"config":{layer},"layers":[{foreign}],"subject":{layer},"artifactType":"k"}}'
    found = parse_document(raw.encode(), content_type=OCI_MANIFEST)
    assert (found.names.blobs, found.names.foreign) == ({OTHER}, {DIGEST})
    assert (found.subject, found.artifact_type, found.media_type) == (OTHER, "k", OCI_MANIFEST)
    index = f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{layer}]}}'
    assert parse_document(index.encode(), content_type="").names.children == {OTHER}


def test_scopes() -> None:
    texts = ["repository:a/b:pull,push registry:catalog:*", "nonsense", "repository(plugin):x:pull"]
    assert parse_scopes(texts) == [
        Scope("repository", "a/b", frozenset({"pull", "push"})),
        Scope("registry", "catalog", ALL),
        Scope("repository", "x", frozenset({"pull"})),
    ]
