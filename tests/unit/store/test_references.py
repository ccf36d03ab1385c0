from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import InvalidArgument
from sampan.ids import Digest
from sampan.store.references import Reference, make_tagged, parse_reference, parse_tagged

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
        ("user/app", "docker.io/user/app", "user/app"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app:2", "localhost:5000/app:2", "localhost:5000/app:2"),
        ("registry.example/a/b:c", "registry.example/a/b:c", "registry.example/a/b:c"),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
        ("UPPER/app", "UPPER/app", "UPPER/app"),
        ("a__b--c.d", "docker.io/library/a__b--c.d", "a__b--c.d"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"docker.io/library/busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
    ],
)
def test_full_and_familiar_forms(text: str, full: str, familiar: str) -> None:
    reference = parse_reference(text)
    assert str(reference) == full
    assert reference.familiar == familiar


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        (":latest", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("a/", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("a:tag:tag", "invalid reference format"),
        ("a:" + "t" * 129, "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("aä", "invalid reference format"),
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("docker.io/App:1", "invalid reference format: repository name (library/App) must be lowercase"),
        ("x" * 256, "repository name must not be more than 255 characters"),
        ("x" * 5000, "invalid reference format"),
        (HEX, f"invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"),
        ("a@sha256:short", "invalid reference format"),
        ("a@sha256:" + "g" * 64, "invalid reference format"),
        ("a@sha256:" + "0" * 32, "invalid checksum digest format"),
        ("a@md5:" + "0" * 32, "unsupported digest algorithm: md5"),
        ("a@sha256:../../../etc/passwd", "invalid reference format"),
    ],
)
def test_bad_references_have_dockers_texts(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{re.escape(message)}$"):
        parse_reference(text)


def test_what_a_reference_is_looked_up_by() -> None:
    assert str(parse_reference("a").key()) == "docker.io/library/a:latest"
    assert str(parse_reference(f"a:1@{DIGEST}").key()) == f"docker.io/library/a@{DIGEST}"


def test_tags_for_images() -> None:
    assert parse_tagged("a").familiar == "a:latest"
    assert make_tagged("a", "").familiar == "a:latest"
    assert make_tagged("a:1", "2").familiar == "a:2"
    with pytest.raises(InvalidArgument, match="invalid tag format"):
        make_tagged("a", "no/slash")
    for text in (f"a@{DIGEST}", f"a:1@{DIGEST}"):
        with pytest.raises(InvalidArgument, match="digest reference"):
            parse_tagged(text)
        with pytest.raises(InvalidArgument, match="digest reference"):
            make_tagged(text, "1")


names = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+){0,2}", fullmatch=True)
domains = st.one_of(
    st.just("docker.io"),
    st.just("localhost"),
    st.from_regex(r"[a-z0-9]{1,8}\.[a-z]{2,5}(:[0-9]{1,5})?", fullmatch=True),
).filter(lambda domain: domain != "index.docker.io")


@given(
    domain=domains,
    path=st.lists(names, min_size=1, max_size=3).map("/".join),
    tag=st.one_of(st.just(""), st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)),
    digest=st.one_of(st.none(), st.from_regex("[0-9a-f]{64}", fullmatch=True)),
)
def test_both_forms_are_read_back(domain: str, path: str, tag: str, digest: str | None) -> None:
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    reference = Reference(domain, path, tag, Digest(f"sha256:{digest}") if digest else None)
    assert parse_reference(str(reference)) == reference
    if re.fullmatch("[0-9a-f]{64}", reference.familiar) is None and not _looks_like_domain(reference):
        assert parse_reference(reference.familiar) == reference


def _looks_like_domain(reference: Reference) -> bool:
    """A first part with a dot, or localhost, is a domain in the short form: Docker has the same gap."""
    first = reference.familiar_name.split("/")[0]
    return (
        reference.domain == "docker.io"
        and "/" in reference.familiar_name
        and ("." in first or first == "localhost")
    )


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidArgument:
        return
    assert parse_reference(str(reference)) == reference
