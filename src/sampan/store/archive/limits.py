"""How much an archive may ask for before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The defaults pass every image known to be in use and stop archives made to exhaust something."""

    entries: int = 5_000_000
    path_bytes: int = (
        4095  # PATH_MAX without the final NUL: a longer one cannot be opened by its users either
    )
    special_bytes: int = 1 << 20  # one pax header or GNU long name; archive/tar of Go has the same
    special_headers: int = 16  # in a row, before one entry
    sparse_parts: int = 1 << 16
    unnamed_directories: int = 100_000  # parents that the archive uses without an entry for them
    # Inflation: free up to the first number of bytes, from there on the ratio counts. gzip ends at 1032:1, so
    # this stops a file of zeros, which no image is, and passes everything that holds data.
    inflated_free_bytes: int = 1 << 30
    inflation_ratio: int = 500


DEFAULT_LIMITS = Limits()
