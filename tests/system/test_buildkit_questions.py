"""What clients ask of a Dockerfile in place of a build: `--check`, outline, targets, by the real buildx."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.system.buildkit_kit import build, needs_buildx, write
from tests.system.sampand import Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]

DOCKERFILE = """\
ARG TAG=latest
# first makes things
FROM busybox:$TAG AS first
# WORD is said
ARG WORD=hello
RUN --mount=type=secret,id=key,required --mount=type=cache,target=/c --mount=type=ssh echo $WORD
FROM first
ARG WORD
CMD echo
"""


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write(tmp_path, DOCKERFILE)


def ask(sampand: Sampand, context: Path, question: str, *options: str) -> str:
    sampand.environment["BUILDX_EXPERIMENTAL"] = "1"  # buildx before 0.15 has `--print` as an experiment
    try:
        done = build(sampand, context, f"--print={question}", *options)
    finally:
        del sampand.environment["BUILDX_EXPERIMENTAL"]
    assert done.code == 0, done.err
    return done.text


@needs_buildx
def test_outline(sampand: Sampand, context: Path) -> None:
    text = ask(sampand, context, "outline", "--build-arg", "WORD=bye", "--target=first")
    assert text.split("\n")[:2] == ["TARGET:      first", "DESCRIPTION: makes things"]
    assert [line.split() for line in text.split("\n\n")[1].splitlines()] == [
        ["BUILD", "ARG", "VALUE", "DESCRIPTION"],
        ["TAG", "latest"],
        ["WORD", "bye", "is", "said"],
    ]
    assert "key" in text
    assert "required" in text.lower()
    document = json.loads(ask(sampand, context, "outline,format=json"))
    assert [one["name"] for one in document["args"]] == ["TAG", "WORD"]
    assert document["secrets"][0]["required"] is True
    assert document["ssh"][0]["name"] == "default"
    assert document["cache"][0]["ID"] == "/c"
    assert document["args"][0]["location"]["ranges"][0]["start"] == {"line": 1}


@needs_buildx
def test_targets(sampand: Sampand, context: Path) -> None:
    rows = [line.split() for line in ask(sampand, context, "targets").splitlines()]
    assert rows == [["TARGET", "DESCRIPTION"], ["first", "makes", "things"], ["(default)"]]


@needs_buildx
def test_lint_and_what_is_none(sampand: Sampand, context: Path) -> None:
    text = ask(sampand, context, "lint")  # what this buildx does not know it shows as text
    assert "1 warning has been found!" in text
    assert "JSONArgsRecommended" in text
    assert "9 | >>> CMD echo" in text
    assert "targets " in ask(sampand, context, "subrequests.describe")
    sampand.environment["BUILDX_EXPERIMENTAL"] = "1"
    done = build(sampand, context, "--print=nonsense")
    del sampand.environment["BUILDX_EXPERIMENTAL"]
    assert "not supported: frontend.nonsense of a Dockerfile" in done.err
