"""Caches that travel: options, documents out and in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.build.cache_format import (
    CACHE_CONFIG,
    UNCOMPRESSED,
    Used,
    find_cache,
    read_inline,
    read_records,
    write_cache,
    write_inline,
)
from sampan.build.cache_options import CacheFromOption, CacheToOption, parse_cache_from, parse_cache_to
from sampan.errors import InvalidArgument, SampanError
from sampan.ids import Digest
from sampan.spec.image import OCI_LAYER_GZIP, Descriptor
from sampan.store.built import BuiltLayer
from sampan.store.digests import chain_ids


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("busybox:1", CacheFromOption(kind="registry", place="busybox:1", plain=True)),
        ("type=registry,ref=a/b", CacheFromOption(kind="registry", place="a/b")),
        ('type=local,"src=/a,b",tag=t', CacheFromOption(kind="local", place="/a,b", tag="t")),
    ],
    ids=str,
)
def test_from(text: str, want: CacheFromOption) -> None:
    assert parse_cache_from(text) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("inline", CacheToOption(kind="inline")),
        ("type=inline", CacheToOption(kind="inline")),
        ("a/b", CacheToOption(kind="registry", place="a/b")),
        ("type=registry,ref=a,mode=max", CacheToOption(kind="registry", place="a", whole=True)),
        ("type=local,dest=d,compression=zstd", CacheToOption(kind="local", place="d")),
        ("type=local,dest=d,image-manifest=false", CacheToOption(kind="local", place="d", as_index=True)),
        (
            "type=registry,ref=a,oci-mediatypes=false,ignore-error=true",
            CacheToOption(kind="registry", place="a", as_index=True, docker_types=True, may_fail=True),
        ),
    ],
    ids=str,
)
def test_to(text: str, want: CacheToOption) -> None:
    assert parse_cache_to(text) == want


@pytest.mark.parametrize("text", ["", "type=", "type=s3,bucket=b", "type=local,x", "ref=a", "type=registry"])
def test_malformed(text: str) -> None:
    for parse in (parse_cache_from, parse_cache_to):
        with pytest.raises(SampanError):
            parse(text)


def _digest(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


@st.composite
def builds(draw: st.DrawFn) -> list[Used]:
    """Steps of a stage: some made a layer, some none."""
    steps: list[Used] = []
    diff_ids: list[Digest] = []
    for number, has_layer in enumerate(draw(st.lists(st.booleans(), max_size=8))):
        below = chain_ids(diff_ids)[-1] if diff_ids else None
        layer = None
        if has_layer:
            layer = BuiltLayer(_digest(number + 1), _digest(number + 100), number, OCI_LAYER_GZIP)
            diff_ids.append(layer.diff_id)
        top = chain_ids(diff_ids)[-1] if diff_ids else None
        steps.append(Used(f"{number:064x}", below, top, layer, draw(st.integers(1, 2**61))))
    return steps


@given(builds(), st.booleans())
def test_what_is_written_is_read(steps: list[Used], as_index: bool) -> None:
    packed = {
        step.chain: Descriptor(mediaType=OCI_LAYER_GZIP, digest=step.layer.blob, size=step.layer.blob_bytes)
        for step in steps
        if step.layer is not None and step.chain is not None
    }
    documents = write_cache(steps, packed, as_index=as_index, docker_types=False)
    found = find_cache(documents.top)
    assert found is not None
    offers = read_records(documents.config, found.layers)
    assert {key: (one.layer, one.created_ns) for key, one in offers.items()} == {
        step.key: (step.layer, step.created_ns) for step in steps
    }


@given(builds())
def test_inline(steps: list[Used]) -> None:
    layers = [step.layer for step in steps if step.layer is not None]
    text = write_inline(steps, chain_ids([layer.diff_id for layer in layers]))
    offers = read_inline(text, layers)
    assert {key: one.layer for key, one in offers.items()} == {step.key: step.layer for step in steps}


def test_buildkits_own_is_read() -> None:
    """Its records are of other keys; nothing of it is of use, and nothing breaks."""
    config = {
        "layers": [{"blob": _digest(1), "parent": -1}, {"blob": _digest(2)}],
        "records": [
            {"digest": _digest(9)},
            {
                "digest": _digest(8),
                "layers": [{"layer": 1, "createdAt": "2024-01-01T00:00:00.5+01:00"}],
                "inputs": [[{"selector": "x", "link": 0}]],
            },
            {"digest": _digest(7), "layers": [{"layer": 5, "createdAt": "2024-01-01T00:00:00Z"}]},
        ],
    }
    layers = [
        Descriptor(
            mediaType=OCI_LAYER_GZIP, digest=_digest(n), size=5, annotations={UNCOMPRESSED: _digest(n + 40)}
        )
        for n in (1, 2)
    ]
    offers = read_records(json.dumps(config).encode(), layers)
    assert [one.layer.diff_id for one in offers.values() if one.layer] == [_digest(42)]


@pytest.mark.parametrize(
    "layer",
    [
        {
            "mediaType": "text/plain",
            "digest": _digest(1),
            "size": 1,
            "annotations": {UNCOMPRESSED: _digest(2)},
        },
        {
            "mediaType": OCI_LAYER_GZIP,
            "digest": "sha256:../x",
            "size": 1,
            "annotations": {UNCOMPRESSED: _digest(2)},
        },
        {
            "mediaType": OCI_LAYER_GZIP,
            "digest": _digest(1),
            "size": -1,
            "annotations": {UNCOMPRESSED: _digest(2)},
        },
        {"mediaType": OCI_LAYER_GZIP, "digest": _digest(1), "size": 1},
    ],
    ids=["kind", "digest", "size", "no diff id"],
)
def test_layers_that_are_none(layer: dict[str, object]) -> None:
    top = {
        "schemaVersion": 2,
        "config": {"mediaType": CACHE_CONFIG, "digest": _digest(3), "size": 2},
        "layers": [layer],
    }
    found = find_cache(json.dumps(top).encode())
    assert found is not None
    config = {
        "layers": [{"blob": layer["digest"]}],
        "records": [{"digest": _digest(8), "layers": [{"layer": 0, "createdAt": "2024-01-01T00:00:00Z"}]}],
    }
    assert read_records(json.dumps(config).encode(), found.layers) == {}


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"layers": 5}'])
def test_documents_that_are_none(raw: bytes) -> None:
    with pytest.raises(InvalidArgument):
        read_records(raw, [])
