"""Go's `os.FileMode`, as files' messages carry it: types from the top down, permissions at the bottom.

Source: go doc io/fs FileMode.
"""

from __future__ import annotations

from typing import Final

from sampan.store.archive import headers

_DIRECTORY: Final = 1 << 31
_SYMLINK: Final = 1 << 27
_DEVICE: Final = 1 << 26
_FIFO: Final = 1 << 25
_SOCKET: Final = 1 << 24
_CHARACTER: Final = 1 << 21
_IRREGULAR: Final = 1 << 19
_ANY_TYPE: Final = _DIRECTORY | _SYMLINK | _DEVICE | _FIFO | _SOCKET | _CHARACTER | _IRREGULAR
_SPECIAL: Final = ((1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000))

SOCKET: Final = b""  # no image can hold one
KINDS: Final = {
    0: headers.REGULAR,
    _DIRECTORY: headers.DIRECTORY,
    _SYMLINK: headers.SYMLINK,
    _FIFO: headers.FIFO,
    _DEVICE: headers.BLOCK_DEVICE,
    _DEVICE | _CHARACTER: headers.CHARACTER,
    _SOCKET: SOCKET,
}
_TYPES: Final = {kind: mode for mode, kind in KINDS.items()}


def kind_of(mode: int) -> bytes | None:
    """Return the kind of an archive's entry, SOCKET, or None for something else."""
    return KINDS.get(mode & _ANY_TYPE)


def permissions_of(mode: int) -> int:
    """Return the kernel's permission bits."""
    found = mode & 0o777
    for flag, bit in _SPECIAL:
        found |= bit if mode & flag else 0
    return found


def to_go(kind: bytes, permissions: int) -> int:
    """Return the mode of an entry."""
    found = _TYPES[kind] | (permissions & 0o777)
    for flag, bit in _SPECIAL:
        found |= flag if permissions & bit else 0
    return found
