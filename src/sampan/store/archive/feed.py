"""A thread that reads, inflates and hashes an archive while the caller unpacks what it has so far."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from types import TracebackType

from sampan.ids import Digest
from sampan.store.archive.compression import CHUNK_BYTES, PlainStream
from sampan.store.archive.limits import DEFAULT_LIMITS, Limits
from sampan.store.archive.readable import Readable

_AHEAD = 4  # chunks that wait: 4 MiB a layer


class Feed:
    """Inflated chunks of a stream in order, and at the end the digests of both sides. Use it in a `with`."""

    def __init__(self, stream: Readable, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._input = _Hashed(stream)
        self._limits = limits
        self._plain_hash = hashlib.sha256()
        self._chunks: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="archive-feed", daemon=True)

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._stopped = True
            self._chunks.clear()
            self._changed.notify_all()
        self._thread.join()

    def read_chunk(self) -> bytes:
        """Return the next chunk, b"" at the end; raises what reading raised."""
        with self._changed:
            while not self._chunks and not self._ended:
                self._changed.wait()
            if self._chunks:
                chunk = self._chunks.popleft()
                self._changed.notify_all()
                return chunk
        if self._error is not None:
            raise self._error
        return b""

    def drain(self) -> None:
        """Read to the end: padding behind the archive is part of what the digests cover."""
        while self.read_chunk():
            pass

    @property
    def plain_digest(self) -> Digest:
        """The digest of the inflated stream (a layer's diff id); valid after the end."""
        return Digest(f"sha256:{self._plain_hash.hexdigest()}")

    @property
    def input_digest(self) -> Digest:
        """The digest of the stream as it came (a blob's digest); valid after the end."""
        return self.plain_digest if self._input.is_plain else self._input.digest

    @property
    def input_bytes(self) -> int:
        """How much of the stream was read so far."""
        return self._input.count

    def _run(self) -> None:
        try:
            self._read_all()
        except BaseException as exc:  # the caller's thread raises it
            self._error = exc
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read_all(self) -> None:
        plain = PlainStream(self._input, limits=self._limits)
        self._input.is_plain = plain.compression == "none"
        while chunk := plain.read(CHUNK_BYTES):
            self._plain_hash.update(chunk)
            if not self._put(chunk):
                return
        while self._input.read(CHUNK_BYTES):
            pass  # bytes behind the compressed data still belong to the blob

    def _put(self, chunk: bytes) -> bool:
        with self._changed:
            while len(self._chunks) >= _AHEAD and not self._stopped:
                self._changed.wait()
            if self._stopped:
                return False
            self._chunks.append(chunk)
            self._changed.notify_all()
            return True


class _Hashed:
    """Hashes what is read, unless it is plain and hashed behind anyway."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.is_plain = False
        self.count = 0

    @property
    def digest(self) -> Digest:
        return Digest(f"sha256:{self._hash.hexdigest()}")

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        if not self.is_plain:
            self._hash.update(data)
        return data
