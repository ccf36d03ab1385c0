"""What only BuildKit's language has, or means otherwise than classic Docker: the files that come of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import docker
import pytest
from tests.system.build_cases import CASES, Case
from tests.system.build_kit import build, connect, tree_of
from tests.system.sampand import Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]

_CASES = {case.name: case for case in CASES}
DIRECTORY = -1
WANTED: dict[str, dict[str, str | int | tuple[int, int] | None]] = {
    "source that climbs": {"d/a.txt": "aaa\n"},
    "link as a source": {"d/link": "aaa\n", "d/a.txt": None},
    "chown a user": {"n": (1000, 1000), "n/d/one": (1000, 1000), "n/d/deep": (1000, 1000)},
    "heredoc file": {"d/one": "1\n", "d/two": "2\n"},
    "heredoc to a name": {"d/f": "hello\n"},
    "heredoc expands": {"f": "1 $x '1'\n"},
    "heredoc quoted": {"f": "$x\n"},
    "heredoc run": {"f": "a\nb\n"},
    "heredoc script": {"f": "/dev/pipes/EOF\n"},
    "heredoc for a program": {"f": "1\n2\n"},
    "chmod octal": {"x": 0o711, "x/y": 0o711, "x/y/a.txt": 0o711, "x/y/deep/three": 0o711},
    "chmod symbolic": {"d/two": 0o644, "d/deep": 0o755},
    "parents": {"d/sub/deep/three": "3\n", "d/a.txt": "aaa\n", "d/sub/one": None},
    "parents with a pivot": {"d/deep/three": "3\n", "d/sub": None},
    "parents with stars": {"d/sub/deep/three": "3\n"},
    "exclude": {"d/one": None, "d/two": None, "d/deep": None, "d/empty": 0o755},
    "wildcard without a match": {"d/a.txt": "aaa\n"},
    "not unpacked": {"d/x.tar": 0o644, "d/in": None},
    "bind mount": {"f": "aaa\n", "c": None},
    "bind of a file": {"f": "1\n", "x": None},
    "bind of a stage": {"f": "1\n", "m": None},
    "writes to a bind are gone": {"c": None},
    "cache mount leaves nothing": {"var/c": None},
    "tmpfs mount": {"f": "1\n", "t": None},
    "replace patterns": {},
}


@pytest.fixture(scope="module")
def client(sampand: Sampand) -> Iterator[docker.DockerClient]:
    made = connect(sampand.host)
    yield made
    made.close()


def test_every_case_is_here() -> None:
    assert {case.name for case in CASES if case.ours} == set(WANTED)


@pytest.mark.parametrize("name", sorted(WANTED))
def test_files(client: docker.DockerClient, name: str) -> None:
    image, _ = build(client, _CASES[name])
    tree = tree_of(client, image)
    for path, want in WANTED[name].items():
        if want is None:
            assert path not in tree
            continue
        _kind, mode, uid, gid, _link, content = tree[path]
        if isinstance(want, str):
            assert content == hashlib.sha256(want.encode()).hexdigest(), path
        else:
            assert want in (mode, (uid, gid)), path


def test_patterns_in_variables(client: docker.DockerClient) -> None:
    image, _ = build(client, _CASES["replace patterns"])
    assert image.attrs["Config"]["Env"][-3:] == ["x=a_b_c", "y=b-c", "z=a"]


def test_cache_mount_outlives_the_build(client: docker.DockerClient) -> None:
    mount = "--mount=type=cache,id=../../outlives,target=/c"
    build(client, Case("first", f"RUN {mount} echo kept > /c/f"))
    image, _ = build(client, Case("second", f"RUN {mount} cp /c/f /got"))
    assert tree_of(client, image)["got"][-1] == hashlib.sha256(b"kept\n").hexdigest()
