"""Search, and image indexes, with the real docker CLI and sampan, against Debian's registry and ours."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.system.hostile_registry import Answerer, serve_hostile
from tests.system.registry_kit import (
    OCI_INDEX,
    OCI_MANIFEST,
    Registry,
    make_image,
    make_index,
    needs_registry,
    serve_registry,
)
from tests.system.registry_server_kit import RegistryServer
from tests.system.sampand import Sampand, needs_busybox, needs_root
from tests.system.store_kit import entry, tar

pytestmark = [needs_root, needs_busybox, needs_registry, pytest.mark.peers]

AMD = make_image([tar((entry("file"), b"amd"))])
ARM = make_image([tar((entry("file"), b"arm"))], architecture="arm64")


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as running:
        for name in ("team/web", "team/api", "other/web-tools"):
            running.put(name, "1", AMD)
        running.put("team/web", "arm", ARM)
        yield running


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("ours") / "root")
    for name in ("team/web", "other/web-tools"):
        server.push_image(name, "1")
    yield server
    server.close()


def names(sampand: Sampand, *arguments: str) -> list[str]:
    done = sampand.docker("search", "--format", "{{.Name}}", *arguments)
    assert done.code == 0, done.err
    return done.text.splitlines()


def test_search(sampand: Sampand, debian: Registry, ours: RegistryServer) -> None:
    """Debian's has a catalog only, ours a search."""
    for host in (debian.domain, ours.address):
        assert names(sampand, f"{host}/WEB") == [f"{host}/other/web-tools", f"{host}/team/web"]
        assert names(sampand, f"{host}/nothing") == []
        assert names(sampand, "--limit", "1", f"{host}/web") == [f"{host}/other/web-tools"]
        assert names(sampand, "--filter", "stars=3", f"{host}/web") == []
    own = sampand.sampan("search", f"{ours.address}/web")
    assert own.text.splitlines()[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert own.text.splitlines()[2].split() == [f"{ours.address}/team/web", "0"]


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        pytest.param(("--limit", "101", "x/y"), "limit 101 is outside the range of [1, 100]", id="limit"),
        pytest.param(("--filter", "color=red", "x/y"), "invalid filter 'color'", id="filter"),
        pytest.param(("--filter", "stars=many", "x/y"), "invalid filter 'stars=many'", id="stars"),
        pytest.param(("https://reg.example/x",), "should not have a scheme", id="scheme"),
        pytest.param(("",), "search term is missing", id="nothing"),
    ],
)
def test_a_wrong_search(sampand: Sampand, arguments: tuple[str, ...], want: str) -> None:
    done = sampand.sampan("search", *arguments)
    assert (done.code, want in done.err) == (1, True), done.err


def test_a_registry_that_cannot_be_searched(sampand: Sampand) -> None:
    with serve_hostile(AMD, lambda request: False) as server:
        done = sampand.docker("search", f"{server.domain}/web")
        assert (done.code, "neither a search nor a catalog" in done.err) == (1, True)

    def endless(request: Answerer) -> bool:
        if "_catalog" in request.path:
            request.send(200, b'{"repositories":["same"]}', Link='</v2/_catalog>; rel="next"')
            return True
        return False

    with serve_hostile(AMD, endless) as server:
        assert names(sampand, f"{server.domain}/web") == []


