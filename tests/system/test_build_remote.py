"""ADD of URLs and git repositories, and contexts that are such, from servers on loopback."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which

import docker
import pytest
from tests.system.build_kit import connect
from tests.system.registry_kit import free_port
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]
needs_git = pytest.mark.skipif(which("git") is None, reason="no git (Debian: git)")
SSHD = "/usr/sbin/sshd"
MODIFIED = "Sat, 01 Jan 2022 00:00:00 GMT"


@dataclass
class Web:
    """Files by path, and what was asked for: path and condition."""

    files: dict[str, bytes] = field(default_factory=dict)
    etags: bool = True
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    port: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


def answer(web: Web, request: BaseHTTPRequestHandler) -> None:
    path = request.path.partition("?")[0]
    content = web.files.get(path)
    condition = request.headers.get("If-None-Match") or request.headers.get("If-Modified-Since") or ""
    tag = f'"{hashlib.sha256(content).hexdigest()[:8]}"' if content is not None and web.etags else ""
    if path == "/moved":
        request.send_response(302)
        request.send_header("Location", "/file")
        status = 302
    elif content is None:
        request.send_response(404)
        status = 404
    else:
        status = 304 if condition and condition in (tag, MODIFIED) else 200
        request.send_response(status)
        request.send_header("Last-Modified", MODIFIED)
        if tag:
            request.send_header("ETag", tag)
        request.send_header("Content-Length", str(len(content) if status == 200 else 0))
    web.asked.append((path, condition, status))
    request.end_headers()
    if status == 200 and content is not None:
        request.wfile.write(content)


@contextmanager
def serve_web() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(web, self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        web.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def web() -> Iterator[Web]:
    with serve_web() as running:
        running.files["/file"] = b"content\n"
        yield running


def build(sampand: Sampand, folder: Path, text: str, *options: str) -> Result:
    (folder / "Dockerfile").write_text(f"FROM busybox\n{text}\n")
    return sampand.sampan("build", *options, str(folder))


SHOW = "stat -c '%n %a %u %Y'"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param("ADD {file} /d/", "/d/file 600 0 1640995200", id="name from the URL"),
        pytest.param("ADD {file} /named", "/named 600 0 1640995200", id="name from the destination"),
        pytest.param("RUN mkdir /d\nADD {file} /d", "/d/file 600 0 1640995200", id="into a directory"),
        pytest.param("ADD --chmod=755 --chown=7 {file} /d/", "/d/file 755 7 1640995200", id="mode and owner"),
        pytest.param("ADD {file}?query /d/", "/d/file 600 0 1640995200", id="query is no part of the name"),
        pytest.param("ADD {moved} /d/x", "/d/x 600 0 1640995200", id="moved"),
        pytest.param("ADD {archive} /d/", "/d/x.tar 600 0 1640995200", id="archive stays one"),
        pytest.param("ADD --unpack=true {archive} /d/", "/d/in 640 0 1", id="archive unpacked"),
        pytest.param("ADD Dockerfile {file} /d/", "/d/file 600 0 1640995200", id="beside a local file"),
    ],
)
def test_add(sampand: Sampand, tmp_path: Path, web: Web, line: str, shown: str) -> None:
    web.files["/x.tar"] = archive({"in": b"x"})
    line = line.format(file=web.url("/file"), moved=web.url("/moved"), archive=web.url("/x.tar"))
    done = build(sampand, tmp_path, f"{line}\nRUN {SHOW} {shown.split()[0]} # {line}")
    assert done.code == 0, done.err
    assert f"{shown}\n" in done.out.decode()


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(content), 0o640, 1
            made.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("etags", [True, False], ids=["ETag", "Last-Modified"])
def test_asked_again_only_if_changed(sampand: Sampand, tmp_path: Path, web: Web, etags: bool) -> None:
    web.etags = etags
    text = f"ADD {web.url('/file')} /d/"
    assert build(sampand, tmp_path, text).code == 0
    again = build(sampand, tmp_path, text)
    assert again.out.count(b"Using cache") == 1
    assert [status for _, _, status in web.asked] == [200, 304]
    web.files["/file"] = b"other\n"
    if etags:
        assert build(sampand, tmp_path, text).out.count(b"Using cache") == 0


def test_checksum(sampand: Sampand, tmp_path: Path, web: Web) -> None:
    right = hashlib.sha256(web.files["/file"]).hexdigest()
    text = "ADD --checksum=sha256:{} {} /d/"
    wrong = build(sampand, tmp_path, text.format("0" * 64, web.url("/file")))
    assert wrong.code == 1
    assert f"digest mismatch sha256:{right}" in wrong.err
    web.asked.clear()
    done = build(sampand, tmp_path, text.format(right, web.url("/file")))
    assert done.code == 0, done.err
    assert web.asked == []  # it is here, and is what is wanted


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("ADD {url}/none /d/", "404"),
        ("ADD {url}/ /d/", "cannot determine filename for url"),
        ("ADD --checksum=x {url}/file /d/", "invalid checksum 'x'"),
        ("ADD --checksum=sha256:0 {url}/file {url}/file /d/", "multiple sources"),
        ("ADD --checksum=sha256:0 Dockerfile /d/", "checksum requires"),
        ("ADD http://127.0.0.1:1/x /d/", "Connection refused"),
    ],
)
def test_what_cannot_be_added(sampand: Sampand, tmp_path: Path, web: Web, line: str, match: str) -> None:
    done = build(sampand, tmp_path, line.format(url=web.url("")))
    assert done.code == 1
    assert match in done.err


def test_answer_that_breaks_off(sampand: Sampand, tmp_path: Path) -> None:
    class Short(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"short")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Short) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        done = build(sampand, tmp_path, f"ADD http://127.0.0.1:{server.server_port}/x /d/")
        server.shutdown()
        thread.join()
    assert done.code == 1
    assert "broke off" in done.err


def test_contexts_by_url(sampand: Sampand, tmp_path: Path, web: Web) -> None:
    web.files["/Dockerfile"] = b"FROM busybox\nRUN echo alone\n"
    web.files["/c.tar.gz"] = archive(
        {"Dockerfile": b"FROM busybox\nCOPY . /c/\nRUN ls -A /c\n", "f": b"", "g": b"", ".dockerignore": b"g"}
    )
    client = connect(sampand.host)
    alone = sampand.sampan("build", web.url("/Dockerfile"))
    assert alone.code == 0, alone.err
    assert b"alone\n" in alone.out
    whole = sampand.sampan("build", web.url("/c.tar.gz"))
    assert whole.code == 0, whole.err
    assert b"\n.dockerignore\nDockerfile\nf\n" in whole.out
    image, _ = client.images.build(path=web.url("/c.tar.gz"))
    assert image.id
    with pytest.raises(docker.errors.APIError, match="neither a URL nor a repository"):
        sampand_remote(client, "nothing")
    named = build(sampand, tmp_path, "COPY --from=c f /f", f"--build-context=c={web.url('/c.tar.gz')}")
    assert named.code == 0, named.err
    client.close()


def sampand_remote(client: docker.DockerClient, remote: str) -> None:
    answer = client.api._post(client.api._url("/build"), params={"remote": remote})
    client.api._raise_for_status(answer)


@dataclass
class Repository:
    """A repository served by git's own protocol."""

    url: str
    work: Path

    def git(self, *arguments: str) -> str:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(self.work)}
        done = subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@x", *arguments],
            cwd=self.work, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            path = self.work / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        self.git("add", ".")
        self.git("commit", "-q", "-m", "x")
        self.git("push", "-q", "--tags", "origin", "HEAD")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    base, work, port = tmp_path / "served", tmp_path / "work", free_port()
    base.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main", "--bare", base / "r.git"], check=True)
    work.mkdir()
    made = Repository(f"git://127.0.0.1:{port}/r.git", work)
    made.git("init", "-q", "-b", "main")
    made.git("remote", "add", "origin", str(base / "r.git"))
    server = subprocess.Popen(
        ["git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", "--export-all",
         f"--base-path={base}", str(base)],
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        made.commit(README="one", sub__f="sub\n", sub__Dockerfile="FROM busybox\nRUN echo from git\n")
        wait_for(lambda: subprocess.run(["git", "ls-remote", made.url], capture_output=True).returncode == 0,
                 "git daemon answers")  # fmt: skip
        yield made
    finally:
        os.killpg(server.pid, 15)
        server.wait()


@needs_git
def test_repositories(sampand: Sampand, tmp_path: Path, repository: Repository) -> None:
    context = tmp_path / "context"
    context.mkdir()
    first = repository.git("rev-parse", "HEAD")
    list_ = "RUN cd /r && find . | sort && stat -c %a:%u README"
    text = f"ADD {repository.url} /r\n{list_}"
    done = build(sampand, context, text)
    assert done.code == 0, done.err
    assert b".\n./README\n./sub\n./sub/Dockerfile\n./sub/f\n644:0\n" in done.out
    assert build(sampand, context, text).out.count(b"Using cache") == 2
    repository.git("tag", "-a", "-m", "x", "v1")
    second = repository.commit(README="two")
    assert build(sampand, context, text).out.count(b"Using cache") == 0
    for ref, wanted in (("v1", "one"), ("main", "two"), (first, "one"), (f"{second}:sub", "sub")):
        cat = "cat /r/f" if ref.endswith(":sub") else "cat /r/README"
        done = build(sampand, context, f"ADD {repository.url}#{ref} /r/\nRUN {cat}; echo # {ref}")
        assert done.code == 0, done.err
        assert f"{wanted}\n" in done.out.decode()
    kept = build(sampand, context, f"ADD --keep-git-dir=true {repository.url} /r\nRUN ls -A /r")
    assert b"\n.git\n" in kept.out
    checked = build(sampand, context, f"ADD --checksum={second[:12]} {repository.url} /r")
    assert checked.code == 0, checked.err
    for line, match in (
        (f"ADD --checksum={first} {repository.url} /r", "expected checksum to match"),
        (f"ADD {repository.url}#nowhere /r", "does not contain ref nowhere"),
        (f"ADD {repository.url}#main:none /r", "has no folder 'none'"),
        (f"ADD {repository.url}#--upload-pack=x /r", "is no git repository"),
    ):
        done = build(sampand, context, line)
        assert done.code == 1
        assert match in done.err


@needs_git
def test_context_of_a_repository(sampand: Sampand, repository: Repository) -> None:
    done = sampand.sampan("build", f"{repository.url}#main:sub")
    assert done.code == 0, done.err
    assert b"from git\n" in done.out


@needs_git
def test_submodules_and_links(sampand: Sampand, tmp_path: Path, repository: Repository) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (repository.work / "out").symlink_to("/etc")
    repository.commit(x="x")
    done = build(sampand, context, f"ADD {repository.url}#main:out /r")
    assert done.code == 1
    assert "has no folder 'out'" in done.err
    done = build(sampand, context, f"ADD {repository.url} /r\nRUN readlink /r/out")
    assert b"/etc\n" in done.out


@needs_git
def test_submodules(sampand: Sampand, tmp_path: Path, repository: Repository) -> None:
    """One by an address of its own, one beside the repository; both are fetched with it."""
    served = tmp_path / "served"
    for name in ("own", "beside"):
        shutil.copytree(served / "r.git", served / f"{name}.git")
    base = repository.url.rpartition("/")[0]
    repository.git("remote", "set-url", "origin", repository.url)
    repository.git("submodule", "add", "-q", f"{base}/own.git", "own")
    repository.git("submodule", "add", "-q", "../beside.git", "beside")
    repository.git("remote", "set-url", "origin", str(served / "r.git"))
    repository.commit(more="x")
    (tmp_path / "context").mkdir()
    script = "RUN cat /r/own/README /r/beside/README"
    done = build(sampand, tmp_path / "context", f"ADD {repository.url} /r\n{script}")
    assert done.code == 0, done.err
    assert b"oneone" in done.out


class InNamespaces(Sampand):
    """A sampand that sees other known hosts of ssh than the machine."""

    def command(self) -> list[str]:
        script = 'mount -t tmpfs none /etc/ssh && cp "$0" /etc/ssh/ssh_known_hosts && exec "$@"'
        return ["unshare", "-m", "sh", "-c", script, str(self.folder.parent / "known")]


@contextmanager
def ssh_server(folder: Path) -> Iterator[tuple[int, Path]]:
    """Run an sshd of ours on loopback; gives its port, and the key that it lets in as root."""
    port, host_key, key = free_port(), folder / "host", folder / "key"
    for one in (host_key, key):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", one], check=True)
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nAuthorizedKeysFile {key}.pub\n"
        "StrictModes no\nPermitRootLogin prohibit-password\nUsePAM no\nPidFile none\n"
    )
    kind, public = host_key.with_suffix(".pub").read_text().split()[:2]
    (folder / "known").write_text(f"[127.0.0.1]:{port} {kind} {public}\n")
    script = 'mkdir -p /run/sshd && exec "$0" -D -e -f "$1"'
    server = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none /run && {script}", SSHD, folder / "config"],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield port, key
    finally:
        os.killpg(server.pid, 15)
        server.wait()


