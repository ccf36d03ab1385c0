"""A volume's content as an archive, out and in (beyond Docker: `sampan volume export|import`)."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from sampan.engine.files.folder_archives import pack_folder, unpack_folder
from sampan.engine.volumes.mounting import needs_mount
from sampan.engine.volumes.volumes import Volumes
from sampan.errors import SampanError
from sampan.ids import new_container_id
from sampan.store import volumes as store
from sampan.store.archive.readable import Readable
from sampan.store.archive.writer import Sink
from sampan.store.volumes import Volume


class OpenVolume:
    """A volume, usable and kept from being removed; use it in a `with`."""

    def __init__(self, volumes: Volumes, kept: store.Volumes, volume: Volume) -> None:
        self._volumes = volumes
        self._kept = kept
        self.volume = volume
        self._user = str(new_container_id())
        kept.create(volume.name, driver=volume.driver, user=self._user)
        try:
            self.path = volumes.mounting.acquire(volume, self._user)
        except BaseException:
            kept.release(self._user)
            raise

    def write(self, sink: Sink) -> None:
        """Pack the content: names begin with `./`, the volume's own directory comes first.

        Mounts inside are left out.
        """
        pack_folder(self.path, sink)

    def read(self, stream: Readable, *, spool_directory: str) -> None:
        """Unpack an archive, plain or compressed, over the content; into an empty volume whole or not at all.

        Raises:
            InvalidArgument: it is damaged, or leaves the volume. SampanError: the disk is full.
        """
        alone = not needs_mount(self.volume) and not self.volume.local.quota_bytes
        alone = alone and list(self._kept.users(self.volume.name)) == [self._user]
        try:
            if alone and not os.listdir(self.path):
                with self._kept.staged(self.volume.name) as path:
                    unpack_folder(stream, path, spool_directory=spool_directory)
            else:
                unpack_folder(stream, self.path, spool_directory=spool_directory)
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise SampanError(f"cannot import to volume {self.volume.name}: no space left on device") from exc

    def close(self) -> None:
        """Let the volume go; may be called twice."""
        if self._user:
            self._volumes.mounting.release(self.volume.name, self._user)
            self._kept.release(self._user)
            self._user = ""

    def __enter__(self) -> OpenVolume:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
