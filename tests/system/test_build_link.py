"""`COPY --link`, a layer by itself, cache mounts that begin with files (`from`), `--no-cache-filter`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]


def build(sampand: Sampand, folder: Path, text: str, *options: str) -> Result:
    (folder / "Dockerfile").write_text(text)
    (folder / "f").write_text("content")
    done = sampand.sampan("build", *options, str(folder))
    assert done.code == 0, done.err
    return done


def output_of(sampand: Sampand, image: str, command: str) -> str:
    done = sampand.docker("run", "--rm", image, "sh", "-c", command)
    assert done.code == 0, done.err
    return done.text


def layers_of(sampand: Sampand, image: str) -> list[str]:
    return list(json.loads(sampand.docker("image", "inspect", image).out)[0]["RootFS"]["Layers"])


def test_a_linked_copy_outlives_its_base(sampand: Sampand, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN echo $BASE > /base\nCOPY --link --chown=user f /usr/d/f\n"
    build(sampand, tmp_path, text.replace("$BASE", "one"), "-t", "linked:1")
    again = build(sampand, tmp_path, text.replace("$BASE", "two"), "-t", "linked:2")
    assert again.text.count("Using cache") == 1
    one, two = layers_of(sampand, "linked:1"), layers_of(sampand, "linked:2")
    assert (one[-1] == two[-1], one[-2] == two[-2]) == (True, False)
    for name, word in (("linked:1", "one"), ("linked:2", "two")):
        # What lies below is not hidden: /usr/bin is the base's.
        shown = output_of(sampand, name, "cat /base /usr/d/f; ls -d /usr/bin; stat -c %u:%g /usr/d/f")
        assert shown == f"{word}\ncontent/usr/bin\n1000:1000"
    saved = sampand.docker("save", "linked:2")
    assert saved.code == 0
    assert sampand.docker("rmi", "linked:1", "linked:2").code == 0
    assert sampand.docker("builder", "prune", "-af").code == 0
    (tmp_path / "saved.tar").write_bytes(saved.out)
    assert sampand.docker("load", "-i", str(tmp_path / "saved.tar")).code == 0
    assert output_of(sampand, "linked:2", "cat /usr/d/f; ls -d /usr/bin") == "content/usr/bin"


def test_a_linked_copy_follows_no_link_of_its_base(sampand: Sampand, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN mkdir /real && ln -s real /name\nCOPY {}f /name/\n"
    build(sampand, tmp_path, text.format(""), "-t", "follows")
    assert output_of(sampand, "follows", "ls /real") == "f"
    build(sampand, tmp_path, text.format("--link "), "-t", "stays")
    assert output_of(sampand, "stays", "ls /real; test ! -h /name; ls /name") == "f"


def test_linked_onto_nothing_and_unpacked(sampand: Sampand, tmp_path: Path) -> None:
    text = (
        "FROM scratch AS files\nCOPY --link f /a/b\nADD --link --chmod=600 f /c\n"
        "FROM busybox\nCOPY --from=files --link / /all/\n"
    )
    build(sampand, tmp_path, text, "-t", "onto")
    assert output_of(sampand, "onto", "cat /all/a/b; stat -c %a /all/c") == "content600"


def test_a_cache_mount_begins_with_files(sampand: Sampand, tmp_path: Path) -> None:
    text = (
        "FROM busybox AS seed\nRUN mkdir /d && echo seed > /d/s && chown 1000 /d/s\n"
        "FROM busybox\n"
        "RUN --mount=type=cache,target=/c,from=seed,source=/d stat -c %u /c/s; cat /c/s; echo $WORD >> /c/s\n"
    )
    first = build(sampand, tmp_path, text.replace("$WORD", "first"))
    assert "1000\nseed\n" in first.text
    second = build(sampand, tmp_path, text.replace("$WORD", "second"))
    assert "seed\nfirst\n" in second.text
    other = build(sampand, tmp_path, text.replace("echo seed", "echo other"))
    assert "other\n" in other.text
    assert "first" not in other.text
    plain = build(sampand, tmp_path, "FROM busybox\nRUN --mount=type=cache,target=/c ls -A /c; echo ls=$?\n")
    assert "\nls=0\n" in plain.text


@pytest.mark.parametrize(
    ("mount", "match"),
    [
        ("source=/d", "source of a cache mount needs from"),
        ("from=busybox,source=/etc/passwd", "a cache mount is a directory"),
        ("from=busybox,source=/none", "not found"),
    ],
)
def test_a_cache_mount_cannot_begin_with(sampand: Sampand, tmp_path: Path, mount: str, match: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM busybox\nRUN --mount=type=cache,target=/c,{mount} true\n")
    done = sampand.sampan("build", str(tmp_path))
    assert done.code != 0
    assert match in done.err


def test_no_cache_for_some_stages(sampand: Sampand, tmp_path: Path) -> None:
    text = "FROM busybox AS one\nRUN echo one\nFROM busybox AS two\nRUN echo two\nCOPY --from=one /etc /e\n"
    build(sampand, tmp_path, text)
    assert build(sampand, tmp_path, text).text.count("Using cache") == 3
    assert build(sampand, tmp_path, text, "--no-cache-filter", "ONE").text.count("Using cache") == 2
    assert build(sampand, tmp_path, text, "--no-cache-filter", "one,two").text.count("Using cache") == 0
