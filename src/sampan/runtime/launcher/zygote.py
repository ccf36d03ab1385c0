"""The launcher: imports once what every shim needs, then forks them ahead of need (spares.py). Lean.

One thread, no state about containers. Children are reaped by the kernel (SIGCHLD ignored). It ends when
sampand's end of the socket closes; its shims live on.
"""

from __future__ import annotations

import gc
import os

from sampan import log
from sampan.kernel.process import close_range, set_child_subreaper, set_dumpable, set_oom_score_adj
from sampan.kernel.sockets import from_fd
from sampan.runtime.launcher.holes import fill_holes
from sampan.runtime.launcher.rehearsal import rehearse, rehearse_creation
from sampan.runtime.launcher.spares import Spares
from sampan.runtime.launcher.title import argument_area, set_title
from sampan.runtime.launcher.transport import send

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
    """Serve sampand until it goes.

    arguments: program, socket descriptor, run root, rehearsal or "", room for titles.
    """
    _, raw_fd, run_root, rehearsal, _ = arguments
    sock = from_fd(int(raw_fd))
    _become_zygote(sock)
    title_area = argument_area()
    set_title(title_area, "sampan-launcher")
    try:
        rehearse(run_root)
    except OSError as exc:
        log.warning("launcher cannot rehearse", why=exc.strerror)  # shims will be larger
    _freeze()
    send(sock, {"ready": True})
    spares = Spares(sock, title_area)
    if rehearsal:
        spares.warm_up = rehearse_creation(rehearsal, between=spares.serve_waiting)
        _freeze()
    filling = fill_holes()
    spares.keep()
    del filling  # kept until here


def _freeze() -> None:
    gc.collect()
    gc.freeze()  # a collection in a shim would write to, and so copy, every page


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
