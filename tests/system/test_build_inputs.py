"""Secrets, SSH agents, named contexts and contexts in place, by the `sampan` command."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which

import pytest
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]
SECRET = "do-not-tell-anybody-8471"


def build(sampand: Sampand, folder: Path, text: str, *options: str) -> Result:
    (folder / "Dockerfile").write_text(text)
    return sampand.sampan("build", *options, str(folder))


def layers_of(sampand: Sampand, name: str) -> bytes:
    """Return an image as `save` gives it: its layers, history and configuration."""
    return sampand.docker("save", name).out


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    return file


def test_secret_is_seen_and_not_kept(sampand: Sampand, tmp_path: Path, secret: Path) -> None:
    folder = tmp_path / "context"
    folder.mkdir()
    text = (
        "FROM busybox\n"
        "RUN --mount=type=secret,id=s stat -c '%a %u' /run/secrets/s && wc -c < /run/secrets/s\n"
        "RUN --mount=type=secret,id=s,target=/etc/s,mode=0444,uid=3,gid=4 stat -c '%a %u %g' /etc/s\n"
        "RUN --mount=type=secret,id=s,env=TOKEN test ${#TOKEN} = 24 && test ! -e /run/secrets/s\n"
        "RUN test ! -e /run/secrets && test ! -e /etc/s && test -z $TOKEN\n"
    )
    done = build(sampand, folder, text, f"--secret=id=s,src={secret}", "-t", "kept")
    assert done.code == 0, done.err
    assert b"400 0\n24\n" in done.out
    assert b"444 3 4\n" in done.out
    assert SECRET.encode() not in layers_of(sampand, "kept")
    assert SECRET not in sampand.log.read_text()
    for place in (sampand.data, sampand.run):
        found = subprocess.run(["grep", "-rl", SECRET, place], capture_output=True, text=True, check=False)
        assert found.stdout == ""
    secret.write_text("another")
    again = build(sampand, folder, text, f"--secret=id=s,src={secret}")
    assert again.out.count(b"Using cache") == 4  # a secret is in no key


def test_secret_from_the_environment(sampand: Sampand, tmp_path: Path) -> None:
    sampand.environment["GIVEN"] = "value"
    text = "FROM busybox\nRUN --mount=type=secret,id=v,required=true cat /run/secrets/v\n"
    done = build(sampand, tmp_path, text, "--secret=id=v,env=GIVEN")
    assert done.code == 0, done.err
    assert b"value" in done.out


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ((), "secret v: not found"),
        (("--secret=id=v,src=/none",), "secret v: /none: No such file"),
        (("--secret=src=/none",), "write id=NAME"),
        (("--secret=id=v,what=x",), "'what=x' is none of id, src"),
        (("--secret=id=v,env=UNSET_HERE",), "environment variable UNSET_HERE is not set"),
    ],
)
def test_secrets_that_are_not_there(
    sampand: Sampand, tmp_path: Path, option: tuple[str, ...], match: str
) -> None:
    text = "FROM busybox\nRUN --mount=type=secret,id=v,required=true cat /run/secrets/v; echo absent\n"
    done = build(sampand, tmp_path, text, *option)
    assert done.code != 0
    assert re.search(match, done.err), done.err


def test_secret_that_is_not_required(sampand: Sampand, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN --mount=type=secret,id=absent test ! -e /run/secrets/absent\n"
    assert build(sampand, tmp_path, text).code == 0


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """Something that answers like an agent: the reversed request."""
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    while data := connection.recv(100):
                        connection.sendall(data[::-1])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


Build = Callable[..., Result]


class StepWithAgent:
    """A build whose step waits with its agent's socket mounted; `ask` talks to the agent through it."""

    def __init__(
        self, sampand: Sampand, folder: Path, mount: str, *options: str, build: Build = build
    ) -> None:
        self.sampand = sampand
        self.id = folder.parent.name  # of a cache mount of this test's own, by which the step is let go
        text = (
            "FROM busybox\n"
            f"RUN --mount=type=cache,id={self.id},target=/s --mount={mount} "
            "stat -c '%a %F' $SSH_AUTH_SOCK; touch /s/up; until test -e /s/go; do usleep 20000; done\n"
            "RUN test -z $SSH_AUTH_SOCK && test ! -e /run/buildkit\n"
        )
        self.done: list[Result] = []
        self.thread = threading.Thread(
            target=lambda: self.done.append(build(sampand, folder, text, *options))
        )

    def __enter__(self) -> StepWithAgent:
        self.thread.start()
        wait_for(lambda: self.signal("up") is not None, "the step runs")
        return self

    def signal(self, name: str) -> Path | None:
        folder = self.sampand.data / "build-cache" / hashlib.sha256(self.id.encode()).hexdigest()[:32]
        return folder / name if (folder / "up").exists() else None

    def ask(self, request: bytes, size: int) -> bytes:
        (path,) = (self.sampand.run / "build").glob("*/*")
        with socket.socket(socket.AF_UNIX) as connection:
            with SocketFolder(path.parent) as folder:
                connection.connect(f"{folder}/{path.name}")
            connection.sendall(request)
            found = b""
            while len(found) < size and (piece := connection.recv(size)):
                found += piece
            return found

    def __exit__(self, *_error: object) -> None:
        go = self.signal("go")
        assert go is not None
        go.touch()
        self.thread.join()
        assert self.done[0].code == 0, self.done[0].err
        assert "600 socket\n" in self.done[0].out.decode() + self.done[0].err
        assert list((self.sampand.run / "build").iterdir()) == []


