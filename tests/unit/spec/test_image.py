"""Image documents: Go's leniency where it is harmless, refusal where two readers could see two images."""

from __future__ import annotations

import json

import pytest

from sampan.errors import InvalidArgument
from sampan.spec import image
from sampan.spec.image import (
    OCI_INDEX,
    OCI_MANIFEST,
    ContainerDefaults,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    RootFS,
    encode,
    parse_config,
    parse_docker_archive_manifest,
    parse_layout_marker,
    parse_manifest_or_index,
)

CONFIG = {"mediaType": image.OCI_CONFIG, "digest": "sha256:" + "0" * 64, "size": 1}
MANIFEST = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": []}
INDEX = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{**CONFIG, "mediaType": OCI_MANIFEST}]}


def parse(document: object, media_type: str = "") -> Manifest | Index:
    return parse_manifest_or_index(json.dumps(document).encode(), media_type=media_type)


def test_manifest_and_index_are_told_apart() -> None:
    assert isinstance(parse(MANIFEST, OCI_MANIFEST), Manifest)
    assert isinstance(parse(INDEX, OCI_INDEX), Index)
    assert isinstance(parse({**INDEX, "mediaType": ""}), Index), "mediaType may be absent (OCI 1.0)"


@pytest.mark.parametrize(
    ("document", "media_type", "message"),
    [
        pytest.param({**MANIFEST, "manifests": []}, OCI_MANIFEST, "ambiguous", id="both"),
        pytest.param({**MANIFEST, "Manifests": []}, OCI_MANIFEST, "ambiguous", id="both, in Go's eyes"),
        pytest.param(
            {**MANIFEST, "Layers": []}, OCI_MANIFEST, "twice in different case", id="two layer lists"
        ),
        pytest.param(MANIFEST, OCI_INDEX, "its descriptor", id="another type than its descriptor"),
        pytest.param({**MANIFEST, "mediaType": ""}, OCI_INDEX, "does not fit", id="untyped, as an index"),
        pytest.param(
            {**INDEX, "mediaType": OCI_MANIFEST}, "", "does not fit", id="index with a manifest's type"
        ),
        pytest.param({"schemaVersion": 2}, "", "neither", id="neither"),
        pytest.param({**MANIFEST, "schemaVersion": 1}, "", "schema version 1", id="schema 1"),
        pytest.param([], "", "invalid image document", id="no object"),
    ],
)
def test_ambiguous_documents_are_refused(document: object, media_type: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse(document, media_type)


def test_config_reads_nulls_as_go_does() -> None:
    raw = (
        b'{"os":"linux","architecture":"amd64","config":{"Env":null,"Cmd":["sh"]},'
        b'"rootfs":{"type":"layers","diff_ids":null}}'
    )
    config = parse_config(raw)
    assert config.rootfs.diff_ids == []
    assert config.config.Cmd == ["sh"]
    assert config.config.Env is None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{}", "rootfs"),
        (b"[]", "must be an object"),
        (b'{"rootfs":{"type":"blocks"}}', "'layers'"),
        (b'{"rootfs":{"diff_ids":[' + b",".join([b'"x"'] * 501) + b"]}}", "501 layers; 500 is the most"),
        (b" " * (5 << 20), "is the most"),
        (b"[" * 100_000, "JSON"),
    ],
)
def test_bad_configurations(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_config(raw)


def test_config_is_written_with_what_oci_requires() -> None:
    written = json.loads(encode(ImageConfig(rootfs=RootFS(), config=ContainerDefaults(Cmd=["sh"]))))
    assert written == {
        "architecture": "",
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Cmd": ["sh"]},
    }


def test_config_round_trip_keeps_dockers_fields() -> None:
    raw = (
        b'{"rootfs":{"type":"layers","diff_ids":[]},"architecture":"arm64","os":"linux","variant":"v8",'
        b'"os.version":"1","config":{"Healthcheck":{"Test":["NONE"]},"ArgsEscaped":true,"OnBuild":["RUN x"],'
        b'"StopSignal":"SIGINT","Shell":["/bin/bash"]},"history":[{"created_by":"x","empty_layer":true}]}'
    )
    config = parse_config(raw)
    assert parse_config(encode(config)) == config
    assert config.config.Healthcheck is not None
    assert config.config.Healthcheck.Test == ["NONE"]
    assert (config.platform.variant, config.platform.os_version) == ("v8", "1")
    assert config.history[0].empty_layer


def test_docker_archive_manifest() -> None:
    (entry,) = parse_docker_archive_manifest(
        b'[{"Config":"a.json","RepoTags":null,"Layers":["x/layer.tar"]}]'
    )
    assert (entry.Config, entry.RepoTags, entry.Layers) == ("a.json", [], ["x/layer.tar"])
    with pytest.raises(InvalidArgument, match=r"manifest\.json"):
        parse_docker_archive_manifest(b"{}")


def test_layout_of_another_version() -> None:
    assert parse_layout_marker(b'{"imageLayoutVersion":"1.0.0"}').imageLayoutVersion == "1.0.0"
    with pytest.raises(InvalidArgument, match=r"'2\.0\.0' is not supported"):
        parse_layout_marker(b'{"imageLayoutVersion":"2.0.0"}')


def test_descriptor_leaves_defaults_out() -> None:
    assert json.loads(encode(Descriptor(mediaType="a", digest="b", size=0))) == {
        "mediaType": "a",
        "digest": "b",
        "size": 0,
    }
