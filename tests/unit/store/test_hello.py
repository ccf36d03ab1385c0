from __future__ import annotations

import hashlib
import os
import platform
import struct
import subprocess
from pathlib import Path

import pytest

from sampan.errors import Unsupported
from sampan.store import hello


def test_the_program_runs_here(tmp_path: Path) -> None:
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    path = tmp_path / "hello"
    path.write_bytes(hello.program(architecture))
    path.chmod(0o755)
    done = subprocess.run([path], env={}, capture_output=True, check=True)
    assert done.stdout == hello.TEXT
    assert done.stderr == b""


def test_the_other_architecture_by_its_words() -> None:
    """adr must point at the text, movz must load the numbers: decoded as the architecture's manual says."""
    content = hello.program("arm64")
    code = content[120:]
    words = struct.unpack_from("<8I", code)
    moves = {word & 31: word >> 5 & 0xFFFF for word in words[:4] if word >> 21 == 0xD2800000 >> 21}
    assert moves == {0: 1, 2: len(hello.TEXT), 8: 64}
    distance = (words[1] >> 5 & 0x7FFFF) << 2 | words[1] >> 29 & 3
    assert code[4 + distance :] == hello.TEXT
    assert [word for word in words if word == 0xD4000001] == [0xD4000001] * 2


def test_an_architecture_without_a_program() -> None:
    with pytest.raises(Unsupported, match="no program for riscv64"):
        hello.program("riscv64")


def test_the_archive_is_small_and_always_the_same() -> None:
    contents = []
    for _ in range(2):
        with hello.archive() as archive:
            contents.append(archive.read())
    assert hashlib.sha256(contents[0]).digest() == hashlib.sha256(contents[1]).digest()
    assert len(contents[0]) < 32 << 10
    assert os.path.basename(hello.__file__) == "hello.py"
