from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sampan.client.address import connect, parse_address
from sampan.errors import InvalidArgument, Unavailable


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("unix:///run/x.sock", ("unix", "/run/x.sock", "", 0)),
        ("/run/x.sock", ("unix", "/run/x.sock", "", 0)),
        ("tcp://127.0.0.1:2376", ("tcp", "", "127.0.0.1", 2376)),
        ("tcp://box", ("tcp", "", "box", 2375)),
        ("http://[::1]:80/", ("tcp", "", "::1", 80)),
        ("tcp://[::1]", ("tcp", "", "::1", 2375)),
        ("ssh://box", ("ssh", "", "box", 0)),
        ("ssh://anna@box:2222/run/x.sock", ("ssh", "/run/x.sock", "anna@box", 2222)),
        ("ssh://[::1]:22", ("ssh", "", "::1", 22)),
    ],
)
def test_addresses(text: str, want: tuple[str, str, str, int]) -> None:
    found = parse_address(text)
    assert (found.kind, found.path, found.host, found.port) == want


@pytest.mark.parametrize(
    "text",
    [
        "",
        "box",
        "unix://relative",
        "tcp://",
        "tcp://a:b",
        "tcp://a:0",
        "tcp://a:70000",
        "https://a",
        "ssh://",
        "ssh://a:b",
        "ssh://-oProxyCommand=x",
        "ssh://user:secret@a",
        "ssh://@a",
        "ssh://a:70000",
        "tcp://a/b:1",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidArgument, match="address"):
        parse_address(text)


def test_paths_longer_than_a_socket_address_are_reached(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        short = tmp_path / "s"
        listener.bind(str(short))
        short.rename(folder / "api.sock")
        listener.listen()
        connect(parse_address(f"unix://{folder}/api.sock")).close()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        connect(parse_address(f"unix://{tmp_path}/none.sock"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with pytest.raises(ConnectionRefusedError):
            connect(parse_address(f"tcp://127.0.0.1:{taken.getsockname()[1]}"))
    with pytest.raises(Unavailable, match="cannot resolve host"):
        connect(parse_address("tcp://no.such.host.invalid:1"))
