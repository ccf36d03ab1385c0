"""Makes an image of a container: its upper directory becomes one more layer above its image.

The layer is packed, hashed, written and unpacked in one go: the unpacker gets the very pieces that go into
the blob, so that what is mounted and what is saved can never differ, and nothing is read twice.

```
 upper directory ─▶ Packer ─▶ _Tee ─┬─▶ blob in tmp/, sha256
                                    └─▶ queue ─▶ thread: unpack ─▶ tmp/…/diff      then both are recorded
```

Killed at any point, everything lies in `tmp/`, which the next start empties; on an error it is removed here.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from sampan.errors import SampanError
from sampan.ids import Digest
from sampan.kernel.files import write_all
from sampan.spec.image import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Manifest,
    encode,
    parse_manifest_or_index,
)
from sampan.store.archive.packing import Packer
from sampan.store.archive.unpack import Unpacked, unpack
from sampan.store.archive.writer import TarWriter, write_pieces
from sampan.store.blobs import Blobs, StagedBlob
from sampan.store.digests import chain_ids
from sampan.store.intake import Intake, StagedImage
from sampan.store.layers import Layers, LayerSource
from sampan.store.model import Image
from sampan.store.pins import Pins
from sampan.store.places import Places
from sampan.store.references import Reference
from sampan.store.staging import Staging

_AHEAD: Final = 8  # pieces that wait for the unpacker

# Makes the configuration out of the diff ids: the image's layers, and the new one if there is one.
Describe = Callable[[list[Digest]], ImageConfig]


@dataclass(frozen=True, slots=True)
class _Captured:
    """A layer that lies in `tmp/`, packed and unpacked; entries: 0 means that nothing was changed."""

    blob: StagedBlob
    folder: str
    unpacked: Unpacked
    entries: int


class Commits:
    """The door for images of containers; thread-safe."""

    def __init__(self, places: Places, blobs: Blobs, layers: Layers, pins: Pins, intake: Intake) -> None:
        self._places = places
        self._blobs = blobs
        self._layers = layers
        self._pins = pins
        self._intake = intake

    def make(
        self,
        parent: Image,
        upper: str,
        *,
        describe: Describe,
        reference: Reference | None,
        packed: Callable[[], None],
    ) -> Digest:
        """Make an image of parent's layers and what an upper directory changes, and return its id.

        packed is called as soon as the upper directory was read, whether that worked or not.

        Raises:
            OSError: the disk is full, or the directory cannot be read; nothing is left behind.
        """
        with Staging(self._places) as staging, self._pins.held(chain_ids(parent.layers)):
            try:
                captured = capture(upper, staging.new_path())
            finally:
                packed()
            below = self._manifest(parent).layers
            if not captured.entries:
                return self._take(staging, parent, below, None, describe, reference)
            chain = chain_ids([*parent.layers, captured.blob.digest])
            source = LayerSource(
                chain_id=chain[-1],
                diff_id=captured.blob.digest,
                parent=chain[-2] if len(chain) > 1 else None,
                blob=captured.blob.digest,
            )
            with self._pins.held(chain[-1:]):
                self._layers.adopt(source, captured.folder, captured.unpacked)
                return self._take(staging, parent, below, captured.blob, describe, reference)

    def flatten(self, image: Image, root: str, *, describe: Describe, reference: Reference | None) -> Digest:
        """Make an image of one layer: the whole tree of an image, which is mounted at root; return its id.

        Raises:
            OSError: the disk is full; nothing is left behind.
        """
        with Staging(self._places) as staging:
            captured = capture(root, staging.new_path())
            digest = captured.blob.digest
            chain = chain_ids([digest])
            source = LayerSource(chain_id=chain[0], diff_id=digest, parent=None, blob=digest)
            with self._pins.held(chain):
                self._layers.adopt(source, captured.folder, captured.unpacked)
                return self._take(staging, image, [], captured.blob, describe, reference)

    def _manifest(self, image: Image) -> Manifest:
        found = parse_manifest_or_index(self._blobs.read(Digest(image.manifest.digest)), media_type="")
        if not isinstance(found, Manifest):
            raise SampanError(f"blob {image.manifest.digest} is no image manifest")
        return found

    def _take(
        self,
        staging: Staging,
        parent: Image,
        below: Sequence[Descriptor],
        new: StagedBlob | None,
        describe: Describe,
        reference: Reference | None,
    ) -> Digest:
        blobs = [
            StagedBlob(self._places.blob(Digest(layer.digest)), Digest(layer.digest), layer.size)
            for layer in below
        ]
        layers, diff_ids = list(below), list(parent.layers) if below else []
        if new is not None:
            blobs.append(new)
            layers.append(Descriptor(mediaType=OCI_LAYER, digest=new.digest, size=new.size_bytes))
        config = encode(describe([*diff_ids, *([new.digest] if new is not None else [])]))
        staged = staging.add([config])
        manifest = Manifest(
            schemaVersion=2,
            mediaType=OCI_MANIFEST,
            config=Descriptor(mediaType=OCI_CONFIG, digest=staged.digest, size=len(config)),
            layers=layers,
        )
        image = StagedImage(
            config=staged,
            config_document=config,
            manifest=staging.add([encode(manifest)]),
            manifest_type=OCI_MANIFEST,
            layers=tuple(blobs),
            references=(reference,) if reference is not None else (),
            parent=parent.id,
        )
        self._intake.take([image])
        return staged.digest


def capture(upper: str, folder: str) -> _Captured:
    """Pack an upper directory to `<folder>.tar` and unpack it to `<folder>/diff` at the same time."""
    os.mkdir(folder, 0o700)
    os.mkdir(f"{folder}/diff", 0o755)
    os.chmod(f"{folder}/diff", 0o755)  # noqa: S103 -- a container's root; its folder is 0700
    with _opened(upper) as upper_fd, _opened(f"{folder}/diff") as target_fd, _Tee(folder, target_fd) as tee:
        writer = TarWriter(tee)
        packer = Packer(writer, layer=True)
        packer.add(upper_fd, shown=b"")
        writer.finish()
        unpacked = tee.finish()
        return _Captured(tee.blob, folder, unpacked, packer.entries)


class _opened:
    """A directory's descriptor for a block."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)


