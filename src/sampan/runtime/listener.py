"""Hand the listener of a notifying seccomp filter to the agent that answers its questions. Lean.

Source: OCI runtime-spec v1.2, config-linux.md, "The Container Process State".
"""

from __future__ import annotations

import os

from sampan import fastjson
from sampan.errors import SampanError
from sampan.kernel import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.fastjson import JsonValue
    from sampan.runtime.program import Filter


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
