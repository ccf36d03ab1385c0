"""Tar archives in memory for tests of cp, export and commit."""

from __future__ import annotations

import io
import os
import tarfile
from typing import Any

from tests.system.engine_kit import Box


class MemorySink(io.BytesIO):
    """Takes an archive as the engine writes it."""

    def copy(self, fd: int, size: int) -> None:
        offset = 0
        while offset < size:
            piece = os.pread(fd, min(1 << 20, size - offset), offset)
            assert piece, "the file has shrunk"
            self.write(piece)
            offset += len(piece)


def make_tar(members: dict[str, Any]) -> bytes:
    """Return an archive: text is a file, None a directory, a TarInfo itself."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b""
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                data = content.encode()
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def put(box: Box, ref: str, path: str, members: dict[str, Any], **options: bool) -> None:
    """Extract an archive of members in a container."""
    box.engine.containers.extract(ref, path, io.BytesIO(make_tar(members)), **options)


def get(box: Box, ref: str, path: str) -> dict[str, bytes | None]:
    """Return what an archive of a path holds: names and contents of files."""
    sink = MemorySink()
    with box.engine.containers.open_archive(ref, path) as archive:
        archive.write(sink)
    return contents(sink.getvalue())


def contents(archive: bytes) -> dict[str, bytes | None]:
    """Return names and, of regular files, contents."""
    found: dict[str, bytes | None] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for member in opened:
            file = opened.extractfile(member) if member.isreg() else None
            found[member.name] = file.read() if file is not None else None
    return found