class SocketFolder:
    """A folder under a short name, as addresses of sockets are short."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> str:
        self.fd = os.open(self.path, os.O_PATH)
        return f"/proc/self/fd/{self.fd}"

    def __exit__(self, *_error: object) -> None:
        os.close(self.fd)


def test_agent_of_the_client(sampand: Sampand, tmp_path: Path, agent: str) -> None:
    context = tmp_path / "context"
    context.mkdir()
    with StepWithAgent(sampand, context, "type=ssh", f"--ssh=default={agent}") as step:
        assert step.ask(b"abc", 3) == b"cba"
        assert step.ask(b"def", 3) == b"fed"
    text = "FROM busybox\nRUN --mount=type=ssh,required=true true\n"
    done = build(sampand, context, text)
    assert done.code == 1
    assert "ssh agent default: not found" in done.err


@pytest.mark.skipif(which("ssh-agent") is None, reason="no ssh-agent (Debian: openssh-client)")
def test_key_has_an_agent_of_its_own(sampand: Sampand, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    context = tmp_path / "context"
    context.mkdir()
    with StepWithAgent(sampand, context, "type=ssh,id=own", f"--ssh=own={key}") as step:
        # SSH_AGENTC_REQUEST_IDENTITIES (11) is answered by 12 and the number of keys
        assert step.ask(b"\0\0\0\1\x0b", 9)[4:] == b"\x0c\0\0\0\1"


def test_named_contexts(sampand: Sampand, tmp_path: Path) -> None:
    context, other = tmp_path / "context", tmp_path / "other"
    context.mkdir()
    (other / "sub").mkdir(parents=True)
    (other / "sub" / "f").write_text("other\n")
    (other / "left-out").write_text("x")
    (other / ".dockerignore").write_text("left-out\n")
    text = (
        "FROM absent AS one\nRUN false\n"
        "FROM scratch AS files\nCOPY --from=other / /o/\n"
        "FROM one\nCOPY --from=files /o /o\n"
        "RUN --mount=from=other,target=/m cat /m/sub/f && ls -A /o\n"
    )
    options = (f"--build-context=other={other}", "--build-context=one=docker-image://busybox")
    done = build(sampand, context, text, *options)
    assert done.code == 0, done.err
    assert b"other\n.dockerignore\nsub\n" in done.out
    text = "FROM other AS x\nFROM busybox\nRUN --mount=from=x,target=/m cat /m/sub/f\n"
    done = build(sampand, context, text, f"--build-context=other={other}")
    assert done.code == 0, done.err
    assert b"other\n" in done.out
    done = build(sampand, context, text, "--build-context=other=/none")
    assert "'/none' is no directory" in done.err


def test_context_is_read_in_place(sampand: Sampand, tmp_path: Path) -> None:
    (tmp_path / "d" / "deep").mkdir(parents=True)
    (tmp_path / "d" / "a").write_text("a")
    (tmp_path / "d" / "deep" / "b").write_text("b")
    (tmp_path / "d" / "deep" / "c").write_text("c")
    (tmp_path / "d" / "l").symlink_to("/etc/passwd")
    (tmp_path / "d" / "a").chmod(0o640)
    os.chown(tmp_path / "d" / "a", 5, 6)
    os.mkfifo(tmp_path / "d" / "pipe")
    (tmp_path / ".dockerignore").write_text("d/deep\n!d/deep/c\n")
    text = "FROM busybox\nCOPY d /d\nRUN cd /d && find . | sort && stat -c %a:%u:%g a && readlink l\n"
    done = build(sampand, tmp_path, text, "-t", "in-place")
    assert done.code == 0, done.err
    assert b".\n./a\n./deep\n./deep/c\n./l\n640:0:0\n/etc/passwd\n" in done.out
    again = build(sampand, tmp_path, text)
    assert again.out.count(b"Using cache") == 2
    (tmp_path / "d" / "deep" / "c").write_text("C")
    changed = build(sampand, tmp_path, text)
    assert changed.out.count(b"Using cache") == 0
    (tmp_path / "d" / "deep" / "c").write_text("c")
    assert build(sampand, tmp_path, text).out.count(b"Using cache") == 2


def test_in_place_and_sent_are_one(sampand: Sampand, tmp_path: Path) -> None:
    """The same directory by both ways is the same key: a build of docker's command hits ours."""
    (tmp_path / "f").write_text("f")
    (tmp_path / "l").symlink_to("f")
    text = "FROM busybox\nCOPY . /one/\nRUN date > /date\n"
    assert build(sampand, tmp_path, text).code == 0
    sampand.environment["DOCKER_BUILDKIT"] = "0"
    done = sampand.docker("build", str(tmp_path))
    assert done.out.count(b"Using cache") == 2, done.out


