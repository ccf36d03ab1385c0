"""Writes images made here as an archive: a docker save archive that is an OCI layout as well.

The same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Sequence
from typing import BinaryIO, Final

import msgspec

from sampan.ids import Digest, digest_hex
from sampan.spec.image import (
    CONTAINERD_NAME,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    REF_NAME,
    Descriptor,
    DockerArchiveEntry,
    ImageConfig,
    Index,
    LayoutMarker,
    Manifest,
    RootFS,
    encode,
)
from sampan.store.archive.compression import chunks_of
from sampan.store.digests import digest_of
from sampan.store.references import Reference

_MODE: Final = 0o644


class LayerWriter:
    """Writes a layer with reproducible headers: root's files, one time for all, names in the given order."""

    def __init__(self, file: BinaryIO, *, mtime: int) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT)
        self._mtime = mtime

    def __enter__(self) -> LayerWriter:
        return self

    def __exit__(self, *_error: object) -> None:
        self._tar.close()

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory."""
        self._add(path + "/", tarfile.DIRTYPE, mode)

    def file(self, path: str, data: bytes, mode: int = _MODE) -> None:
        """Add a file with its content."""
        self._add(path, tarfile.REGTYPE, mode, data=data)

    def hard_link(self, path: str, target: str) -> None:
        """Add one more name of a file that was added before."""
        self._add(path, tarfile.LNKTYPE, 0o755, link=target)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(path, tarfile.SYMTYPE, 0o777, link=target)

    def _add(self, path: str, kind: bytes, mode: int, *, data: bytes = b"", link: str = "") -> None:
        entry = tarfile.TarInfo(path)
        entry.type = kind
        entry.mode = mode
        entry.size = len(data)
        entry.linkname = link
        entry.mtime = self._mtime
        self._tar.addfile(entry, io.BytesIO(data))


def write_image(
    target: BinaryIO,
    *,
    config: ImageConfig,
    layers: Sequence[BinaryIO],
    references: Sequence[Reference],
    mtime: int = 0,
) -> Digest:
    """Write one image; return its id. layers are plain tar files, lowest first, read from their start.

    The diff ids of config are set here.
    """
    described = [_describe_layer(layer) for layer in layers]
    diff_ids = [layer.digest for layer in described]
    raw_config = encode(msgspec.structs.replace(config, rootfs=RootFS(diff_ids=diff_ids)))
    image_id = digest_of(raw_config)
    manifest = Manifest(
        schemaVersion=2,
        mediaType=OCI_MANIFEST,
        config=Descriptor(mediaType=OCI_CONFIG, digest=image_id, size=len(raw_config)),
        layers=described,
    )
    raw_manifest = encode(manifest)
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for descriptor, layer in zip(described, layers, strict=True):
            layer.seek(0)
            tar.addfile(_entry(_blob_name(descriptor.digest), descriptor.size, mtime), layer)
        documents = {
            _blob_name(image_id): raw_config,
            _blob_name(digest_of(raw_manifest)): raw_manifest,
            "oci-layout": encode(LayoutMarker(imageLayoutVersion="1.0.0")),
            "index.json": encode(_index(raw_manifest, references)),
            "manifest.json": _docker_manifest(image_id, diff_ids, references),
        }
        for name, content in documents.items():
            tar.addfile(_entry(name, len(content), mtime), io.BytesIO(content))
    return image_id


def _describe_layer(layer: BinaryIO) -> Descriptor:
    layer.seek(0)
    digest = hashlib.sha256()
    for chunk in chunks_of(layer):
        digest.update(chunk)
    return Descriptor(
        mediaType=OCI_LAYER, digest=f"sha256:{digest.hexdigest()}", size=layer.seek(0, os.SEEK_END)
    )


def _index(raw_manifest: bytes, references: Sequence[Reference]) -> Index:
    digest, size = digest_of(raw_manifest), len(raw_manifest)
    return Index(
        schemaVersion=2,
        mediaType=OCI_INDEX,
        manifests=[
            Descriptor(
                mediaType=OCI_MANIFEST,
                digest=digest,
                size=size,
                annotations={CONTAINERD_NAME: str(name), REF_NAME: name.tag},
            )
            for name in references
        ],
    )


def _docker_manifest(image_id: Digest, diff_ids: Sequence[str], references: Sequence[Reference]) -> bytes:
    entry = DockerArchiveEntry(
        Config=_blob_name(image_id),
        RepoTags=[name.familiar for name in references],
        Layers=[_blob_name(diff_id) for diff_id in diff_ids],
    )
    return msgspec.json.encode([entry])


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digest_hex(Digest(digest))}"


def _entry(name: str, size: int, mtime: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = _MODE
    entry.mtime = mtime
    return entry
