from __future__ import annotations

import errno
import os
from _socket import SOCK_SEQPACKET, SOCK_STREAM
from pathlib import Path

import pytest
from tests.kernel.harness import run_isolated

from sampan.kernel import sockets
from sampan.kernel.process import list_fds


def test_messages_keep_their_bounds_and_carry_descriptors() -> None:
    def inside() -> None:
        one, other = sockets.seqpacket_pair()
        files = [os.memfd_create(f"f{number}") for number in range(3)]
        sockets.send_message(one, b"first", files)
        sockets.send_message(one, b"second")
        data, fds = sockets.receive_message(other, max_fds=5)
        assert data == b"first"
        assert [os.fstat(fd).st_ino for fd in fds] == [os.fstat(fd).st_ino for fd in files]
        assert not any(os.get_inheritable(fd) for fd in fds)
        assert sockets.receive_message(other, max_fds=5) == (b"second", [])
        one.close()
        assert sockets.receive_message(other) == (b"", [])

    run_isolated(inside)


@pytest.mark.parametrize(("sent", "wanted"), [(1, 0), (3, 2), (4, 1), (253, 0)])
def test_too_many_descriptors_are_closed_and_an_error(sent: int, wanted: int) -> None:
    def inside() -> None:
        one, other = sockets.seqpacket_pair()
        fd = os.memfd_create("f")
        before = list_fds()
        sockets.send_message(one, b"x", [fd] * sent)
        with pytest.raises(OSError, match=f"or {wanted} descriptors") as caught:
            sockets.receive_message(other, max_fds=wanted)
        assert caught.value.errno == errno.EMSGSIZE
        assert list_fds() == before
        sockets.send_message(one, b"y", [fd])
        assert sockets.receive_message(other, max_fds=1)[0] == b"y"  # the next message is whole

    run_isolated(inside)


def test_a_message_longer_than_asked_for_is_an_error_and_its_descriptors_are_closed() -> None:
    def inside() -> None:
        one, other = sockets.seqpacket_pair()
        before = list_fds()
        sockets.send_message(one, b"x" * 11, [0])
        with pytest.raises(OSError, match="more than 10 bytes"):
            sockets.receive_message(other, max_fds=1, max_bytes=10)
        assert list_fds() == before

    run_isolated(inside)


def test_messages_of_every_size_come_whole() -> None:
    def inside() -> None:
        one, other = sockets.seqpacket_pair()
        for size in (1, 65535, 65536, 65537, 150000):
            data = os.urandom(size)
            sockets.send_message(one, data, [0])
            got, fds = sockets.receive_message(other, max_fds=1)
            assert (got == data, len(fds)) == (True, 1)

    run_isolated(inside)


def test_more_descriptors_than_a_message_takes() -> None:
    def inside() -> None:
        one, _ = sockets.seqpacket_pair()
        with pytest.raises(OSError, match="254 descriptors in one message, the kernel takes 253"):
            sockets.send_message(one, b"x", [0] * 254)

    run_isolated(inside)


def test_a_closed_end_is_an_error_without_a_signal() -> None:
    def inside() -> None:
        one, other = sockets.seqpacket_pair()
        other.close()
        with pytest.raises(BrokenPipeError):
            sockets.send_message(one, b"x")
        pair = sockets.seqpacket_pair()
        with pytest.raises(BlockingIOError):
            sockets.receive_message(pair[0], wait=False)
        with pytest.raises(OSError, match="Message too long"):
            sockets.send_message(pair[0], bytes(1 << 22))

    run_isolated(inside)


def test_a_long_stream_message_arrives_whole() -> None:
    def inside() -> None:
        from _socket import AF_UNIX, socketpair

        one, other = socketpair(AF_UNIX, SOCK_STREAM)
        data = os.urandom(1 << 20)
        pid = os.fork()
        if pid == 0:
            other.close()
            sockets.send_message(one, data, [0])
            os._exit(0)
        one.close()
        got, fds = sockets.receive_message(other, max_fds=1, max_bytes=1 << 20)
        assert len(fds) == 1
        while part := other.recv(1 << 20):
            got += part
        assert got == data
        os.waitpid(pid, 0)

    run_isolated(inside)


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_SEQPACKET], ids=["stream", "seqpacket"])
@pytest.mark.parametrize("how", ["short path", "long path", "descriptor"])
def test_listening_and_connecting(tmp_path: Path, kind: int, how: str) -> None:
    def inside() -> None:
        folder = tmp_path / ("deep" * 40) if how == "long path" else tmp_path
        folder.mkdir(exist_ok=True)
        place = os.open(folder, os.O_PATH) if how == "descriptor" else str(folder)
        before = list_fds()
        listener = sockets.listen_at(place, "api.sock", kind, mode=0o660)
        assert (folder / "api.sock").stat().st_mode & 0o7777 == 0o660
        client = sockets.connect_at(place, "api.sock", kind)
        server = sockets.accept(listener)
        assert not os.get_inheritable(server.fileno())
        sockets.send_message(client, b"hello")
        assert sockets.receive_message(server)[0] == b"hello"
        who = sockets.peer_credentials(server)
        assert (who.pid, who.uid, who.gid) == (os.getpid(), 0, 0)
        for sock in (client, server, listener):
            sock.close()
        assert list_fds() == before
        again = sockets.listen_at(place, "api.sock", kind)  # what was left under the name is replaced
        again.close()
        with pytest.raises(ConnectionRefusedError, match=r"api\.sock"):
            sockets.connect_at(place, "api.sock", kind)
        assert list_fds() == before

    run_isolated(inside)


def test_what_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(FileExistsError, match="something else than a socket"):
        sockets.listen_at(str(tmp_path), "file")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x"])
def test_names_that_are_no_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match="not a plain file name"):
        sockets.listen_at(str(tmp_path), name)


def test_a_name_too_long_even_so(tmp_path: Path) -> None:
    before = list_fds()
    with pytest.raises(OSError, match="File name too long") as caught:
        sockets.listen_at(str(tmp_path), "n" * 108)
    assert caught.value.errno == errno.ENAMETOOLONG
    with pytest.raises(FileNotFoundError):
        sockets.connect_at(str(tmp_path), "missing")
    assert list_fds() == before
