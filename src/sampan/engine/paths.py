"""Where a container's things lie (docs/architecture.md, "On disk")."""

from __future__ import annotations

from sampan.engine.bundle.plan import HostFiles
from sampan.settings import Roots


class Paths:
    """All paths of one engine."""

    def __init__(self, roots: Roots) -> None:
        self.data = roots.data
        self.run = roots.run
        self.containers = f"{roots.data}/containers"
        self.run_containers = f"{roots.run}/containers"
        self.seccomp_cache = f"{roots.data}/cache/seccomp"
        self.private = f"{roots.run}/build"  # secrets of steps that run
        self.temporary = f"{roots.data}/tmp"  # noqa: S108 -- the store's: emptied when it opens

    def bundle(self, container_id: str) -> str:
        """Return the container's directory: the bundle, its log, its upper directory."""
        return f"{self.containers}/{container_id}"

    def run_dir(self, container_id: str) -> str:
        """Return the directory that the container's shim owns."""
        return f"{self.run_containers}/{container_id}"

    def log(self, container_id: str) -> str:
        """Return the container's current log file; rotated ones have .1, .2, … behind."""
        return f"{self.containers}/{container_id}/{container_id}-json.log"

    def host_files(self, container_id: str) -> HostFiles:
        """Return the files that are bound over the image's."""
        folder = self.bundle(container_id)
        return HostFiles(
            hostname=f"{folder}/hostname", hosts=f"{folder}/hosts", resolv_conf=f"{folder}/resolv.conf"
        )
