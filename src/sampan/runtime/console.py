"""The terminal of a container's process. Lean.

It belongs to the container's own devpts and is got from its master (TIOCGPTPEER), never by a name that a
container could have changed (CVE-2025-52565).
"""

from __future__ import annotations

import os

from sampan.errors import SampanError
from sampan.kernel import constants as k
from sampan.kernel import files, mountcalls, sockets, tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.runtime.steps import Child

_ATTACH = k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH


def open_console(child: Child, size: tuple[int, int] | None, owner: int, bind: bool) -> None:
    """Open a terminal, hand the master to the parent, and make the other end the program's stdio.

    size is (rows, columns). owner gets the terminal (its uid inside). bind also shows it as /dev/console.
    Runs in the container's root.
    """
    master, slave = tty.open_pty(_open_devpts())
    if size is not None:
        tty.set_size(slave, *size)
    os.fchown(slave, owner, -1)
    child.channel.send_descriptor("console", master)
    os.close(master)
    if bind:
        _bind_console(slave)
    tty.set_controlling_terminal(slave)
    child.stdio = (slave, slave, slave)


def _open_devpts() -> int:
    try:
        fd = os.open("/dev/pts", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as exc:
        raise SampanError("process.terminal: the container has no devpts mounted at /dev/pts") from exc
    if files.file_system_type(fd) != k.DEVPTS_SUPER_MAGIC:
        raise SampanError("process.terminal: what lies at /dev/pts is no devpts")
    return fd


def _bind_console(slave: int) -> None:
    """Show the terminal as /dev/console: a file made without following a link, covered by the descriptor."""
    dev = os.open("/dev", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        target = os.open("console", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dev)
    except FileNotFoundError:
        os.close(os.open("console", flags, 0o620, dir_fd=dev))
        target = os.open("console", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dev)
    view = mountcalls.open_tree(slave, "", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH)
    mountcalls.move_mount(view, "", target, "", _ATTACH)
    for fd in (dev, target, view):
        os.close(fd)


def keep_or_send(master: int, console_socket: int) -> int:
    """Return the master without a console socket; with one, send it there, close it and return -1.

    The message is the descriptor with its name as data. Source: runc, docs/terminals.md.
    """
    if console_socket < 0:
        return master
    sock = sockets.from_fd(os.dup(console_socket))
    try:
        sockets.send_message(sock, b"/dev/ptmx", [master])
    finally:
        sock.close()
        os.close(master)
    return -1