@needs_git
@pytest.mark.skipif(not os.path.exists(SSHD), reason="no sshd (Debian: openssh-server)")
def test_ssh(tmp_path: Path, repository: Repository) -> None:
    (tmp_path / "context").mkdir()
    with ssh_server(tmp_path) as (port, key):
        url = f"ssh://root@127.0.0.1:{port}{tmp_path}/served/r.git"
        (tmp_path / "daemon").mkdir()
        daemon = InNamespaces(tmp_path / "daemon")
        try:
            daemon.start()
            daemon.load_busybox()
            text = f"FROM busybox\nADD {url} /r\nRUN cat /r/README\n"
            (tmp_path / "context" / "Dockerfile").write_text(text)
            reached = wait_for(
                lambda: (
                    (done := daemon.sampan("build", f"--ssh=default={key}", str(tmp_path / "context"))).code
                    == 0
                    and done
                ),
                "sshd answers",
            )
            assert b"one" in reached.out
            sub = daemon.sampan("build", f"--ssh=default={key}", f"{url}#main:sub")
            assert b"from git" in sub.out, sub.err
            none = daemon.sampan("build", f"{url}#main")
            assert none.code == 1
            assert "Permission denied" in none.err
            (tmp_path / "known").write_text("")
            daemon.stop()
            daemon.start()
            unknown = daemon.sampan("build", f"--ssh=default={key}", f"{url}#main")
            assert "Host key verification failed" in unknown.err
        finally:
            daemon.close()
