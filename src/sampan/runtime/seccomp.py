"""OCI seccomp profiles to BPF programs, and the caches that spare a container start the compiler.

A hit in a cache costs below 0.1 ms and imports nothing; a miss loads libseccomp and compiles, about 20 ms,
once for each profile and version of libseccomp. Lean (decision 0002). How a program is put together, and
the traps of the profile language: docs/seccomp.md.
"""

from __future__ import annotations

import os

from sampan import log
from sampan.errors import InvalidArgument
from sampan.kernel import files
from sampan.kernel.constants import (
    SECCOMP_FILTER_FLAG_LOG,
    SECCOMP_FILTER_FLAG_NEW_LISTENER,
    SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    SECCOMP_FILTER_FLAG_TSYNC,
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
)
from sampan.kernel.libseccomp_version import library_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import blake2b

    from sampan.spec.runtime import LinuxSeccomp
else:
    from _blake2 import blake2b  # `hashlib` costs 5 ms

_COMPILER = 1  # raise it when seccomp_compile makes another program of the same profile
_INSTRUCTION_BYTES = 8
_MAX_PROGRAM_BYTES = 4096 * _INSTRUCTION_BYTES
_MAX_FILES = 256
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": SECCOMP_FILTER_FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}
_programs: dict[str, bytes] = {}  # of this process, keyed as the files are; a launcher's children inherit it


def program_for(profile: LinuxSeccomp, *, cache_dir: str | None) -> bytes:
    """Return the program of profile, an array of `struct sock_filter`, from a cache or compiled.

    cache_dir: where programs are kept, made 0700 when missing; None for this process's memory only. A
    directory that cannot be written costs time, no more.

    Raises:
        InvalidArgument: the profile is wrong; the message names the field.
        Unsupported: no cache has it and libseccomp is not installed.
    """
    key = cache_key(profile)
    program = _programs.get(key)
    if program is None and cache_dir is not None:
        program = _read_cached(f"{cache_dir}/{key}")
    if program is None:
        from sampan.runtime.seccomp_compile import compile_profile

        program = compile_profile(profile)
        if cache_dir is not None:
            _write_cached(cache_dir, key, program)
    _programs[key] = program
    return program


def cache_key(profile: LinuxSeccomp) -> str:
    """Return a name for the program of profile: it changes with the profile, libseccomp and our compiler."""
    told = f"{_COMPILER} {os.uname().machine} {library_version()} {profile!r}"
    return blake2b(told.encode(errors="surrogateescape"), digest_size=24).hexdigest()


def default_profile(caps: frozenset[str], arch: str | None = None) -> LinuxSeccomp:
    """Return Docker's default profile for a container whose bounding set is caps (`CAP_CHOWN`, …).

    arch is a machine name as uname -m tells it; without, this machine's.
    """
    from sampan.runtime.default_seccomp import default_profile as build

    return build(caps, arch or os.uname().machine)


def filter_flags(profile: LinuxSeccomp) -> int:
    """Return the SECCOMP_FILTER_FLAG_* bits to load profile with, NEW_LISTENER included when it notifies.

    A profile without a list of flags gets SPEC_ALLOW, as under runc: the mitigation of speculative store
    bypass that a filter would otherwise switch on costs more than the filter.

    Raises:
        InvalidArgument: a flag is not known.
    """
    bits = 0
    for name in ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",) if profile.flags is None else profile.flags:
        if name not in _FLAGS:
            raise InvalidArgument(f"linux.seccomp.flags: {name!r} is not known")
        bits |= _FLAGS[name]
    if any(rule.action == "SCMP_ACT_NOTIFY" for rule in profile.syscalls):
        bits |= SECCOMP_FILTER_FLAG_NEW_LISTENER
    return bits


def _read_cached(path: str) -> bytes | None:
    """Return a program that only we can have written, or None."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            log.warning("seccomp cache entry ignored", path=path, reason="others may write it")
            return None
        program = os.read(fd, _MAX_PROGRAM_BYTES + 1)
    finally:
        os.close(fd)
    whole = 0 < len(program) <= _MAX_PROGRAM_BYTES and len(program) % _INSTRUCTION_BYTES == 0
    return program if whole else None


def _write_cached(cache_dir: str, key: str, program: bytes) -> None:
    try:
        os.makedirs(cache_dir, 0o700, exist_ok=True)
        _make_room(cache_dir)
        files.write_atomic(f"{cache_dir}/{key}", program)
    except OSError as exc:
        log.debug("seccomp program not kept", path=f"{cache_dir}/{key}", reason=str(exc))


def _make_room(cache_dir: str) -> None:
    """Remove everything once there are too many profiles: what is still used is compiled again."""
    names = os.listdir(cache_dir)
    if len(names) >= _MAX_FILES:
        for name in names:
            os.unlink(f"{cache_dir}/{name}")
