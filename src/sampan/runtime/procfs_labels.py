"""Security module labels of a process, written through a procfs of our own (CVE-2019-16884). Lean."""

from __future__ import annotations

from sampan.errors import SampanError
from sampan.kernel import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.runtime.steps import Child


def set_exec_label(child: Child, kind: str, label: str) -> None:
    """Set what the next execve of this process runs as: an AppArmor profile or an SELinux label.

    Raises:
        SampanError: the kernel has no such profile or label.
    """
    path, value = (
        ("thread-self/attr/apparmor/exec", f"exec {label}")
        if kind == "apparmor"
        else ("thread-self/attr/exec", label)
    )
    try:
        procfs.write_proc_file(child.proc_fd, path, value.encode())
    except OSError as exc:
        raise SampanError(f"cannot run as {kind} {label!r}: {exc.strerror}") from exc
