"""A container's entry on its way from the worker that opened it to the shim, which keeps it. Lean."""

from __future__ import annotations

from sampan.errors import SampanError
from sampan.runtime.executing import About, Entry
from sampan.runtime.launcher.messages import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.runtime.launcher.messages import Document


def pack_entry(entry: Entry) -> Document:
    """Return what goes with `entry.fds` in a packet."""
    return {"about": pack(entry.about), "cgroup": entry.cgroup_fd >= 0, "frozen": entry.frozen_fd >= 0}


def unpack_entry(raw: object, fds: Sequence[int]) -> Entry:
    """Return an entry out of a packet; fds are its descriptors, in their order.

    Raises:
        SampanError: it is none; worker and shim are one program, so this is a defect.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("about"), dict):
        raise SampanError("a worker sent an entry that is none")
    init, *rest = fds
    cgroup_fd = rest.pop(0) if raw["cgroup"] else -1
    frozen_fd = rest.pop(0) if raw["frozen"] else -1
    about = About(**{**raw["about"], "kinds": tuple(raw["about"]["kinds"])})
    return Entry(about=about, init=init, cgroup_fd=cgroup_fd, frozen_fd=frozen_fd, task_fds=tuple(rest))
