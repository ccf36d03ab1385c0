"""Clone a mount of another mount namespace. Lean.

open_tree(2) clones only what is mounted in the caller's own mount namespace, and setns(2) into another one
asks for a process of its own. So a fork goes there, clones, and hands the detached mount back.
"""

from __future__ import annotations

import errno
import os

from sampan.errors import SampanError
from sampan.kernel import constants as k
from sampan.kernel import mountcalls, namespaces
from sampan.kernel.resolve import openat2
from sampan.kernel.sockets import receive_message, send_message, seqpacket_pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket


def split_process_path(path: str) -> tuple[int, str] | None:
    """Return pid and path inside of `/proc/<pid>/root/<path>`; None if path has another form."""
    parts = path.split("/", 4)
    if len(parts) != 5 or parts[:2] != ["", "proc"] or parts[3] != "root" or not parts[2].isdigit():
        return None
    return int(parts[2]), "/" + parts[4]


def clone_from_process(pid: int, unsafe_path: str, *, recursive: bool) -> int:
    """Return a detached clone of what is mounted at a path in the mount namespace of a process.

    unsafe_path is looked up in that process's root, and no link is followed on the way.

    Raises:
        SampanError: the process is gone, the path is not there or has a link in it; the fork was killed.
    """
    try:
        namespace = namespaces.open_namespace(pid, "mnt")
    except OSError as exc:
        raise SampanError(f"cannot clone {unsafe_path} of another container: it has ended") from exc
    mine, yours = seqpacket_pair()
    try:
        child = os.fork()
        if child == 0:
            _run(yours, namespace, unsafe_path, recursive)
        yours.close()
        data, fds = receive_message(mine, max_fds=1)
        os.waitpid(child, 0)
    finally:
        mine.close()
        yours.close()
        os.close(namespace)
    if fds:
        return fds[0]
    reason = os.strerror(int(data)) if data else "the helper was killed"
    raise SampanError(f"cannot clone {unsafe_path} of another container: {reason}")


def _run(sock: socket, namespace: int, unsafe_path: str, recursive: bool) -> None:
    """Run the fork's side; it ends here, whatever happens."""
    try:
        namespaces.setns(namespace, k.CLONE_NEWNS)
        place = openat2(
            k.AT_FDCWD, unsafe_path, os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY, resolve=k.RESOLVE_NO_SYMLINKS
        )
        flags = k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | (k.AT_RECURSIVE if recursive else 0)
        send_message(sock, b"0", (mountcalls.open_tree(place, "", flags),))
    except OSError as exc:
        send_message(sock, b"%d" % (exc.errno or errno.EIO))
    finally:
        os._exit(0)
