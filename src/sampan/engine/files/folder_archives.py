"""A directory of ours as an archive, out and in: volumes, and cache mounts of builds."""

from __future__ import annotations

import os
from typing import Final

from sampan.store.archive.compression import CHUNK_BYTES, PlainStream
from sampan.store.archive.packing import Packer
from sampan.store.archive.placing import Rules, place
from sampan.store.archive.readable import Readable
from sampan.store.archive.writer import Sink, TarWriter

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def pack_folder(path: str, sink: Sink) -> None:
    """Pack a directory: names begin with `./`, it comes first itself. Mounts inside are left out."""
    writer = TarWriter(sink)
    fd = os.open(path, _DIRECTORY)
    try:
        Packer(writer, enters=lambda _found: False).add(fd, shown=b".")
    finally:
        os.close(fd)
    writer.finish()


def unpack_folder(stream: Readable, path: str, *, spool_directory: str) -> None:
    """Unpack an archive, plain or compressed, over what a directory has.

    Raises:
        InvalidArgument: it is damaged, or leaves the directory.
    """
    plain = PlainStream(stream)
    fd = os.open(path, _DIRECTORY)
    try:
        rules = Rules(keep_kinds=False, takes_top=True)
        place(lambda: plain.read(CHUNK_BYTES), fd, b"", rules, spool_directory=spool_directory)
        while plain.read(CHUNK_BYTES):
            pass  # the client may wait until everything is taken
    finally:
        os.close(fd)
