"""Digests of content and of chains of layers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from sampan.ids import Digest


def digest_of(data: bytes) -> Digest:
    """Return the digest of some bytes."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def chain_ids(diff_ids: Iterable[Digest]) -> list[Digest]:
    """Return the name of each stack of layers, lowest first: of the first layer, of the first two, and so on.

    Source: OCI image-spec, config.md, "Layer ChainID".
    """
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(_above(chain[-1], diff_id) if chain else diff_id)
    return chain


@lru_cache(maxsize=256)
def _above(below: Digest, diff_id: Digest) -> Digest:
    """Return the name of a stack and one more layer; a build asks for each of its stacks many times."""
    return digest_of(f"{below} {diff_id}".encode())
