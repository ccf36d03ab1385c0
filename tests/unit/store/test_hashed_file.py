"""What is hashed is what is written, whoever writes it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sampan.store.hashed_file import HashedFile

MIB = 1 << 20


def test_content_in_order(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(9 * MIB + 5))
    content = source.read_bytes()
    gathered = bytearray(b"head")
    with HashedFile(str(tmp_path / "made")) as sink, source.open("rb") as file:
        sink.write(gathered)
        sink.copy(file.fileno(), len(content))
        sink.write(gathered)
        gathered[:] = b"what is gathered next"
        sink.copy(file.fileno(), len(content) + 3 * MIB)  # it has shrunk
        sink.write(bytes(3 * MIB - 1))
        blob = sink.finish()
    wanted = b"head" + content + b"head" + content + bytes(6 * MIB - 1)
    assert (tmp_path / "made").read_bytes() == wanted
    assert blob.digest == f"sha256:{hashlib.sha256(wanted).hexdigest()}"
    assert blob.size_bytes == len(wanted)


@pytest.mark.parametrize("size", [MIB, 20 * MIB])
def test_an_error_of_the_other_thread_is_raised(tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    made = tmp_path / "made"
    with (
        source.open("rb") as file,
        pytest.raises(OSError, match="Bad file descriptor"),
        HashedFile(str(made)) as sink,
    ):
        reader = os.open("/dev/null", os.O_RDONLY)
        os.dup2(reader, sink._fd)
        os.close(reader)
        sink.copy(file.fileno(), size)
        sink.finish()
