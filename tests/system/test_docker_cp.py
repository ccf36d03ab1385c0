"""cp in every form: docker's client against dockerd and against us, and our own client; all must agree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench import engines
from tests.system.sampand import DOCKERS, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]

DOCKERD = Path("/usr/sbin/dockerd")
OLD_DOCKER = DOCKERS["docker 20.10"]
BOX = "box"


@dataclass(frozen=True)
class Client:
    """A cp command and the daemon it speaks to."""

    name: str
    command: tuple[str, ...]  # up to cp's own arguments
    daemon: tuple[str, ...]  # the daemon's client, for everything else

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.daemon, *arguments], capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout


@pytest.fixture(scope="module")
def clients() -> Iterator[list[Client]]:
    if not DOCKERD.exists() or not Path(OLD_DOCKER).exists():
        pytest.skip("dockerd is not installed (Debian: docker.io)")
    with ExitStack() as stack:
        root = stack.enter_context(engines.scratch(Path(tempfile.gettempdir())))
        ours = stack.enter_context(engines.sampan(root / "sampan"))
        theirs = stack.enter_context(engines.dockerd(root / "docker"))
        docker_here = (OLD_DOCKER, "-H", f"unix://{ours.socket}")
        found = [
            Client("docker with dockerd", theirs.client, theirs.client),
            Client("docker with sampand", docker_here, docker_here),
            Client("sampan with sampand", ours.client, docker_here),
        ]
        for client in found[:2]:
            client.run("run", "-d", "--network", "none", "--name", BOX, "busybox", "/bin/sleep", "1000")
        yield found
        for client in found[:2]:
            client.run("rm", "-f", BOX)


# Makes the tree that is copied from, in the container and here alike.
SETUP = """
set -e
rm -rf {0}; mkdir -p {0}/dir/sub {0}/there/old {0}/empty
echo one > {0}/file; echo two > {0}/dir/two; echo three > {0}/dir/sub/three; echo old > {0}/there/two
ln -s file {0}/link; ln -s dir {0}/dirlink; ln -s nowhere/x {0}/broken; ln -s there {0}/therelink
ln -s new {0}/tonew; ln {0}/file {0}/hard
chmod 600 {0}/file; chmod 4755 {0}/dir/two; mkfifo {0}/dir/pipe
"""

# cp's options and its two paths: C is the folder in the container, L the one here.
CASES: dict[str, Sequence[str]] = {
    "a file into a directory": ["C/file", "L/there"],
    "a file to a new name": ["C/file", "L/new"],
    "a file over a file": ["C/file", "L/dir/two"],
    "a file into a directory with a slash": ["C/file", "L/there/"],
    "a file to a new name with a slash": ["C/file", "L/new/"],
    "a file below nothing": ["C/file", "L/none/new"],
    "a directory into a directory": ["C/dir", "L/there"],
    "a directory to a new name": ["C/dir", "L/new"],
    "a directory to a new name with a slash": ["C/dir", "L/new/"],
    "a directory onto a file": ["C/dir", "L/file"],
    "the content of a directory into one": ["C/dir/.", "L/there"],
    "the content of a directory to a new name": ["C/dir/.", "L/new"],
    "the content of a directory onto a file": ["C/dir/.", "L/file"],
    "a directory with a slash": ["C/dir/", "L/there"],
    "a file with a slash": ["C/file/", "L/there"],
    "what is not there": ["C/none", "L/there"],
    "a link": ["C/link", "L/there"],
    "a link that is followed": ["-L", "C/link", "L/there"],
    "a link that is followed to a new name": ["-L", "C/link", "L/new"],
    "a link to a directory": ["C/dirlink", "L/there"],
    "a link to a directory with a slash": ["C/dirlink/", "L/there"],
    "a link to a directory and a dot": ["C/dirlink/.", "L/there"],
    "a link to a directory that is followed": ["-L", "C/dirlink", "L/there"],
    "a link to a directory that is followed, to a new name": ["-L", "C/dirlink", "L/new"],
    "a broken link": ["C/broken", "L/there"],
    "onto a link to a directory": ["C/file", "L/therelink"],
    "onto a link to a file": ["C/file", "L/link"],
    "onto a link to what is not there": ["C/file", "L/tonew"],
    "a directory onto a link to a directory": ["C/dir", "L/therelink"],
    "an empty directory": ["C/empty", "L/there"],
    "a hard link": ["C/hard", "L/there"],
    "a directory over a file inside": ["C/there", "L/clash"],
    "with owners": ["-a", "C/dir", "L/there"],
}


def describe(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        mode = status.st_mode if not path.is_symlink() else 0
        found[str(path.relative_to(root))] = (oct(mode), content)
    return found


def normal(error: str, here: Path) -> str:
    """Return an error without what is a client's or a daemon's own: prefixes, paths of their roots, case."""
    text = error.strip().lower()
    for prefix in ("error response from daemon: ", "error: "):
        text = text.removeprefix(prefix)
    text = text.replace(str(here).lower(), "L").partition("\nhint:")[0]
    return re.sub(r"/\S*/merged", "", text)


def kind_of(text: str) -> str:
    """Return what an error is about, in words that all share."""
    text = text.replace("no such container:path", "could not find the file")  # docker's 20.10 client's own
    for words in (
        "could not find the file",
        "not a directory",
        "no such directory",
        "cannot copy directory",
        "cannot overwrite",
        "does not exist",
        "must be a directory",
        "no such file or directory",
    ):
        if words in text:
            return words
    return text


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here"


def prepare(client: Client, here: Path) -> None:
    subprocess.run(["/bin/sh", "-c", SETUP.format(here)], check=True)
    client.run("exec", BOX, "/bin/busybox", "sh", "-c", SETUP.format("/w"))
    clash = here / "clash" / "there" / "two"
    clash.mkdir(parents=True)
    client.run("exec", BOX, "/bin/busybox", "mkdir", "-p", "/w/clash/there/two")


def in_container(client: Client, scratch: Path) -> dict[str, tuple[object, ...]]:
    """Return the tree in the container, read by tar inside of it."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    packed = subprocess.run(
        [*client.daemon, "exec", BOX, "/bin/busybox", "tar", "-c", "-C", "/w", "."],
        capture_output=True,
        check=True,
        timeout=60,
    )
    subprocess.run(["tar", "-x", "-p", "-C", scratch], input=packed.stdout, check=True)
    return describe(scratch)


