"""glibc's malloc: how many arenas, and free memory given back. Nothing happens with another libc. Lean.

Source: mallopt(3), malloc_trim(3).
"""

from __future__ import annotations

from sampan.kernel.clib import c_long, libc_function

_M_ARENA_MAX = -8


def limit_arenas(count: int) -> None:
    """Let threads share so many arenas; glibc's default is eight for each processor."""
    try:
        mallopt = libc_function("mallopt", (c_long, c_long))
    except OSError:
        return
    mallopt(_M_ARENA_MAX, count)


def give_back() -> None:
    """Return to the kernel the pages in which nothing is allocated any more."""
    try:
        trim = libc_function("malloc_trim", (c_long,))
    except OSError:
        return
    trim(0)
