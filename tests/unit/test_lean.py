"""`sampan.lean`: records behave like frozen dataclasses, undo steps run in reverse."""

from __future__ import annotations

import pytest

from sampan.lean import Undo, record, replace


@record
class Point:
    x: int
    y: int = 2


def test_record_equality_and_replace() -> None:
    assert Point(x=1) == Point(x=1, y=2)
    assert replace(Point(x=1), y=5) == Point(x=1, y=5)
    assert hash(Point(x=1)) == hash(Point(x=1))


def test_record_refuses_unknown_and_missing_fields() -> None:
    with pytest.raises(TypeError, match="missing \\['x'\\]"):
        Point(y=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unknown \\['z'\\]"):
        Point(x=1, z=1)  # type: ignore[call-arg]


def test_record_is_frozen() -> None:
    with pytest.raises(AttributeError, match="frozen"):
        Point(x=1).x = 2  # type: ignore[misc]


def test_undo_runs_in_reverse_and_keeps_the_first_error() -> None:
    steps: list[str] = []

    def fail() -> None:
        raise OSError("stuck")

    with pytest.raises(ValueError, match="first") as caught, Undo() as undo:
        undo.add(steps.append, "a")
        undo.add(fail)
        undo.add(steps.append, "b")
        raise ValueError("first")
    assert steps == ["b", "a"]
    assert caught.value.__notes__ == ["while undoing: stuck"]


def test_commit_keeps_everything() -> None:
    steps: list[str] = []
    with Undo() as undo:
        undo.add(steps.append, "a")
        undo.commit()
    assert steps == []
