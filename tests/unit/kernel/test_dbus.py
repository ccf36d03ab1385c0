"""D-Bus: values on the wire, addresses, and calls against a peer of the test's own."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sampan.errors import InvalidArgument
from sampan.kernel import dbus
from sampan.kernel.dbus import BusError, Connection, socket_path
from sampan.kernel.dbus_wire import pack, split_signature, unpack


@pytest.mark.parametrize(
    ("signature", "values", "wire"),
    [
        ("u", (1,), "01000000"),
        ("yu", (1, 2), "01000000 02000000"),
        ("s", ("ab",), "02000000 616200"),
        ("b", (True,), "01000000"),
        ("at", ([],), "00000000 00000000"),
        ("at", ([1],), "08000000 00000000 0100000000000000"),
        ("v", (("s", "a"),), "017300 00 01000000 6100"),
    ],
)
def test_known_bytes(signature: str, values: tuple[object, ...], wire: str) -> None:
    assert pack(signature, values).hex() == wire.replace(" ", "")
    assert unpack(signature, bytes.fromhex(wire)) == values


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        ("ssa(sv)a(sa(sv))", ("n", "replace", [("A", ("t", 5)), ("B", ("au", [1, 2]))], [])),
        ("bayg", (True, [1, 2, 3], "a{sv}")),
        ("a{sv}", ([("x", ("a(ss)", [("/dev/char/1:3", "rw")]))],)),
        ("nqixtd", (-1, 65535, -5, -(2**40), 2**64 - 1, 0.5)),
    ],
)
def test_what_was_packed_is_unpacked(signature: str, values: tuple[object, ...]) -> None:
    assert unpack(signature, pack(signature, values)) == values


def test_signatures_are_split() -> None:
    assert split_signature("sa(sv)ua{s(ii)}") == ["s", "a(sv)", "u", "a{s(ii)}"]


@pytest.mark.parametrize("signature", ["a", "()", "(s", "z", "a" * 40 + "s"])
def test_wrong_signatures(signature: str) -> None:
    with pytest.raises(InvalidArgument, match="signature"):
        split_signature(signature)


@pytest.mark.parametrize(
    ("signature", "wire"),
    [("u", "0100"), ("s", "ff000000 61"), ("at", "ff000000"), ("v", "0273"), ("s", "02000000 ffff00")],
)
def test_broken_bodies_are_refused(signature: str, wire: str) -> None:
    with pytest.raises(InvalidArgument):
        unpack(signature, bytes.fromhex(wire))


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("unix:path=/run/bus", "/run/bus"),
        ("unix:abstract=x;unix:guid=1,path=/a%20b", "/a b"),
        ("tcp:host=x", ""),
        ("", ""),
    ],
)
def test_addresses(address: str, path: str) -> None:
    assert socket_path(address) == path


def _read_message(sock: socket.socket) -> int:
    """Read one call and return its serial number."""
    head = sock.recv(16, socket.MSG_WAITALL)
    body, serial, fields = (int.from_bytes(head[place : place + 4], "little") for place in (4, 8, 12))
    sock.recv(fields + -(16 + fields) % 8 + body, socket.MSG_WAITALL)
    return serial


def _message(kind: int, fields: list[object], signature: str = "", values: tuple[object, ...] = ()) -> bytes:
    body = pack(signature, values)
    if signature:
        fields = [*fields, (8, ("g", signature))]
    header = pack("yyyyuua(yv)", (ord("l"), kind, 0, 1, len(body), 7, fields))
    return header + bytes(-len(header) % 8) + body


@contextmanager
def peer(
    folder: Path, *answers: bytes, greeting: bytes = b"OK abc\r\n", silent: bool = False
) -> Iterator[str]:
    """Serve one connection: answer each call with the next answer; the first call's serial number is 1.

    silent: no more answers, and the connection stays open until the client closes it.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "bus"))
    listener.listen()
    seen: list[bytes] = []

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            wanted = b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\nBEGIN\r\n"
            seen.append(sock.recv(len(wanted), socket.MSG_WAITALL))
            assert seen[0] == wanted
            sock.sendall(greeting)
            for answer in answers:
                _read_message(sock)
                sock.sendall(answer)
            if silent:
                while sock.recv(65536):
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield str(folder / "bus")
    finally:
        thread.join(10)
        listener.close()


TARGET = ("org.example", "/org/example", "org.example.Thing")


def test_a_signal_that_comes_before_the_answer_is_kept(tmp_path: Path) -> None:
    signals = [_message(4, [(3, ("s", "Done"))], "u", (number,)) for number in (1, 2)]
    answer = _message(2, [(5, ("u", 1))], "o", ("/job/2",))
    with peer(tmp_path, signals[0] + signals[1] + answer) as path:
        connection = Connection(path, bus=False)
        try:
            assert connection.call(TARGET, "Start", "s", ("x",)) == ("/job/2",)
            assert connection.wait_signal("Done", lambda values: values == (2,)) == (2,)
        finally:
            connection.close()


def test_an_error_has_its_name(tmp_path: Path) -> None:
    with peer(tmp_path, _message(3, [(4, ("s", "org.example.No")), (5, ("u", 1))], "s", ("not so",))) as path:
        connection = Connection(path, bus=False)
        with pytest.raises(BusError, match="not so") as caught:
            connection.call(TARGET, "Start")
        connection.close()
    assert caught.value.name == "org.example.No"


def test_a_peer_that_hangs_up(tmp_path: Path) -> None:
    with peer(tmp_path) as path:
        connection = Connection(path, bus=False)
        with pytest.raises(OSError, match=r"closed|Broken pipe|reset"):
            connection.call(TARGET, "Start")
        connection.close()


def test_a_peer_that_refuses_us(tmp_path: Path) -> None:
    with (
        peer(tmp_path, greeting=b"REJECTED EXTERNAL\r\n") as path,
        pytest.raises(PermissionError, match="REJ"),
    ):
        Connection(path, bus=False)


def test_a_peer_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbus, "TIMEOUT_S", 0.05)
    with peer(tmp_path, silent=True) as path:
        connection = Connection(path, bus=False)
        with pytest.raises(TimeoutError, match="no answer within"):
            connection.call(TARGET, "Start")
        connection.close()
