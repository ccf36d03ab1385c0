"""A step: one thing the child does, decided before the clone. And what steps work on. Lean.

`plan` makes the tuple of steps, `child` runs it. A step's function gets the Child and its arguments, all of
them made in the parent; it may use `os`, `sampan.kernel` and what is imported already, and nothing else: no
import, codec, name look-up or log once the process is in the container (docs/runtime-protocol.md).
"""

from __future__ import annotations

from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from sampan.runtime.handshake import ChildSide

    PlankName = Literal["sees", "may", "is", "process"]


@record
class Step:
    """run(child, *arguments); label is what an error and `sampan explain` call it.

    plank "" keeps a step out of the report: it does nothing that a user would call a part of the container.
    """

    label: str
    run: Callable[..., None]
    arguments: tuple[object, ...] = ()
    plank: PlankName | Literal[""] = ""


class Child:
    """What the steps of one child share; -1 stands for no descriptor.

    root_fd: root of the container's file system, from `attach_root` on. proc_fd: a private procfs.
    stdio: what the program gets as 0, 1, 2. keep_fds: what it gets as 3, 4, …
    """

    __slots__ = (
        "channel",
        "cwd_pending",
        "error_fd",
        "fifo_fd",
        "keep_fds",
        "proc_fd",
        "program_path",
        "root_fd",
        "stdio",
    )

    def __init__(
        self,
        channel: ChildSide,
        stdio: tuple[int, int, int],
        keep_fds: tuple[int, ...],
        *,
        fifo_fd: int,
        error_fd: int,
    ) -> None:
        self.channel = channel
        self.stdio = stdio
        self.keep_fds = keep_fds
        self.fifo_fd = fifo_fd
        self.error_fd = error_fd
        self.root_fd = -1
        self.proc_fd = -1
        self.program_path = b""
        self.cwd_pending = False  # chdir was not allowed yet: once more as the program's user
