"""Which libseccomp is installed, without loading it: half of the name of a cached filter. Lean."""

from __future__ import annotations

import os

LIBRARY = "libseccomp.so.2"
FOLDERS = (f"/usr/lib/{os.uname().machine}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")


def library_version() -> str:
    """Return what tells libseccomp's versions apart, as `libseccomp.so.2.5.4`, or `unknown`."""
    for folder in FOLDERS:
        try:
            return os.readlink(f"{folder}/{LIBRARY}").rpartition("/")[2]
        except OSError:
            continue
    return "unknown"
