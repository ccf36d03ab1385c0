"""Docker's rules for rmi, case by case."""

from __future__ import annotations

import re

import pytest

from sampan.errors import Conflict
from sampan.ids import ContainerId, Digest
from sampan.store.model import ImageUser
from sampan.store.references import parse_reference
from sampan.store.removal import Removal, plan_removal

IMAGE = Digest("sha256:" + "ab" * 32)
CONTAINER = "c" * 64
STOPPED = [ImageUser(ContainerId(CONTAINER), running=False)]
RUNNING = [ImageUser(ContainerId(CONTAINER), running=True)]
DIGEST = "@sha256:" + "1" * 64


def plan(text: str, names: list[str], users: list[ImageUser], *, force: bool = False) -> Removal:
    references = [parse_reference(name) for name in names]
    named = None if text == "id" else parse_reference(text)
    return plan_removal(text, image_id=IMAGE, named=named, names=references, users=users, force=force)


@pytest.mark.parametrize(
    ("text", "names", "users", "force", "untagged", "deleted"),
    [
        pytest.param("a:1", ["a:1"], [], False, ["a:1"], True, id="last tag"),
        pytest.param("a:1", ["a:1", "b:1"], [], False, ["a:1"], False, id="one of two tags"),
        pytest.param("a:1", ["a:1", "b:1"], RUNNING, False, ["a:1"], False, id="one of two tags, in use"),
        pytest.param(
            "a:1", ["a:1", "a" + DIGEST], [], False, ["a:1", "a" + DIGEST], True, id="with its digest"
        ),
        pytest.param(
            "a:1", ["a:1", "a:2", "a" + DIGEST], [], False, ["a:1"], False, id="digest kept by a tag"
        ),
        pytest.param("a:1", ["a:1", "b" + DIGEST], [], False, ["a:1"], False, id="digest of another name"),
        pytest.param(
            "a" + DIGEST, ["a:1", "a" + DIGEST], [], False, ["a" + DIGEST], False, id="the digest alone"
        ),
        pytest.param("a:1", ["a:1"], STOPPED, True, ["a:1"], True, id="forced, stopped container"),
        pytest.param(
            "a:1", ["a:1"], RUNNING, True, ["a:1"], False, id="forced, running container keeps the image"
        ),
        pytest.param("id", ["a:1"], [], False, ["a:1"], True, id="by id, one tag"),
        pytest.param("id", [], [], False, [], True, id="by id, no tag"),
        pytest.param("id", ["a:1", "b:1"], [], True, ["a:1", "b:1"], True, id="by id, forced, two tags"),
        pytest.param("id", ["a:1"], STOPPED, True, ["a:1"], True, id="by id, forced, stopped container"),
    ],
)
def test_allowed(
    text: str, names: list[str], users: list[ImageUser], force: bool, untagged: list[str], deleted: bool
) -> None:
    removal = plan(text, names, users, force=force)
    assert [name.familiar for name in removal.untag] == untagged
    assert removal.delete is deleted


@pytest.mark.parametrize(
    ("text", "names", "users", "force", "message"),
    [
        pytest.param(
            "a:1",
            ["a:1"],
            STOPPED,
            False,
            'conflict: unable to remove repository reference "a:1" (must force) - container cccccccccccc '
            "is using its referenced image abababababab",
            id="last tag, in use",
        ),
        pytest.param(
            "id",
            ["a:1", "b:1"],
            [],
            False,
            "conflict: unable to delete abababababab (must be forced) - image is referenced in multiple "
            "repositories",
            id="by id, two repositories",
        ),
        pytest.param(
            "id",
            ["a:1"],
            STOPPED,
            False,
            "conflict: unable to delete abababababab (must be forced) - image is being used by stopped "
            "container cccccccccccc",
            id="by id, stopped container",
        ),
        pytest.param(
            "id",
            ["a:1"],
            RUNNING,
            True,
            "conflict: unable to delete abababababab (cannot be forced) - image is being used by running "
            "container cccccccccccc",
            id="by id, running container, even forced",
        ),
    ],
)
def test_refused(text: str, names: list[str], users: list[ImageUser], force: bool, message: str) -> None:
    with pytest.raises(Conflict, match=f"^{re.escape(message)}$"):
        plan(text, names, users, force=force)