def test_dockerfiles_elsewhere(sampand: Sampand, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "f").write_text("here\n")
    file = tmp_path / "other"
    file.write_text("FROM busybox\nCOPY f /\nRUN cat /f\n")
    for options, stdin in (((f"-f={file}",), b""), (("-f", "-"), file.read_bytes())):
        done = sampand.sampan("build", "--no-cache", *options, str(context), stdin=stdin)
        assert done.code == 0, done.err
        assert b"here\n" in done.out
    done = sampand.sampan("build", "-", stdin=b"FROM busybox\nRUN echo from standard input\n")
    assert b"from standard input" in done.out


def test_sending_contexts(sampand: Sampand, tmp_path: Path, secret: Path) -> None:
    """Standard input is sent, whatever else the build needs."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("named\n")
    text = (
        b"FROM busybox\nCOPY --from=d f /\n"
        b"RUN --mount=type=secret,id=s,required=true wc -c < /run/secrets/s; cat f\n"
    )
    options = (f"--secret=id=s,src={secret}", f"--build-context=d={tmp_path}/d")
    done = sampand.sampan("build", *options, "-", stdin=text)
    assert done.code == 0, done.err
    assert b"24\nnamed\n" in done.out


def test_iidfile(sampand: Sampand, tmp_path: Path) -> None:
    done = build(sampand, tmp_path, "FROM busybox\n", "-q", f"--iidfile={tmp_path}/id")
    assert (tmp_path / "id").read_text() == done.text
    assert json.loads(sampand.docker("inspect", done.text).out)[0]["Id"] == done.text


def test_check(sampand: Sampand, tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("f\n")
    (tmp_path / "f").write_text("x")
    text = "# check=experimental=all\nFROM busybox\nCOPY f /f\nCMD x $y\nRUN false\n"
    done = build(sampand, tmp_path, text, "--check")
    assert done.code == 1, done.err
    shown = done.out.decode()
    assert shown.startswith(
        "Check complete, 2 warnings have been found!\n\nWARNING: CopyIgnoredFile - https://"
    )
    assert "   4 | >>> CMD x $y" in shown
    assert build(sampand, tmp_path, "FROM busybox\nRUN false\n", "--check").text == (
        "Check complete, no warnings found."
    )
    done = build(sampand, tmp_path, "FROM busybox\nRUNN\n", "--check")
    assert "did you mean RUN?" in done.err


def test_a_base_for_another_machine(sampand: Sampand, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "root.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("f"))
    done = sampand.docker("import", "--platform", "linux/s390x", str(tmp_path / "root.tar"), "foreign")
    assert done.code == 0, done.err
    said = 'Base image foreign was pulled with platform "linux/s390x", expected "linux/'
    done = build(sampand, tmp_path, "FROM foreign\nLABEL a=b\n", "--check")
    assert done.code == 1
    assert "InvalidBaseImagePlatform" in done.text
    assert said in done.text
    done = build(sampand, tmp_path, "FROM foreign\nLABEL a=b\n")
    assert f"[Warning] {said}" in done.text
    done = build(sampand, tmp_path, "FROM foreign\nRUN true\n")
    assert "cannot run programs for linux/s390x" in done.err


def test_a_description_that_is_too_deep_is_the_clients_fault(sampand: Sampand) -> None:
    for path in ("/sampan/v1/build", "/build?ulimits=" + "%5B" * 3000):
        status, _, answer = sampand.request("POST", path, raw=b'{"a":' * 100_000)
        assert status == 400, answer
