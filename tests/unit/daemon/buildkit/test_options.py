"""Options of `dockerfile.v0` as requests."""

from __future__ import annotations

import json

import pytest

from sampan.build.host import Limits
from sampan.build.request import BuildRequest
from sampan.daemon.buildkit.options import Local, NamedSource, Remote, read_request, read_sources
from sampan.errors import InvalidArgument, Unsupported


def read(options: dict[str, str]) -> BuildRequest:
    return read_request(options, dockerfile="Dockerfile", tags=[], entitlements=[])


def test_order_of_a_map_does_not_matter() -> None:
    options = {"label:b": "1", "label:a": "2", "build-arg:d": "3", "build-arg:c": "4"}
    for order in (options, dict(reversed(options.items()))):
        request = read(order)
        assert json.dumps(dict(request.labels)) == '{"a": "2", "b": "1"}'
        assert json.dumps(dict(request.build_args)) == '{"c": "4", "d": "3"}'


@pytest.mark.parametrize(
    ("options", "name", "want"),
    [
        ({"no-cache": ""}, "no_cache", True),
        ({"no-cache": "one,Two"}, "no_cache_stages", frozenset(("one", "two"))),
        ({}, "no_cache", False),
        ({"image-resolve-mode": "pull"}, "pull", True),
        ({"image-resolve-mode": "local"}, "pull", False),
        ({"force-network-mode": "host"}, "network", "host"),
        ({"force-network-mode": "sandbox"}, "network", ""),
        ({"add-hosts": "a=1.2.3.4,b=::1"}, "extra_hosts", ["a:1.2.3.4", "b:::1"]),
        (
            {"ulimit": "nofile=1:2,core=3", "shm-size": "64"},
            "limits",
            Limits(shm_size=64, ulimits=(("nofile", 1, 2), ("core", 3, 3))),
        ),
    ],
)
def test_values(options: dict[str, str], name: str, want: object) -> None:
    assert getattr(read(options), name) == want


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"ulimit": "nofile"}, InvalidArgument, "invalid ulimit 'nofile'"),
        ({"ulimit": "nofile=x"}, InvalidArgument, "not name=soft"),
        ({"add-hosts": "a"}, InvalidArgument, "not host=address"),
        ({"shm-size": "1m"}, InvalidArgument, "invalid shm-size '1m': no number"),
        ({"attest:other": ""}, InvalidArgument, "type is one of provenance, sbom"),
        ({"requestid": "frontend.other"}, Unsupported, "frontend.other"),
    ],
)
def test_refused(options: dict[str, str], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        read(options)


@pytest.mark.parametrize(
    ("options", "directory", "context"),
    [
        pytest.param({}, "dockerfile", Local("context"), id="a directory"),
        pytest.param({"contextkey": "c", "dockerfilekey": "d"}, "d", Local("c"), id="other names"),
        pytest.param({"context": "https://h/x.git"}, "", Remote("https://h/x.git", False), id="a repository"),
        pytest.param(
            {"context": "http://buildkit-session/1", "dockerfilekey": "dockerfile"},
            "dockerfile",
            Remote("http://buildkit-session/1", True),
            id="standard input, a Dockerfile beside it",
        ),
    ],
)
def test_sources(options: dict[str, str], directory: str, context: object) -> None:
    found = read_sources(options)
    assert (found.dockerfile_directory, found.context) == (directory, context)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ("docker-image://busybox", NamedSource(image="busybox")),
        ("local:other", NamedSource(local="other")),
        ("https://h/r.git#x", NamedSource(url="https://h/r.git#x")),
    ],
)
def test_named_sources(value: str, want: NamedSource) -> None:
    assert read_sources({"context:Name": value}).named == {"name": want}


@pytest.mark.parametrize("value", ["oci-layout://x@sha256:0", "input:0"])
def test_named_sources_that_are_refused(value: str) -> None:
    with pytest.raises(Unsupported, match="build context n="):
        read_sources({"context:n": value})