def copy(
    client: Client, arguments: Sequence[str], *, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*client.command, "cp", *arguments], input=stdin, capture_output=True, timeout=60)


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("direction", ["out", "in"])
def test_all_agree(clients: list[Client], here: Path, tmp_path: Path, case: str, direction: str) -> None:
    outcomes = []
    for client in clients:
        prepare(client, here)
        source, target = (f"{BOX}:/w", str(here)) if direction == "out" else (str(here), f"{BOX}:/w")
        arguments = [
            one.replace("C/", f"{source}/", 1).replace("L/", f"{target}/", 1) if one[1:2] == "/" else one
            for one in CASES[case]
        ]
        done = copy(client, arguments)
        tree = describe(here) if direction == "out" else in_container(client, tmp_path / "scratch")
        outcomes.append((done.returncode, kind_of(normal(done.stderr.decode(), here)), tree))
        shutil.rmtree(here)
    for client, outcome in zip(clients[1:], outcomes[1:], strict=True):
        assert outcome[0] == outcomes[0][0], (client.name, outcome[1], outcomes[0][1])
        assert outcome[1] == outcomes[0][1], client.name
        assert outcome[2] == outcomes[0][2], client.name


@pytest.mark.parametrize("path", ["/w/dir", "/w/dir/.", "/w/file", "/w/link", "/w/dirlink/", "/w/hard"])
def test_streams_have_the_same_entries(clients: list[Client], here: Path, path: str) -> None:
    listings = []
    for client in clients:
        prepare(client, here)
        done = copy(client, [f"{BOX}:{path}", "-"])
        assert done.returncode == 0, done.stderr
        listed = subprocess.run(
            ["tar", "-tv", "--numeric-owner", "--full-time"],
            input=done.stdout,
            capture_output=True,
            check=True,
        )
        listings.append(re.sub(rb"\d{4}-\d\d-\d\d \S+", b"TIME", listed.stdout))
        shutil.rmtree(here)
    assert listings[1] == listings[0]
    assert listings[2] == listings[0]


