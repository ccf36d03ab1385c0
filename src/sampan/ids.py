"""Identifiers: each is made by one parser here, and only there."""

from __future__ import annotations

import os

from sampan.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NewType

    ContainerId = NewType("ContainerId", str)
    ExecId = NewType("ExecId", str)
    Digest = NewType("Digest", str)
else:  # `typing` is not imported while a container starts (sampan.lean)
    ContainerId = ExecId = Digest = str

_HEX = frozenset("0123456789abcdef")


def _is_hex64(text: str) -> bool:
    return len(text) == 64 and _HEX.issuperset(text)


def new_container_id() -> ContainerId:
    """Return a fresh random container id: 64 lowercase hexadecimal digits."""
    return ContainerId(os.urandom(32).hex())


def new_exec_id() -> ExecId:
    """Return a fresh random exec id: 64 lowercase hexadecimal digits."""
    return ExecId(os.urandom(32).hex())


def parse_container_id(text: str) -> ContainerId:
    """Check text that came from outside and give it its type.

    Raises:
        InvalidArgument: text is not 64 lowercase hexadecimal digits.
    """
    if not _is_hex64(text):
        raise InvalidArgument(f"container id {text!r} is not 64 hexadecimal digits")
    return ContainerId(text)


def parse_digest(text: str) -> Digest:
    """Check a content digest, `sha256:` and 64 lowercase hexadecimal digits, before any path is built of it.

    Raises:
        InvalidArgument: text has another form or algorithm.
    Source: OCI image-spec, descriptor.md, "Digests".
    """
    algorithm, _, encoded = text.partition(":")
    if algorithm != "sha256" or not _is_hex64(encoded):
        raise InvalidArgument(f"digest {text!r} is not sha256: and 64 hexadecimal digits")
    return Digest(text)


def digest_hex(digest: Digest) -> str:
    """Return the 64 digits behind the algorithm of a digest."""
    return digest[7:]
