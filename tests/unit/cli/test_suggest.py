from __future__ import annotations

import pytest

from sampan.cli.suggest import nearest


@pytest.mark.parametrize(
    ("word", "want"),
    [
        ("rnu", "run"),
        ("sotp", "stop"),
        ("inspcet", "inspect"),
        ("imagse", "images"),
        ("xyz", ""),
        ("r", "rm"),
        ("", ""),
    ],
)
def test_the_nearest_word(word: str, want: str) -> None:
    assert nearest(word, ["run", "rm", "stop", "start", "inspect", "images"]) == want
