"""Connections by ssh: `ssh HOST sampan system dial-stdio`, as docker's client does with its own. Lean.

Who may log in, by which key and over which port is ssh's own matter (~/.ssh/config).
Source: docker/cli, cli/connhelper/connhelper.go.
"""

from __future__ import annotations

import _socket
import os

from sampan.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.client.address import Address

_CONNECT_S = 30
_started: list[int] = []  # processes that may have ended meanwhile: each new one looks after them


def connect_ssh(address: Address) -> _socket.socket:
    """Start ssh and return the connection through it; ssh ends when that is closed.

    What ssh itself has to say goes to standard error.

    Raises:
        Unavailable: there is no ssh.
    """
    command = ["ssh", "-T", "-o", f"ConnectTimeout={_CONNECT_S}"]
    if address.port:
        command += ["-p", str(address.port)]
    command += ["--", address.host, "sampan"]
    if address.path:
        command += ["-H", f"unix://{address.path}"]
    _reap()
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    places = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), number) for number in (0, 1)]
    try:
        pid = os.posix_spawnp("ssh", [*command, "system", "dial-stdio"], os.environ, file_actions=places)
    except FileNotFoundError as exc:
        ours.close()
        raise Unavailable(f"cannot reach {address.text}: there is no ssh on this machine") from exc
    finally:
        theirs.close()
    _started.append(pid)
    return ours


def _reap() -> None:
    for pid in list(_started):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                _started.remove(pid)
        except ChildProcessError:
            _started.remove(pid)
