"""The built-in image `hello`: there when asked for, once; a removed one stays removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.engine_kit import Box

from sampan.errors import NotFound


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.close()


def create(box: Box, image: str) -> str:
    return box.create(Image=image)


@pytest.mark.parametrize("name", ["hello", "hello:latest", "docker.io/library/hello"])
def test_made_when_asked_for(box: Box, name: str) -> None:
    assert box.engine.images.list() == []
    outcome = box.run(Image=name)
    assert outcome.stdout.startswith(b"\nHello from a container.\n")
    assert [image.RepoTags for image in box.engine.images.list()] == [["hello:latest"]]


def test_questions_about_it_make_it_too(box: Box) -> None:
    assert box.engine.images.inspect("hello").RepoTags == ["hello:latest"]
    assert len(box.engine.images.history("hello")) == 1


@pytest.mark.parametrize("name", ["hello:2", "hello-world", "someone/hello", "example.org/hello"])
def test_other_names_are_not_meant(box: Box, name: str) -> None:
    with pytest.raises(NotFound, match="No such image"):
        create(box, name)
    assert box.engine.images.list() == []


def test_removed_one_stays_removed(box: Box) -> None:
    box.engine.images.inspect("hello")
    box.engine.images.remove("hello")
    with pytest.raises(NotFound, match="No such image: hello:latest"):
        create(box, "hello")
    box.reopen()
    with pytest.raises(NotFound, match="No such image: hello:latest"):
        create(box, "hello")
    box.engine.images.bootstrap("hello")
    create(box, "hello")


def test_removed_after_a_bootstrap_stays_removed(box: Box) -> None:
    box.engine.images.bootstrap("hello")
    box.engine.images.remove("hello")
    with pytest.raises(NotFound, match="No such image"):
        box.engine.images.inspect("hello")


def test_removing_what_was_never_made_does_not_make_it(box: Box) -> None:
    with pytest.raises(NotFound, match="No such image: hello:latest"):
        box.engine.images.remove("hello")
    assert box.engine.images.list() == []
