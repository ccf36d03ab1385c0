"""The shim's socket: answers, errors by class, events that nobody read, large bodies."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.errors import Conflict, InvalidArgument, NotFound, Unavailable
from sampan.kernel.sockets import SOCK_SEQPACKET, connect_at
from sampan.runtime.launcher.client import ShimHandle, connect_shim, read_exit_record
from sampan.runtime.launcher.control import ControlServer, Request, open_listener
from sampan.runtime.launcher.exit_record import write_exit_record
from sampan.runtime.launcher.loop import READABLE, Loop
from sampan.runtime.launcher.messages import Detached, ExitRecord, Lost
from sampan.runtime.launcher.transport import receive, send

STARTED = {"pid": 1, "start_ticks": 2, "shim_pid": 3, "started_at_ns": 4}


class Shim:
    """A control server in a thread, which knows a few requests."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = str(run_dir)
        self.seen: list[object] = []
        self.loop = Loop()
        self.server = ControlServer(
            self.loop,
            {"events": lambda _: STARTED, "signal": self.signal, "exec": self.exec},
            listener=open_listener(self.run_dir),
            on_disconnect=lambda: None,
        )
        self.wakeup, self.waker = os.pipe()
        self.loop.watch(self.wakeup, READABLE, self.on_wakeup)
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()

    def signal(self, request: Request) -> dict:
        raise Conflict(f"refused {request.document['number']}", hint="a hint")

    def exec(self, request: Request) -> dict:
        self.seen.append(request.document["exec"])
        return {"pid": 9}

    def on_wakeup(self, _events: int) -> None:
        if os.read(self.wakeup, 1) == b"e":
            self.server.publish(Detached(attach_id="a", reason="keys"))
        else:
            self.loop.stop()

    def publish(self) -> None:
        os.write(self.waker, b"e")

    def close(self) -> None:
        os.write(self.waker, b"q")
        self.thread.join()
        self.server.stop_listening()
        for connection in list(self.server._connections):
            connection.close()
        os.close(self.wakeup)
        os.close(self.waker)


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    made = Shim(tmp_path)
    yield made
    made.close()


def wait_for_events(handle: ShimHandle) -> list[object]:
    import select

    assert select.select([handle.fd], [], [], 10)[0]
    return list(handle.read_events())


def test_the_socket_is_private(shim: Shim) -> None:
    assert os.stat(f"{shim.run_dir}/shim.sock").st_mode & 0o777 == 0o600


def test_events_before_and_after_the_connection(shim: Shim) -> None:
    shim.publish()
    deadline = time.monotonic() + 10
    while not shim.server._unread:
        assert time.monotonic() < deadline
    handle = connect_shim(shim.run_dir)
    assert (handle.pid, handle.start_ticks, handle.shim_pid, handle.started_at_ns) == (1, 2, 3, 4)
    assert wait_for_events(handle) == [Detached(attach_id="a", reason="keys")]
    shim.publish()
    assert wait_for_events(handle) == [Detached(attach_id="a", reason="keys")]
    handle.close()


def test_error_keeps_its_class_and_hint(shim: Shim) -> None:
    handle = connect_shim(shim.run_dir)
    with pytest.raises(Conflict, match="refused 9") as caught:
        handle.signal(9)
    assert caught.value.hint == "a hint"
    handle.close()


def test_unknown_request_is_refused(shim: Shim) -> None:
    handle = connect_shim(shim.run_dir)
    with pytest.raises(InvalidArgument, match="knows no request 'resize'"):
        handle.resize(1, 2)
    handle.close()


def test_large_body(shim: Shim) -> None:
    sock = connect_at(shim.run_dir, "shim.sock", SOCK_SEQPACKET)
    body = {"env": ["x" * 100_000] * 20}
    send(sock, {"op": "exec", "exec": body})
    answer = receive(sock)
    assert answer is not None
    assert answer[0] == {"pid": 9}
    assert shim.seen == [body]
    sock.close()


@pytest.mark.parametrize("packet", [b"nonsense", b"[1]", b'{"spill":true}'])
def test_damaged_packet_ends_the_connection_only(shim: Shim, packet: bytes) -> None:
    sock = connect_at(shim.run_dir, "shim.sock", SOCK_SEQPACKET)
    sock.send(packet)
    sock.settimeout(10)
    assert receive(sock) is None
    sock.close()
    connect_shim(shim.run_dir).close()


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no shim answers"):
        connect_shim(str(tmp_path))
    open_listener(str(tmp_path)).close()
    with pytest.raises(NotFound, match="no shim answers"):
        connect_shim(str(tmp_path))


def test_shim_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sampan.runtime.launcher.client._ANSWER_S", 0.05)
    listener = open_listener(str(tmp_path))
    with pytest.raises(Unavailable, match="did not answer"):
        connect_shim(str(tmp_path))
    listener.close()


def test_lost(tmp_path: Path) -> None:
    shim = Shim(tmp_path)
    handle = connect_shim(shim.run_dir)
    shim.close()
    assert wait_for_events(handle) == [Lost()]
    handle.close()


def test_exit_record(tmp_path: Path) -> None:
    assert read_exit_record(str(tmp_path)) is None
    record = ExitRecord(id="a", code=137, signal=9, oom_killed=True, started_at=1, finished_at=2)
    write_exit_record(str(tmp_path), record)
    assert read_exit_record(str(tmp_path)) == record
    for damaged in (b"", b"{", b"[]", b'{"id": 1}', (tmp_path / "exit.json").read_bytes()[:-5]):
        (tmp_path / "exit.json").write_bytes(damaged)
        assert read_exit_record(str(tmp_path)) is None
