"""Fills the holes in the interpreter's memory, so that what forks make lies side by side. Lean.

CPython puts a small object into any pool that has room for its size (Objects/obmalloc.c). After imports and
rehearsals nearly every pool has some, so the few hundred objects of a shim would each copy another page. With
the holes filled they come to lie in fresh pools: 100 KiB less for each container.
"""

from __future__ import annotations

_POOL = 16 * 1024
_POOL_HEADER = 48
_STEP = 16
_LARGEST = 512  # what is larger is malloc's
_BYTES_OVERHEAD = 33  # of a bytes object
_OF_A_FLOAT = 32  # no bytes object is as small
_MOST = 100_000  # blocks of a size; where pools are made otherwise it shall end, too


def fill_holes() -> list[object]:
    """Return objects that fill every pool in use, for as long as the caller keeps them."""
    filling: list[object] = []
    for size in range(_OF_A_FLOAT, _LARGEST + 1, _STEP):
        _fill_pools(size, filling)
    return filling


def _fill_pools(size: int, filling: list[object]) -> None:
    """Make objects of a size until a whole pool has been filled in order: it was a fresh one."""
    wanted = (_POOL - _POOL_HEADER) // size - 1
    in_order = 0
    last = 0
    for number in range(_MOST):
        block = float(number) if size == _OF_A_FLOAT else bytes(size - _BYTES_OVERHEAD)
        filling.append(block)
        in_order = in_order + 1 if id(block) == last + size else 0
        last = id(block)
        if in_order >= wanted:
            return
