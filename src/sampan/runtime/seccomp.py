"""OCI seccomp profiles to BPF programs, and the cache that spares a container start the compiler.

`program_for(profile)` and `default_program(caps)` are what a container start calls: a hit in the cache costs
below 0.2 ms and imports nothing; a miss loads libseccomp (15 ms) once for each profile. Lean (decision 0002).
How a program is put together, and its traps: docs/seccomp.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.spec.runtime import LinuxSeccomp


def program_for(profile: LinuxSeccomp, *, cache_dir: str | None) -> bytes:
    """Return the BPF program (array of `struct sock_filter`) of profile, from the cache or compiled.

    Raises:
        InvalidArgument: the profile is wrong; the message names the field.
        Unsupported: libseccomp is not installed and the program not cached.
    """
    raise NotImplementedError


def default_program(caps: frozenset[str], *, cache_dir: str | None) -> bytes:
    """Return the program of Docker's default profile for a container whose bounding set is caps (`CAP_…`)."""
    raise NotImplementedError


def compile_profile(profile: LinuxSeccomp) -> bytes:
    """Compile profile with libseccomp, past every cache."""
    raise NotImplementedError


def default_profile(caps: frozenset[str], arch: str | None = None) -> LinuxSeccomp:
    """Return Docker's default profile with its conditions resolved for caps and arch (`x86_64`, `aarch64`, …)."""
    raise NotImplementedError


def filter_flags(profile: LinuxSeccomp) -> int:
    """Return the SECCOMP_FILTER_FLAG_* bits for loading profile, NEW_LISTENER included when it notifies."""
    raise NotImplementedError
