"""Reading `/proc/<pid>/mountinfo`. Source: proc_pid_mountinfo(5)."""

from __future__ import annotations

from sampan.lean import record

_ESCAPES = ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\"))  # backslash last


@record
class MountInfo:
    """One mount as a process sees it; texts are unescaped, undecodable bytes become surrogates."""

    mount_id: int
    parent_id: int
    device: str  # "major:minor" of st_dev
    root: str  # what of the file system is mounted: the source of a bind mount
    mount_point: str  # relative to the process's root
    options: tuple[str, ...]  # of this mount: "ro", "nosuid", …
    propagation: tuple[str, ...]  # "shared:1", "master:2", "propagate_from:3", "unbindable"
    fstype: str
    source: str
    super_options: tuple[str, ...]  # of the file system itself


def read_mountinfo(pid: int | str = "self") -> list[MountInfo]:
    """Return the mounts in the mount namespace of a process, oldest first.

    Raises:
        OSError: the process is gone, or /proc is not there.
    """
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        return [parse_mountinfo_line(line) for line in file.read().splitlines()]


def parse_mountinfo_line(line: bytes) -> MountInfo:
    """Parse one line; the fields before the separate "-" vary in number."""
    left, _, right = line.partition(b" - ")
    fields = left.split(b" ")
    fstype, source, super_options = right.split(b" ", 2)
    return MountInfo(
        mount_id=int(fields[0]),
        parent_id=int(fields[1]),
        device=fields[2].decode(),
        root=_text(fields[3]),
        mount_point=_text(fields[4]),
        options=tuple(fields[5].decode().split(",")),
        propagation=tuple(field.decode() for field in fields[6:]),
        fstype=_text(fstype),
        source=_text(source),
        super_options=tuple(_text(super_options).split(",")),
    )


def _text(raw: bytes) -> str:
    if b"\\" in raw:
        for escape, byte in _ESCAPES:
            raw = raw.replace(escape, byte)
    return raw.decode("utf-8", "surrogateescape")
