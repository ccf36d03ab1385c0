"""Digests that are remembered of files, and when they count."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.build.known_digests import Facts, KnownDigests

DIGEST = "ab" * 32
FACTS = (5, 1_700_000_000_000_000_000, 1_700_000_000_000_000_001, 12, 0)


@pytest.mark.parametrize(
    ("path", "facts"),
    [
        pytest.param("d/file", FACTS, id="plain"),
        pytest.param("\xe4", FACTS, id="UTF-8"),
        pytest.param("old", (5, -1, -1_000_000_000, 2**64 - 1, 0), id="before 1970, the largest inode"),
    ],
)
def test_found_by_the_same_facts_only(tmp_path: Path, path: str, facts: Facts) -> None:
    KnownDigests(str(tmp_path), "one").add({path: (facts, DIGEST)})
    again = KnownDigests(str(tmp_path), "one")
    assert again.find(path, facts) == DIGEST
    for number in range(len(facts)):
        other = list(facts)
        other[number] += 1
        assert again.find(path, (other[0], other[1], other[2], other[3], other[4])) == ""
    assert KnownDigests(str(tmp_path), "two").find(path, facts) == ""
    again.close()
    assert again.find(path, facts) == ""


def test_a_name_that_is_not_utf_8_is_left_out(tmp_path: Path) -> None:
    KnownDigests(str(tmp_path), "one").replace({"a\udcff": (FACTS, DIGEST), "b": (FACTS, DIGEST)})
    again = KnownDigests(str(tmp_path), "one")
    assert again.find("a\udcff", FACTS) == ""
    assert again.find("b", FACTS) == DIGEST


def test_a_file_of_another_version_is_nothing(tmp_path: Path) -> None:
    KnownDigests(str(tmp_path), "one").add({"a": (FACTS, DIGEST)})
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\x81\xa1a\x96\x01\x02\x03\x04\x05\xa1x")
    assert KnownDigests(str(tmp_path), "one").find("a", FACTS) == ""