class _Tee:
    """A sink that writes, hashes, and hands each piece to an unpacking thread. Use it in a `with`."""

    def __init__(self, folder: str, target_fd: int) -> None:
        self._path = f"{folder}.tar"
        self._spool = folder
        self._target_fd = target_fd
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._hash = hashlib.sha256()
        self._size = 0
        self._pieces: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self._result: Unpacked | None = None
        self._thread = threading.Thread(target=self._unpack, name="commit-unpack", daemon=True)

    def __enter__(self) -> _Tee:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            if kind is not None:
                self._error = self._error or error
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        os.close(self._file)

    @property
    def blob(self) -> StagedBlob:
        """The packed layer; valid after `finish`."""
        return StagedBlob(self._path, Digest(f"sha256:{self._hash.hexdigest()}"), self._size)

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take a piece."""
        piece = bytes(data)
        with self._changed:
            while len(self._pieces) >= _AHEAD and self._error is None:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            self._pieces.append(piece)
            self._changed.notify_all()
        self._hash.update(piece)
        write_all(self._file, piece)
        self._size += len(piece)

    def copy(self, fd: int, size: int, /) -> None:
        """Take size bytes of a file."""
        write_pieces(self, fd, size)

    def finish(self) -> Unpacked:
        """Wait until everything is unpacked; raises what the unpacker raised."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._result is not None  # the thread has ended without an error
        return self._result

    def _unpack(self) -> None:
        try:
            self._result = unpack(self._next_piece, self._target_fd, spool_directory=self._spool)
            while self._next_piece():
                pass
        except BaseException as exc:  # the packing thread raises it
            with self._changed:
                self._error = self._error or exc
                self._changed.notify_all()

    def _next_piece(self) -> bytes:
        with self._changed:
            while not self._pieces and not self._ended and self._error is None:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            if not self._pieces:
                return b""
            self._changed.notify_all()
            return self._pieces.popleft()