def test_an_index_is_made_and_pushed(sampand: Sampand, debian: Registry) -> None:
    """Of images of two repositories; what is pulled from it depends on the platform."""
    host = debian.domain
    index = f"{host}/team/all:1"
    made = sampand.sampan("manifest", "create", index, f"{host}/team/web:1", f"{host}/team/web:arm")
    assert made.text == f"Created manifest list {index}"
    again = sampand.sampan("manifest", "create", index, f"{host}/team/api:1")
    assert (again.code, "there is a draft" in again.err) == (1, True)
    noted = sampand.sampan("manifest", "annotate", "--variant", "v8", index, f"{host}/team/web:arm")
    assert noted.code == 0, noted.err
    draft = json.loads(sampand.sampan("manifest", "inspect", index).out)
    assert [one["platform"] for one in draft["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    pushed = sampand.sampan("manifest", "push", "--purge", index)
    assert pushed.code == 0, pushed.err
    status, headers, raw = debian.request("GET", "/v2/team/all/manifests/1", Accept=f"{OCI_INDEX}")
    assert (status, headers["Docker-Content-Digest"]) == (200, pushed.text)
    assert [one["digest"] for one in json.loads(raw)["manifests"]] == [AMD.digest, ARM.digest]
    for platform, image in (("linux/amd64", AMD), ("linux/arm64", ARM)):
        assert sampand.docker("pull", "-q", "--platform", platform, index).code == 0
        assert image.config in sampand.docker("images", "-q", "--no-trunc").text
    shown = sampand.sampan("manifest", "inspect", index)
    assert json.loads(shown.out) == json.loads(raw)
    verbose = json.loads(sampand.sampan("manifest", "inspect", "-v", f"{host}/team/web:1").out)
    assert verbose["Ref"] == f"{host}/team/web@{AMD.digest}"
    assert verbose["Descriptor"]["platform"] == {"architecture": "amd64", "os": "linux"}


def test_a_wrong_index(sampand: Sampand, debian: Registry, ours: RegistryServer) -> None:
    host = debian.domain
    missing = sampand.sampan("manifest", "create", f"{host}/x:1", f"{host}/nothing:1")
    assert (missing.code, f"manifest for {host}/nothing:1 not found" in missing.err) == (1, True)
    assert "no such manifest" in sampand.sampan("manifest", "push", f"{host}/x:1").err
    assert "no such manifest" in sampand.sampan("manifest", "rm", f"{host}/x:1").err
    sampand.sampan("manifest", "create", f"{ours.address}/x:1", f"{host}/team/web:1")
    refused = sampand.sampan("manifest", "push", f"{ours.address}/x:1")
    assert "cannot use source images from a different registry" in refused.err
    assert ours.ask("GET", "/v2/x/tags/list").status == 404
    assert sampand.sampan("manifest", "rm", f"{ours.address}/x:1").code == 0
    stranger = sampand.sampan("manifest", "annotate", "--os", "linux", f"{host}/y:1", "nothing")
    assert (stranger.code, "no such manifest" in stranger.err) == (1, True)


def test_dockers_manifest_command_against_ours(sampand: Sampand, ours: RegistryServer) -> None:
    """It speaks with the registry itself."""
    host = ours.address
    made = sampand.docker("manifest", "create", "--insecure", f"{host}/team/all:1", f"{host}/team/web:1")
    assert made.code == 0, made.err
    pushed = sampand.docker("manifest", "push", "--insecure", f"{host}/team/all:1")
    assert pushed.code == 0, pushed.err
    shown = sampand.docker("manifest", "inspect", "--insecure", f"{host}/team/all:1")
    assert len(json.loads(shown.out)["manifests"]) == 1
    assert sampand.sampan("manifest", "inspect", f"{host}/team/all:1").code == 0


def test_distribution_of_an_index(sampand: Sampand, debian: Registry) -> None:
    index = make_index((AMD, "amd64"), (ARM, "arm64"))
    debian.put_document("team/web", "both", index, OCI_INDEX)
    status, _, raw = sampand.request("GET", f"/distribution/{debian.domain}/team/web:both/json")
    told = json.loads(raw)
    assert (status, told["Descriptor"]["mediaType"]) == (200, OCI_INDEX)
    assert [one["architecture"] for one in told["Platforms"]] == ["amd64", "arm64"]
    status, _, raw = sampand.request("GET", f"/distribution/{debian.domain}/team/web:1/json")
    assert (status, json.loads(raw)["Descriptor"]["mediaType"]) == (200, OCI_MANIFEST)
    status, _, raw = sampand.request("GET", f"/distribution/{debian.domain}/team/none/json")
    assert (status, "not found" in json.loads(raw)["message"]) == (404, True)
