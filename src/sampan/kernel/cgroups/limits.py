"""One value for one cgroup file, and how a plan of them is written. Lean (decision 0002).

`limits_v1` and `limits_v2` turn OCI resources into a plan without touching anything; `write_plan` writes it
and turns the kernel's refusals into errors that name the field of the document.
"""

from __future__ import annotations

import errno
import os

from sampan.errors import InvalidArgument, Unsupported
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sampan.kernel.cgroups.directory import Directory

MAX_INT64 = 2**63 - 1
MAX_UINT64 = 2**64 - 1
_REFUSALS = frozenset(
    (
        errno.EINVAL,
        errno.ERANGE,
        errno.EBUSY,
        errno.EDOM,
        errno.ENODEV,
        errno.ENXIO,
        errno.ENOSPC,
        errno.ENOMEM,
        errno.E2BIG,
        errno.EOPNOTSUPP,
        errno.EOVERFLOW,
    )
)


@record
class Setting:
    """A value for a cgroup file.

    field: where it stands in the OCI document, as `memory.limit` below `linux.resources`.
    files: the first one that this kernel has is written.
    values: one for each of files when their scales differ, else one for all.
    again: the kernel may say EINVAL until a later setting is written; then this one is tried after it.
    optional: nothing is wrong when this kernel has none of files.
    """

    controller: str
    field: str
    files: tuple[str, ...]
    values: tuple[str, ...]
    again: bool = False
    optional: bool = False


def setting(
    field: str, file: str, value: object, *, again: bool = False, optional: bool = False, controller: str = ""
) -> Setting:
    """Return the setting of one file; the controller is what stands before the first dot of its name."""
    return Setting(
        controller=controller or file.partition(".")[0],
        field=field,
        files=(file,),
        values=(str(value),),
        again=again,
        optional=optional,
    )


def check_range(field: str, value: int, lowest: int, highest: int) -> int:
    """Return value.

    Raises:
        InvalidArgument: it is not between lowest and highest.
    """
    if not lowest <= value <= highest:
        raise InvalidArgument(f"linux.resources.{field}: {value} is not between {lowest} and {highest}")
    return value


def write_plan(plan: Iterable[Setting], find_directory: Callable[[str], Directory | None]) -> None:
    """Write a plan in order; find_directory gives the cgroup's directory for a controller.

    Raises:
        Unsupported: a controller or file is missing on this machine.
        InvalidArgument: the kernel refuses a value.
    """
    postponed: list[Setting] = []
    for wanted in plan:
        try:
            _write(wanted, find_directory)
        except InvalidArgument:
            if not wanted.again:
                raise
            postponed.append(wanted)
    for wanted in postponed:
        _write(wanted, find_directory)


def _write(wanted: Setting, find_directory: Callable[[str], Directory | None]) -> None:
    directory = find_directory(wanted.controller)
    if directory is None:
        if wanted.optional:
            return
        raise Unsupported(
            f"linux.resources.{wanted.field}: the cgroup controller {wanted.controller} is not available",
            hint="'sampan info' lists the controllers of this machine; leave the limit out, or enable "
            f"{wanted.controller} in the kernel and for the parent cgroup",
        )
    for number, file in enumerate(wanted.files):
        value = wanted.values[min(number, len(wanted.values) - 1)]
        try:
            directory.write(file, value)
        except OSError as exc:
            if exc.errno == errno.ENOENT:
                continue
            if exc.errno in _REFUSALS:
                raise _refusal(wanted, value, exc) from exc
            raise
        return
    if not wanted.optional:
        files = " or ".join(wanted.files)
        raise Unsupported(f"linux.resources.{wanted.field}: {directory.path} has no {files} with this kernel")


def _refusal(wanted: Setting, value: str, exc: OSError) -> InvalidArgument:
    reason = os.strerror(exc.errno or 0)
    if exc.errno == errno.EBUSY and wanted.controller == "memory":
        reason = "more memory is in use than that, and it cannot be reclaimed"
    return InvalidArgument(
        f"linux.resources.{wanted.field}: the kernel refuses {value!r} for {exc.filename}: {reason}"
    )
