"""The machine and the engine: facts for info, version and ping."""

from __future__ import annotations

from sampan.spec import docker

VERSION = "28.5.0"  # Engine version that clients compare features by; ours is in the version's Components


class System:
    """Facts; each call reads the machine anew."""

    def info(self) -> docker.Info:
        """Describe machine, engine, counts and features."""
        raise NotImplementedError

    def version(self) -> docker.Version:
        """Name the versions of API, engine and kernel."""
        raise NotImplementedError

    def disk_usage(self) -> docker.DiskUsage:
        """Sum what images and containers occupy."""
        raise NotImplementedError
