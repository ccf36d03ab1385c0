"""The noun volume, and the mounts of containers (docs/volumes.md)."""
