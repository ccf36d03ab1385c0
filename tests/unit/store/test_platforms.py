from __future__ import annotations

import pytest

from sampan.errors import InvalidArgument, NotFound
from sampan.spec.image import OCI_MANIFEST, Descriptor, Platform
from sampan.store.platforms import choose_manifest, host_platform, matches, parse_platform


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("arm64", "linux/arm64/v8"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("Linux/ARM64/v8", "linux/arm64/v8"),
        ("linux", str(host_platform())),
    ],
)
def test_parse_platform(text: str, want: str) -> None:
    assert str(parse_platform(text)) == want


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "linux/amd 64"])
def test_no_platforms(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is no platform"):
        parse_platform(text)


def test_one_word_is_a_system_or_an_architecture() -> None:
    assert parse_platform("windows").os == "windows"
    with pytest.raises(InvalidArgument, match='"nonsense": unknown operating system or architecture'):
        parse_platform("nonsense")


def test_an_absent_variant_is_the_usual_one() -> None:
    assert matches(parse_platform("linux/arm64/v8"), Platform(os="linux", architecture="arm64"))
    assert matches(
        Platform(os="linux", architecture="amd64"), Platform(os="linux", architecture="amd64", variant="v1")
    )
    assert not matches(parse_platform("linux/arm/v6"), Platform(os="linux", architecture="arm"))


def index(*platforms: str) -> list[Descriptor]:
    descriptors = []
    for text in platforms:
        os, architecture, variant = (*text.split("/"), "")[:3]
        platform = Platform(os=os, architecture=architecture, variant=variant)
        descriptors.append(Descriptor(mediaType=OCI_MANIFEST, digest=text, size=1, platform=platform))
    return descriptors


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["windows/amd64", "linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm64"], "linux/arm/v5"),
    ],
)
def test_the_best_manifest_is_chosen(wanted: str, offered: list[str], chosen: str) -> None:
    assert choose_manifest(index(*offered), parse_platform(wanted)).digest == chosen


def test_no_manifest_for_the_platform() -> None:
    with pytest.raises(NotFound, match="no matching manifest for linux/amd64 in the manifest list entries"):
        choose_manifest(index("linux/arm64", "windows/amd64"), parse_platform("linux/amd64"))
    with pytest.raises(NotFound, match="no matching manifest"):
        choose_manifest(index("linux/arm/v7"), parse_platform("linux/arm/v6"))
