"""The program around the door: options, sockets, the lock, the news that it is ready."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from sampan.daemon.connection import upgrade_end
from sampan.daemon.listeners import Access, open_listeners
from sampan.daemon.options import parse_options
from sampan.daemon.presence import ReadyPipe, RunLock, notify_manager
from sampan.errors import Conflict, Forbidden, InvalidArgument, SampanError


def listen(*addresses: str, insecure_tcp: bool = False) -> list[str]:
    """Open addresses, close them, and return what they were."""
    opened = open_listeners(list(addresses), access=Access(group="no such group", insecure_tcp=insecure_tcp))
    for listener in opened:
        listener.close()
    return [listener.address for listener in opened]


def test_socket_is_for_root_alone_without_the_group_and_goes_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s.sock"
    (listener,) = open_listeners([f"unix://{path}"], access=Access(group="no such group"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["s.sock"]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert not path.exists()


def test_socket_path_may_be_longer_than_an_address(tmp_path: Path) -> None:
    path = tmp_path / ("d" * 100) / "s.sock"
    assert listen(str(path)) == [f"unix://{path}"]


def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert listen(f"unix://{path}") == [f"unix://{path}"]


def test_socket_of_another_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    (first,) = open_listeners([f"unix://{path}"], access=Access(group="no such group"))
    with pytest.raises(Conflict, match="another program answers there"):
        listen(f"unix://{path}")
    path.unlink()
    (second,) = open_listeners([f"unix://{path}"], access=Access(group="no such group"))
    first.close()
    assert path.exists()
    second.close()


def test_failure_of_one_address_closes_the_others(tmp_path: Path) -> None:
    first, second = tmp_path / "s.sock", tmp_path / "file"
    second.write_text("mine")
    with pytest.raises(Conflict, match="a file that is no socket is in the way"):
        listen(f"unix://{first}", f"unix://{second}")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("address", "insecure", "kind", "message"),
    [
        pytest.param("tcp://127.0.0.1:2375", False, Forbidden, "TCP without TLS gives root", id="plain TCP"),
        pytest.param("tcp://0.0.0.0:2375", True, Forbidden, "only loopback addresses", id="every address"),
        pytest.param("tcp://127.0.0.1", True, InvalidArgument, "is not tcp://host:port", id="no port"),
        pytest.param("tcp://127.0.0.1:99999", True, InvalidArgument, "out of range", id="no such port"),
        pytest.param("unix://relative", False, InvalidArgument, "the form is not known", id="relative path"),
        pytest.param("http://x", False, InvalidArgument, "the form is not known", id="another scheme"),
        pytest.param("fd://", False, InvalidArgument, "no socket was passed", id="nothing passed"),
    ],
)
def test_addresses_refused(address: str, insecure: bool, kind: type[SampanError], message: str) -> None:
    with pytest.raises(kind, match=message):
        listen(address, insecure_tcp=insecure)


def test_second_lock_names_the_first(tmp_path: Path) -> None:
    root = str(tmp_path / "run")
    first = RunLock(root)
    with pytest.raises(Conflict, match=rf"another sampand \(pid {os.getpid()}\) runs on {root}"):
        RunLock(root)
    first.release()
    RunLock(root).release()
    assert stat.S_IMODE(os.stat(root).st_mode) == 0o711


def test_ready_pipe_gets_one_line_and_the_end() -> None:
    reader, writer = os.pipe()
    pipe = ReadyPipe(writer)
    pipe.tell("ready")
    pipe.tell("error: late")
    with open(reader, "rb") as file:
        assert file.read() == b"ready\n"


def test_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify_manager("READY=1")
        assert manager.recv(100) == b"READY=1"
    notify_manager("STOPPING=1")  # nobody listens any more: no error


def test_options_and_their_defaults() -> None:
    usual = parse_options(["--data-root", "/d/", "--run-root", "/r"])
    assert usual.hosts == ["unix:///r/sampan.sock"]
    assert (usual.engine.roots.data, usual.engine.log.max_files) == ("/d", 5)
    given = parse_options(
        [
            "-H",
            "unix:///a",
            "-H",
            "fd://",
            "--add-runtime",
            "crun=/usr/bin/crun --debug",
            "--log-max-size",
            "2k",
        ]
    )
    assert given.hosts == ["unix:///a", "fd://"]
    assert given.engine.runtimes == {"crun": ("/usr/bin/crun", "--debug")}
    assert given.engine.log.max_size_bytes == 2048


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--data-root", "relative"], id="relative root"),
        pytest.param(["--run-root", "/"], id="the root of all"),
        pytest.param(["--log-max-size", "much"], id="size"),
        pytest.param(["--add-runtime", "crun"], id="runtime without a command"),
        pytest.param(["--data", "/x"], id="abbreviated"),
    ],
)
def test_options_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(arguments)
    assert caught.value.code == 2
    assert "sampand: error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "end"),
    [
        pytest.param(b"POST /x HTTP/1.1\r\nUpgrade: tcp\r\n\r\nrest", 34, id="no body"),
        pytest.param(b"POST /x HTTP/1.1\r\nupgrade:TCP\r\nContent-Length: 3\r\n\r\nrest", 55, id="body"),
        pytest.param(
            b"POST /x HTTP/1.1\r\nUpgrade: tcp\r\nTransfer-Encoding: chunked\r\n\r\n", 0, id="chunks"
        ),
        pytest.param(b"GET /x HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 0, id="websocket"),
        pytest.param(b"POST /x HTTP/1.1\r\nX-Upgrade: tcp\r\n\r\n", 0, id="another field"),
        pytest.param(b"POST /x HTTP/1.1\r\nUpgrade: tcp\r\n", 0, id="half a head"),
        pytest.param(b"POST /x HTTP/1.1\r\nUpgrade: tcp\r\nContent-Length: -1\r\n\r\n", 0, id="bad length"),
    ],
)
def test_where_an_upgrading_request_ends(data: bytes, end: int) -> None:
    assert upgrade_end(data) == end
