"""sampand's side of sampan-cni, the process that runs plugins (`__main__.py`)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Final

import msgspec

from sampan.errors import Unavailable
from sampan.kernel.sockets import send_message

_PROGRAM: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
_TIMEOUT_S: Final = 60
_GRACE_S: Final = 10


class Answer(msgspec.Struct, frozen=True):
    """How a plugin ended: exit status (-1: it could not be run, or was killed), output, complaints."""

    code: int
    out: str
    err: str


class Runner:
    """Runs plugins; any thread may call, several at once. The process is started by the first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, path: str, *, environment: Mapping[str, str], document: bytes) -> Answer:
        """Run a plugin with a document at its standard input.

        Raises:
            Unavailable: the process that runs plugins cannot be started, or died.
        """
        request = {
            "path": path,
            "environment": {**_ENVIRONMENT, **environment},
            "input": document.decode(),
            "timeout_s": _TIMEOUT_S,
        }
        mine, yours = socket.socketpair()
        with mine, yours:
            self._hand_over(yours)
            yours.close()
            mine.settimeout(_TIMEOUT_S + _GRACE_S)
            try:
                mine.sendall(msgspec.json.encode(request))
                mine.shutdown(socket.SHUT_WR)
                raw = b"".join(iter(lambda: mine.recv(1 << 16), b""))
                return msgspec.json.decode(raw, type=Answer)
            except (OSError, msgspec.DecodeError) as exc:
                raise Unavailable(f"CNI plugin {path} cannot be run: {exc}") from exc

    def _hand_over(self, yours: socket.socket) -> None:
        with self._lock:
            if self._control is None:
                self._start()
            try:
                self._send(yours)
            except OSError:  # it died: once more, with another one
                self._stop()
                self._start()
                self._send(yours)

    def _send(self, yours: socket.socket) -> None:
        assert self._control is not None
        send_message(self._control, b"run", (yours.fileno(),))

    def _start(self) -> None:
        mine, yours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with yours:
            try:
                self._process = subprocess.Popen(
                    [
                        os.path.realpath(sys.executable),
                        "-I",
                        "-S",
                        "-X",
                        "utf8",
                        _PROGRAM,
                        str(yours.fileno()),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(yours.fileno(),),
                    env=_ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as exc:
                mine.close()
                raise Unavailable(f"cannot start sampan-cni: {exc.strerror}") from exc
        self._control = mine

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.wait(_GRACE_S)
            self._process = None

    def close(self) -> None:
        """Let the process end; plugins that were begun are seen to their end."""
        with self._lock:
            self._stop()
