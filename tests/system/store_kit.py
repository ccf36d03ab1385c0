"""Archives made to measure, and trees described so that they can be compared."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sampan.spec.image import ImageConfig, RootFS, encode
from sampan.store.archive.feed import Feed
from sampan.store.archive.limits import DEFAULT_LIMITS, Limits
from sampan.store.archive.unpack import Unpacked, unpack

Tree = dict[str, tuple[object, ...]]


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    """Return a header; fields are those of TarInfo. A file's content goes to `tar`."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = 1_700_000_000
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an archive of headers, and of files given as (header, content)."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as archive:
        for member in members:
            info, data = member if isinstance(member, tuple) else (member, b"")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def unpack_bytes(archive: bytes, target: Path, *, limits: Limits = DEFAULT_LIMITS) -> Unpacked:
    """Unpack an archive, plain or compressed, into a new directory."""
    target.mkdir()
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with Feed(io.BytesIO(archive), limits=limits) as feed:
            result = unpack(feed.read_chunk, fd, spool_directory=str(target.parent), limits=limits)
            feed.drain()
            return result
    finally:
        os.close(fd)


def describe(root: Path, *, directory_times: bool = True) -> Tree:
    """Return everything that matters of every file below root, by its path."""
    tree: Tree = {}
    inodes: dict[int, str] = {}
    for path in sorted([root, *root.rglob("*")]):
        status = path.lstat()
        name = str(path.relative_to(root))
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        first = name if stat.S_ISDIR(status.st_mode) else inodes.setdefault(status.st_ino, name)
        tree[name] = (
            oct(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_rdev,
            status.st_mtime_ns if directory_times or not stat.S_ISDIR(status.st_mode) else None,
            content,
            first,
            tuple(sorted(_xattrs(path).items())),
        )
    return tree


def _xattrs(path: Path) -> dict[str, bytes]:
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
    }


def differences(left: Tree, right: Tree) -> list[str]:
    """Return a line for each path that differs."""
    return [
        f"{name}: {left.get(name)} != {right.get(name)}"
        for name in sorted(set(left) | set(right))
        if left.get(name) != right.get(name)
    ]


def image_archive(
    layers: Sequence[bytes],
    *,
    tags: Iterable[str] = ("test:latest",),
    change: Callable[[dict[str, bytes]], None] | None = None,
    config: ImageConfig | None = None,
) -> bytes:
    """Return an old docker save archive of plain layers; change may alter its files beforehand."""
    diff_ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    document = config or ImageConfig(
        architecture="amd64", os="linux", created="2024-01-01T00:00:00Z", rootfs=RootFS(diff_ids=diff_ids)
    )
    raw_config = encode(document)
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    config_name = hashlib.sha256(raw_config).hexdigest() + ".json"
    manifest = (json.dumps([{"Config": config_name, "RepoTags": list(tags), "Layers": names}])).encode()
    files = dict(zip(names, layers, strict=True)) | {config_name: raw_config, "manifest.json": manifest}
    if change:
        change(files)
    return tar(*[(entry(name), content) for name, content in files.items()])


def gnu_tar(archive: bytes, target: Path, *options: str) -> None:
    """Unpack an archive with GNU tar into a new directory."""
    target.mkdir()
    command = [
        "tar",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        *options,
        "-xpf",
        "-",
        "-C",
        target,
    ]
    subprocess.run(command, input=archive, check=True, capture_output=True)
