"""What `syscall` needs of ctypes, from the C module behind it: `import ctypes` costs 3 ms, this 0.4. Lean.

Type checkers see ctypes itself. Source: Lib/ctypes/__init__.py of CPython 3.11 to 3.14.
"""

from __future__ import annotations

import _ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _ctypes import CFuncPtr as Function
    from ctypes import Array, addressof, c_char, c_char_p, c_long, get_errno

    Buffer = Array[c_char]
else:
    from _ctypes import addressof, get_errno

    class c_long(_ctypes._SimpleCData):
        """A C long: every integer argument."""

        _type_ = "l"

    class c_char_p(_ctypes._SimpleCData):
        """A C string: bytes, or a character buffer."""

        _type_ = "z"

    class c_char(_ctypes._SimpleCData):
        """One byte of a buffer."""

        _type_ = "c"


_RTLD_NOW = 2
_library = _ctypes.dlopen(None, _RTLD_NOW)  # type: ignore[arg-type]  # None is this program itself


class _Releasing(_ctypes.CFuncPtr):
    """A function during which other threads may run."""

    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = c_long


class _Holding(_ctypes.CFuncPtr):
    """A function that keeps the GIL."""

    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO | _ctypes.FUNCFLAG_PYTHONAPI
    _restype_ = c_long


def libc_function(
    name: str, argtypes: tuple[type[c_long | c_char_p], ...], *, keep_gil: bool = False
) -> Function:
    """Return a function of libc that returns a long and sets errno (`get_errno`)."""
    function = (_Holding if keep_gil else _Releasing)(_ctypes.dlsym(_library, name))
    function.argtypes = argtypes
    function.restype = c_long
    return function


def make_buffer(size_bytes: int) -> Buffer:
    """Return a zeroed buffer."""
    return (c_char * size_bytes)()


def write_memory(address: int, data: bytes) -> None:
    """Overwrite this process's own memory; nothing checks that the place is ours and as long."""
    (c_char * len(data)).from_address(address).raw = data


def buffer_of(data: bytes) -> Buffer:
    """Return a buffer of exactly these bytes, with no NUL behind them."""
    made = (c_char * len(data))()
    made.raw = data
    return made


__all__ = [
    "Buffer",
    "Function",
    "addressof",
    "buffer_of",
    "c_char_p",
    "c_long",
    "get_errno",
    "libc_function",
    "make_buffer",
    "write_memory",
]
