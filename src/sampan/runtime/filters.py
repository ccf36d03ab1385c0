"""Seccomp filters of containers: loading one, and handing the listener of a notifying one over. Lean.

Source: OCI runtime-spec v1.2, config-linux.md, "Seccomp", "The Container Process State".
"""

from __future__ import annotations

import os

from sampan import fastjson
from sampan.errors import InvalidArgument, SampanError
from sampan.kernel import seccomp, sockets
from sampan.kernel.constants import SECCOMP_FILTER_FLAG_NEW_LISTENER
from sampan.lean import record
from sampan.runtime import seccomp as profiles
from sampan.settings import default_roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.fastjson import JsonValue
    from sampan.runtime.steps import Child
    from sampan.spec.runtime import LinuxSeccomp


@record
class Filter:
    """A seccomp filter: BPF, `SECCOMP_FILTER_FLAG_*`, and where the listener of a notifying one is sent."""

    program: bytes
    flags: int
    listener_path: str = ""
    listener_metadata: str = ""


def make_filter(profile: LinuxSeccomp, *, cache_dir: str) -> Filter:
    """Compile a profile, or take it from the cache; cache_dir "" is the one below the default data root.

    Raises:
        InvalidArgument: the profile is wrong, or notifies nobody.
    """
    flags = profiles.filter_flags(profile)
    if flags & SECCOMP_FILTER_FLAG_NEW_LISTENER and not profile.listener_path:
        raise InvalidArgument("linux.seccomp.listenerPath: is required by SCMP_ACT_NOTIFY")
    return Filter(
        program=profiles.program_for(profile, cache_dir=cache_dir or f"{default_roots().data}/cache/seccomp"),
        flags=flags,
        listener_path=profile.listener_path,
        listener_metadata=profile.listener_metadata,
    )


def load_filter(child: Child, filter: Filter) -> None:
    """Load the filter; of a notifying one the parent takes the listener out of this process (pidfd_getfd)."""
    listener = seccomp.load_filter(filter.program, filter.flags)
    if listener >= 0:
        child.channel.tell("listener", listener)
        child.channel.wait()
        os.close(listener)


def hand_over(filter: Filter, listener_fd: int, state: dict[str, object], pid: int) -> None:
    """Send the listener and the container's state to listenerPath; closes the listener here.

    Raises:
        SampanError: nobody listens there.
    """
    fds: list[JsonValue] = ["seccompFd"]
    document = {"ociVersion": state["ociVersion"], "fds": fds, "pid": pid, "state": state}
    if filter.listener_metadata:
        document["metadata"] = filter.listener_metadata
    folder, _, name = filter.listener_path.rpartition("/")
    try:
        sock = sockets.connect_at(folder or "/", name)
        try:
            sockets.send_message(sock, fastjson.dumps(document).encode(), [listener_fd])
        finally:
            sock.close()
    except OSError as exc:
        raise SampanError(f"linux.seccomp.listenerPath: {filter.listener_path!r}: {exc.strerror}") from exc
    finally:
        os.close(listener_fd)
