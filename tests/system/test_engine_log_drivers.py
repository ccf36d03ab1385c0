"""Log drivers of real containers: what arrives where, what `logs` gives back, what a dead target does."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.engine_kit import Box, wait_until
from tests.system.log_servers import make_certificate, serve

from sampan.engine.types import LogEntry, LogRequest
from sampan.errors import InvalidArgument, SampanError, Unsupported
from sampan.spec import docker


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("engine")
    box = Box(folder, journal_socket=f"{folder}/journal").load_busybox()
    try:
        yield box
    finally:
        box.close()


def log(driver: str, **options: str) -> dict[str, docker.LogConfig]:
    config = {key.replace("_", "-"): value for key, value in options.items()}
    return {"LogConfig": docker.LogConfig(Type=driver, Config=config)}


TALK = ("sh", "-c", "echo out; echo err >&2; head -c 40000 /dev/zero | tr '\\0' x; echo")
LONG = b"x" * 40_000 + b"\n"


def test_local_is_read_back(box: Box) -> None:
    done = box.run("sh", "-c", "seq 1 60000; printf '\\377'; exit 3", host=log("local", tag="{{.Name}}"))
    assert done.code == 3
    want = b"".join(b"%d\n" % number for number in range(1, 60001)) + b"\xff"
    assert box.log_text(done.id) == want
    assert box.log_text(done.id, tail=3) == b"59999\n60000\n\xff"
    name = box.engine.containers.inspect(done.id).Name.removeprefix("/")
    assert box.log(done.id, tail=1, details=True)[0].data == f"tag={name} ".encode() + b"\xff"
    assert box.engine.containers.inspect(done.id).LogPath == ""


@pytest.mark.parametrize("driver", ["json-file", "local"])
@pytest.mark.parametrize("mode", ["blocking", "non-blocking"])
def test_labels_and_variables(box: Box, driver: str, mode: str) -> None:
    options = {"labels": "a.b", "env": "X", "tag": "{{.ImageName}}", "mode": mode}
    host = {"LogConfig": docker.LogConfig(Type=driver, Config=options)}
    done = box.run("echo", "hi", host=host, Labels={"a.b": "1 2"}, Env=["X=y"])
    assert [entry.data for entry in box.log(done.id, details=True)] == [b"X=y,a.b=1+2,tag=busybox hi\n"]


@pytest.mark.parametrize("kind", ["unix", "unixgram", "udp", "tcp", "tcp+tls"])
def test_syslog(box: Box, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sock" if kind.startswith("unix") else None
    context = make_certificate(tmp_path) if kind == "tcp+tls" else None
    with serve(kind, path, context) as server:
        host = "127.0.0.1" if kind == "udp" else "localhost"  # which may be ::1 too, first; udp cannot tell
        address = f"{kind}://{path}" if path else f"{kind}://{host}:{server.port}"
        options = {"syslog_address": address, "syslog_facility": "local0", "tag": "t-{{.Name}}"}
        if context is not None:
            options |= {"syslog_format": "rfc5424micro", "syslog_tls_ca_cert": str(tmp_path / "cert.pem")}
        done = box.run(*TALK, host=log("syslog", **options))
        wait_until(lambda: server.text.count(b"x") >= 40_000, "everything has arrived")
    name = box.engine.containers.inspect(done.id).Name.removeprefix("/")
    if context is None:
        head = rf"<13%d>\w\w\w [ \d]\d \d\d:\d\d:\d\d t-{name}\[\d+\]: %s\n"
    else:
        stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
        head = rf"\d+ <13%d>1 {stamp} \S+ t-{name} \d+ t-{name} - %s\n"
    text = server.text.decode()
    for severity, said in ((4, "out"), (1, "err")):
        assert re.search(head % (2 + severity if severity == 4 else 1, said), text) or re.search(
            head.replace("<13%d>", "<%d>") % (128 + (6 if said == "out" else 3), said), text
        ), text[:500]
    assert text.count("x" * 16384) == 2
    assert box.log_text(done.id, stderr=False) == b"out\n" + LONG


def test_syslog_that_nobody_serves(box: Box) -> None:
    with pytest.raises(SampanError, match=r"failed to initialize logging driver: dial tcp 127\.0\.0\.1:1"):
        box.start("true", host=log("syslog", syslog_address="tcp://127.0.0.1:1"))
    with pytest.raises(InvalidArgument, match="syslog-address should be in form"):
        box.create("true", host=log("syslog", syslog_address="tcp"))


def test_syslog_server_that_dies_and_comes_back(box: Box, tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with serve("unix", path):
        container = box.start("cat", OpenStdin=True, host=log("syslog", syslog_address=f"unix://{path}"))
    with box.attach(container, stdin=True) as client:
        for number in range(20):  # nobody is there: the container goes on
            client.sendall(b"away %d\n" % number * 5000)
            wait_until(lambda n=number: box.log_text(container).count(b"away %d\n" % n) == 5000, "it goes on")
            while select.select([client], [], [], 0)[0]:
                client.recv(1 << 20)
        with serve("unix", path) as server:
            wait_until(lambda: b"away 0\n" in server.text, "what had waited arrives")
            client.sendall(b"back\n")
            wait_until(lambda: b"back\n" in server.text, "it is connected again")
        box.engine.containers.kill(container)


def test_journald(box: Box) -> None:
    with serve("unixgram", box.folder / "journal") as server:
        options = {"labels": "a.b", "tag": "{{.Name}}"}
        done = box.run(*TALK, host=log("journald", **options), Labels={"a.b": "1"})
        wait_until(lambda: server.text.count(b"x") >= 40_000, "everything has arrived")
    first = next(packet for packet in server.packets if b"MESSAGE=out\n" in packet)
    second = next(packet for packet in server.packets if b"MESSAGE=err\n" in packet)
    name = box.engine.containers.inspect(done.id).Name.removeprefix("/").encode()
    assert b"PRIORITY=6\n" in first
    assert b"PRIORITY=3\n" in second
    assert b"CONTAINER_ID_FULL=" + done.id.encode() in first
    assert b"CONTAINER_NAME=" + name in first
    assert b"SYSLOG_IDENTIFIER=" + name in first
    assert b"A_B=1\n" in first
    parts = [packet for packet in server.packets if b"CONTAINER_PARTIAL_ID=" in packet]
    assert len(parts) == 3
    assert b"CONTAINER_PARTIAL_LAST=true" in parts[-1]
    assert b"CONTAINER_PARTIAL_MESSAGE=true" in parts[0]
    assert box.log_text(done.id, stderr=False) == b"out\n" + LONG
    with pytest.raises(SampanError, match="journald is not enabled on this host"):
        box.start("true", host=log("journald"))


def test_reading_without_a_cache(box: Box) -> None:
    with serve("unixgram", box.folder / "journal"):
        done = box.run("echo", "hi", host=log("journald", cache_disabled="true"))
    with pytest.raises(Unsupported, match="configured logging driver does not support reading"):
        box.log(done.id)


def test_slow_target_holds_the_container_up_only_if_blocking(box: Box, tmp_path: Path) -> None:
    import socket

    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()  # and reads nothing
        address = {"syslog_address": f"unix://{path}", "cache_disabled": "true"}
        script = (
            "sh",
            "-c",
            "yes 0123456789012345678901234567890123456789 | head -c 20000000; echo done >&2",
        )
        free = box.run(*script, host=log("syslog", mode="non-blocking", max_buffer_size="64k", **address))
        assert free.stderr == b"done\n"
        held = box.start(*script, host=log("syslog", **address))
        with box.attach(held, stdout=False) as client:
            assert not select.select([client], [], [], 1.0)[0]
            assert box.engine.containers.inspect(held).State.Running
            began = time.monotonic()
            box.engine.containers.kill(held)
            assert time.monotonic() - began < 10


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_clear_while_it_runs(box: Box, driver: str) -> None:
    container = box.start("cat", OpenStdin=True, host=log(driver, max_size="20k", max_file="100"))
    got: list[LogEntry] = []
    with (
        box.attach(container, stdin=True) as client,
        box.engine.containers.logs(container, LogRequest(follow=True)) as reader,
    ):
        client.sendall(b"before\n" * 2000)
        wait_until(lambda: got.extend(reader.read_available()) or len(got) == 2000, "2,000 lines are there")
        box.engine.containers.clear_log(container)
        assert box.log(container) == []
        client.sendall(b"after\n")
        wait_until(lambda: got.extend(reader.read_available()) or got[-1].data == b"after\n", "it follows on")
        assert box.log(container) == [LogEntry(1, b"after\n")]
        box.engine.containers.kill(container)
    box.engine.containers.clear_log(container)
    assert box.log(container) == []
    box.engine.containers.start(container)
    with box.attach(container, stdin=True) as client:
        client.sendall(b"again\n")
        wait_until(lambda: box.log_text(container) == b"again\n", "it logs again")
        box.engine.containers.kill(container)


def test_follow_until_a_time(box: Box) -> None:
    container = box.start("sleep", "100")
    until = time.time_ns() + 300_000_000
    with box.engine.containers.logs(container, LogRequest(follow=True, until_ns=until)) as reader:
        assert 0 < (reader.remaining_s or 0) <= 0.3
        assert not reader.finished
        wait_until(lambda: reader.read_available() == [] and reader.finished, "its time comes")
    box.engine.containers.kill(container)
