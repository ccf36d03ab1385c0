"""The launcher: imports once what every shim needs, then forks one for each request. Lean.

One thread, no state about containers. Children are reaped by the kernel (SIGCHLD ignored). It ends when
sampand's end of the socket closes; its shims live on.
"""

from __future__ import annotations

import gc
import os

from sampan import log
from sampan.errors import SampanError, Unavailable
from sampan.kernel.process import close_range, set_child_subreaper, set_dumpable, set_oom_score_adj
from sampan.kernel.sockets import close_all, from_fd
from sampan.runtime.launcher.messages import error_document
from sampan.runtime.launcher.rehearsal import rehearse
from sampan.runtime.launcher.shim import run_shim
from sampan.runtime.launcher.title import argument_area, set_title
from sampan.runtime.launcher.transport import receive_raw, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Sequence
    from signal import SIG_IGN, SIGCHLD, SIGHUP, SIGINT, SIGTERM, signal
    from types import FrameType

else:
    from _signal import SIG_IGN, SIGCHLD, SIGHUP, SIGINT, SIGTERM, signal

_OOM_SCORE = -998  # inherited by shims: killed for memory last, just before the daemon


def main(arguments: Sequence[str]) -> None:
    """Serve sampand until it goes. arguments: program, socket descriptor, run root, room for titles."""
    _, raw_fd, run_root, _ = arguments
    sock = from_fd(int(raw_fd))
    _become_zygote(sock)
    title_area = argument_area()
    set_title(title_area, "sampan-launcher")
    try:
        rehearse(run_root)
    except OSError as exc:
        log.warning("launcher cannot rehearse", why=exc.strerror)  # shims will be larger
    gc.collect()
    gc.freeze()  # a collection in a shim would write to, and so copy, every page
    send(sock, {"ready": True})
    while _serve(sock, title_area):
        pass


def _become_zygote(sock: socket) -> None:
    set_dumpable(False)
    os.set_inheritable(sock.fileno(), False)
    close_range(3, sock.fileno() - 1)
    close_range(sock.fileno() + 1)
    signal(SIGCHLD, SIG_IGN)
    for number in (SIGINT, SIGHUP, SIGTERM):  # only sampand ends the launcher
        signal(number, _stay)  # a handler and not SIG_IGN: a container's program would inherit that
    set_child_subreaper()  # orphans of a shared pid namespace or a killed shim are reaped here
    set_oom_score_adj("self", _OOM_SCORE)


def _stay(_number: int, _frame: FrameType | None) -> None:
    """Go on."""


def _serve(sock: socket, title_area: tuple[int, int]) -> bool:
    """Fork a shim for one packet; False at the end of the connection.

    The packet is read in the shim: whatever the launcher itself does with each start, it writes to pages that
    all shims share, and so takes them from all of them.
    """
    try:
        body, fds = receive_raw(sock)
    except OSError as exc:
        log.error("launcher cannot receive", why=exc.strerror)
        return False
    if not body:
        return False
    try:
        if fds:
            _fork_shim(sock, body, fds, title_area)
    finally:
        close_all(fds)
    return True


def _fork_shim(sock: socket, body: bytes, fds: list[int], title_area: tuple[int, int]) -> None:
    try:
        pid = os.fork()
    except OSError as exc:
        _answer(fds[0], Unavailable(f"cannot fork a shim: {exc.strerror}"))
        return
    if pid:
        return
    try:
        sock.close()
        run_shim(body, fds, title_area=title_area)
    finally:
        os._exit(0)


def _answer(fd: int, error: SampanError) -> None:
    connection = from_fd(os.dup(fd))
    try:
        send(connection, error_document(error))
    except OSError:
        pass  # sampand has given up
    finally:
        connection.close()