def test_a_stream_is_extracted(clients: list[Client], here: Path, tmp_path: Path) -> None:
    outcomes = []
    for client in clients:
        prepare(client, here)
        archive = subprocess.run(["tar", "-c", "-C", here, "dir"], capture_output=True, check=True).stdout
        codes = [
            copy(client, ["-", f"{BOX}:/w/there"], stdin=archive).returncode,
            copy(client, ["-", f"{BOX}:/w/file"], stdin=archive).returncode,
            copy(client, ["-", f"{BOX}:/w/none"], stdin=archive).returncode,
        ]
        outcomes.append((codes, in_container(client, tmp_path / "scratch")))
        shutil.rmtree(here)
    assert outcomes[0][0] == [0, 1, 1]
    assert outcomes[1] == outcomes[0]
    assert outcomes[2] == outcomes[0]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["a:/x", "b:/y"], id="two containers"),
        pytest.param(["/x", "/y"], id="none"),
        pytest.param(["", "/y"], id="an empty source"),
        pytest.param([f"{BOX}:/etc", ""], id="an empty destination"),
        pytest.param(["nobody:/etc/x", "/tmp/never"], id="no such container"),
        pytest.param(["/etc/passwd", "nobody:/tmp/"], id="into no such container"),
        pytest.param([f"{BOX}:/bin", "/dev/null"], id="onto a device"),
    ],
)
def test_refusals(clients: list[Client], here: Path, arguments: list[str]) -> None:
    outcomes = []
    for client in clients:
        done = copy(client, arguments)
        outcomes.append((done.returncode, normal(done.stderr.decode(), here).splitlines()[0]))
    assert outcomes[0][0] == 1
    assert [code for code, _ in outcomes] == [1, 1, 1]
    for _, text in outcomes[1:]:
        assert outcomes[0][1][:17] == text[:17], outcomes


CHANGES = "set -e; touch /new; echo x >> /etc/group0; mkdir /many; touch /many/a; rm -r /tmp; ln -s x /many/l"


def test_diff_commit_and_export_agree(clients: list[Client], tmp_path: Path) -> None:
    outcomes = []
    for client in clients[:2]:
        client.run(
            "run", "--network", "none", "--name", "changed", "busybox",
            "/bin/busybox", "sh", "-c",
            "cd /; for a in touch mkdir rm ln; do busybox ln -s busybox /bin/$a || true; done; " + CHANGES,
        )  # fmt: skip
        changes = sorted(client.run("diff", "changed").splitlines())
        client.run(
            "commit", "-m", "why", "-a", "who", "-c", "ENV A=b", "-c", 'CMD ["x"]', "changed", "made:1"
        )
        made = client.run(
            "inspect",
            "-f",
            "{{json .Config.Env}} {{json .Config.Cmd}} {{.Author}} {{len .RootFS.Layers}}",
            "made:1",
        )
        history = client.run("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "made:1")
        exported = tmp_path / f"{len(outcomes)}.tar"
        client.run("export", "-o", str(exported), "changed")
        names = subprocess.run(["tar", "tf", exported], capture_output=True, text=True, check=True).stdout
        client.run("rm", "changed")
        outcomes.append((changes, made, history.splitlines()[0], sorted(names.splitlines())))
    ours, theirs = outcomes[1], outcomes[0]
    assert ours[0] == theirs[0]
    assert ours[1:3] == theirs[1:3]
    assert set(theirs[3]) ^ set(ours[3]) <= {"dev/console"}
