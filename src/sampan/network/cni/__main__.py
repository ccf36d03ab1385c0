"""The program sampan-cni: `python -I -S __main__.py SOCKET`. It runs plugins, since sampand never forks.

```
 sampand ── control socket (SEQPACKET): one descriptor for each call ──► sampan-cni ── fork ──► one child
    └────────────── that descriptor (STREAM): request, end of file ──────────────────────────────► │
    ◄────────────── answer, end of file ────────────────────────────────────────────────────────── ┘
```
It ends when the control socket does. A plugin that was begun is seen to its end, or to its time limit.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_MAX_OUTPUT = 4 << 20
_LIMIT_BYTES = 16 << 20


def main(arguments: list[str]) -> int:
    """Serve the control socket until its other end is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes the children
    control = socket.socket(fileno=int(arguments[1]))
    while True:
        data, fds, _, _ = socket.recv_fds(control, 16, 4)
        if not data:
            return 0
        if os.fork() == 0:
            control.close()
            status = 1
            try:
                _serve(socket.socket(fileno=fds[0]))
                status = 0
            finally:
                os._exit(status)
        for fd in fds:
            os.close(fd)


def _serve(stream: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request = json.loads(_read_all(stream))
    try:
        answer = _run(request)
    except OSError as exc:
        answer = {"code": -1, "out": "", "err": f"{request['path']}: {exc.strerror}"}
    stream.sendall(json.dumps(answer).encode())
    stream.close()


def _run(request: Document) -> Document:
    process = subprocess.Popen(
        [request["path"]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=request["environment"],
        cwd="/",
        start_new_session=True,
    )
    try:
        out, err = process.communicate(request["input"].encode(), timeout=request["timeout_s"])
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"code": -1, "out": "", "err": f"no answer within {request['timeout_s']} s"}
    return {
        "code": process.returncode,
        "out": out[:_MAX_OUTPUT].decode(errors="replace"),
        "err": err[-_MAX_OUTPUT:].decode(errors="replace"),
    }


def _read_all(stream: socket.socket) -> bytes:
    parts = []
    while part := stream.recv(1 << 16):
        parts.append(part)
        if sum(map(len, parts)) > _LIMIT_BYTES:
            raise OSError("request too long")
    return b"".join(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
