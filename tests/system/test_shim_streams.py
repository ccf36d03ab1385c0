"""Standard streams of real containers: exact bytes both ways, terminals, slow and vanishing clients."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.shim_kit import Box, Client, open_box, wait_until

from sampan.errors import Conflict
from sampan.runtime.launcher.client import Detached, Exited

MIB = 1 << 20


@pytest.fixture(scope="module")
def module_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with open_box(tmp_path_factory.mktemp("box")) as made:
        yield made


@pytest.fixture
def box(module_box: Box) -> Iterator[Box]:
    yield module_box
    module_box.tidy()


def noise(size: int) -> bytes:
    """Bytes of every value, without a period that a buffer's size could hide in."""
    block = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(1 + MIB // 32))
    return (block * (1 + size // len(block)))[:size]


def test_output_and_error_are_told_apart(box: Box) -> None:
    client = Client(framed=True)
    container = box.shell("echo out; echo err >&2; exit 3", client)
    assert client.outputs() == (b"out\n", b"err\n")
    assert container.wait().code == 3


def test_only_what_was_asked_for(box: Box) -> None:
    client = Client(framed=True, stdout=False, stderr=True)
    container = box.shell("echo out; echo err >&2", client)
    assert client.outputs() == (b"", b"err\n")
    container.wait()


def test_64_mib_through_cat_and_back(box: Box) -> None:
    data = noise(64 * MIB)
    client = Client(framed=True, stdin=True)
    container = box.start(["cat"], client, open_stdin=True, stdin_once=True, log={"enabled": False})

    def feed() -> None:
        client.send(data)
        client.end_input()

    feeder = threading.Thread(target=feed)
    feeder.start()
    out, err = client.outputs()
    feeder.join()
    assert container.wait().code == 0
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()
    assert err == b""


def test_input_ends_but_output_goes_on(box: Box) -> None:
    client = Client(framed=True, stdin=True)
    container = box.shell("cat; usleep 50000; echo later", client, open_stdin=True, stdin_once=True)
    client.send(b"typed\n")
    client.end_input()
    assert client.outputs()[0] == b"typed\nlater\n"
    container.wait()


def test_input_stays_open_for_the_next_client(box: Box) -> None:
    first = Client(framed=True, stdin=True)
    container = box.shell("read a; echo $a; read b; echo $b", first, open_stdin=True)
    first.send(b"one\n")
    first.read_until(b"one\n")
    first.close()
    assert container.next_event(Detached).reason == "gone"
    second = Client(framed=True, stdin=True)
    container.handle.attach(second.request)
    second.handed_over().send(b"two\n")
    assert second.outputs()[0] == b"two\n"
    assert container.wait().code == 0


def test_without_input_it_reads_null(box: Box) -> None:
    client = Client(framed=True, stdin=True)
    container = box.start(["cat"], client)
    assert client.outputs() == (b"", b"")
    assert container.wait().code == 0


def test_close_stdin(box: Box) -> None:
    container = box.start(["cat"], open_stdin=True)
    container.handle.close_stdin()
    assert container.wait().code == 0


def test_everybody_attached_gets_everything(box: Box) -> None:
    clients = [Client(framed=framed) for framed in (True, True, False)]
    container = box.shell("seq 1 1000", *clients)
    want = b"".join(b"%d\n" % number for number in range(1, 1001))
    assert [clients[0].outputs()[0], clients[1].outputs()[0], clients[2].read_all()] == [want] * 3
    assert {container.next_event(Detached).reason for _ in clients} == {"eof"}
    container.wait()


def test_terminal_and_resize(box: Box) -> None:
    client = Client(framed=False, stdin=True)
    container = box.shell(
        "stty size; head -n 1 >/dev/null; stty size",
        client,
        terminal=True,
        open_stdin=True,
        console_size=(11, 22),
    )
    assert client.read_until(b"11 22\r\n")
    container.handle.resize(33, 44)
    client.send(b"go\n")
    assert client.read_all().endswith(b"33 44\r\n")
    assert container.wait().code == 0


def test_interrupt_key_reaches_the_program(box: Box) -> None:
    client = Client(framed=False, stdin=True)
    script = "trap 'echo caught; exit 9' INT; echo ready; while :; do usleep 10000; done"
    container = box.shell(script, client, terminal=True, open_stdin=True)
    client.read_until(b"ready")
    client.send(b"\x03")
    assert b"caught" in client.read_all()
    assert container.wait().code == 9


def test_no_terminal_to_resize(box: Box) -> None:
    container = box.start(["sleep", "60"])
    with pytest.raises(Conflict, match="no terminal"):
        container.handle.resize(1, 1)
    container.kill()


def test_detach_keys(box: Box) -> None:
    client = Client(framed=False, stdin=True, keys=b"\x10\x11")
    container = box.start(["cat"], client, terminal=True, open_stdin=True)
    client.send(b"a\x10b\n")
    client.read_until(b"a^Pb\r\na\x10b\r\n")
    client.send(b"\x10")
    client.send(b"\x11 and this is not typed")
    assert client.read_all() == b""
    assert container.next_event(Detached) == Detached(attach_id=client.request.attach_id, reason="keys")
    container.handle.signal(0)  # it runs on
    container.kill()


def test_vanished_reader_does_not_hold_the_container(box: Box) -> None:
    client = Client(framed=True)
    container = box.shell("seq 1 2000000 | tail -n 1", client)
    client.close()
    assert container.wait().code == 0
    assert container.log_text() == "2000000\n"


def test_slow_reader_holds_the_container_and_gets_everything(box: Box) -> None:
    client = Client(framed=True)
    container = box.start(["seq", "1", "1000000"], client, log={"enabled": False})
    sleeps_in = Path(f"/proc/{container.handle.pid}/wchan")
    wait_until(lambda: "pipe" in sleeps_in.read_text(), "the writer waits for its reader")
    out, _ = client.outputs()
    want = b"".join(b"%d\n" % number for number in range(1, 1000001))
    assert hashlib.sha256(out).digest() == hashlib.sha256(want).digest()
    assert container.wait().code == 0


def test_reader_that_never_reads_does_not_hide_the_exit(box: Box) -> None:
    client = Client(framed=True)
    container = box.shell("dd if=/bin/busybox bs=1000 count=200 2>/dev/null; exit 4", client)
    assert container.next_event(Exited).code == 4
    assert len(client.outputs()[0]) == 200_000
    container.handle.release()
