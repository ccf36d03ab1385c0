"""BuildKit's protocol by its real clients: docker buildx, docker compose (docs/buildkit.md)."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
from tests.system.build_cases import archive_of
from tests.system.buildkit_kit import build, buildx, compose, needs_buildx, needs_compose, write
from tests.system.network_host import NetworkHost
from tests.system.sampand import DOCKER, Result, Sampand, needs_busybox, needs_root, wait_for
from tests.system.test_build_inputs import StepWithAgent

pytestmark = [needs_root, needs_busybox]


def image_id(daemon: Sampand, name: str) -> str:
    return daemon.docker("image", "inspect", "-f", "{{.Id}}", name).text


def output_of(daemon: Sampand, image: str, *command: str) -> str:
    return daemon.docker("run", "--rm", image, *command).text


@needs_buildx
def test_build(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox AS base\nRUN echo said\nCOPY f /f\nENV A=1\n", f="content")
    metadata = tmp_path / "metadata.json"
    done = build(sampand, tmp_path, "-t", "kit:1", "-t", "other/kit", f"--metadata-file={metadata}")
    assert done.code == 0, done.err
    assert "[internal] load build definition from Dockerfile" in done.err
    assert re.search(r"\[base 2/3\] RUN echo said\n#\d+ [\d.]+ said\n#\d+ DONE", done.err)
    assert "naming to docker.io/library/kit:1" in done.err
    told = json.loads(metadata.read_text())
    assert told["containerimage.digest"] == image_id(sampand, "kit:1") == image_id(sampand, "other/kit")
    assert output_of(sampand, "kit:1", "cat", "/f") == "content"


@needs_buildx
def test_again_nothing_is_sent(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nCOPY big /big\nRUN date > /d\n", big="x" * 3_000_000)
    first = build(sampand, tmp_path, "-t", "again")
    before = image_id(sampand, "again")
    again = build(sampand, tmp_path, "-t", "again")
    assert re.search(r"transferring context: 3.00MB", first.err), first.err
    assert not re.search(r"transferring context: [\d.]+MB", again.err), again.err
    assert again.err.count("CACHED") == 2
    assert image_id(sampand, "again") == before


@needs_buildx
def test_what_no_step_takes_is_not_sent(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nCOPY small /\n", small="s", big="x" * 3_000_000)
    done = build(sampand, tmp_path, "-t", "small")
    assert re.search(r"transferring context: 1B", done.err), done.err
    assert output_of(sampand, "small", "cat", "/small") == "s"


@needs_buildx
def test_what_was_not_sent_is_fetched_for_a_step(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nCOPY a b /d/\n", a="a" * 200_000, b="b" * 70_000)
    assert build(sampand, tmp_path).code == 0
    write(tmp_path, "FROM busybox\nCOPY a b /elsewhere/\n")
    done = build(sampand, tmp_path, "-t", "fetched")
    assert done.code == 0, done.err
    assert output_of(sampand, "fetched", "sh", "-c", "cat /elsewhere/* | wc -c") == "270000"


@needs_buildx
def test_a_change_that_hides_is_noticed(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nCOPY f /before\n", f="one")
    assert build(sampand, tmp_path).code == 0
    write(tmp_path, "FROM busybox\nCOPY f /after\n", f="two")  # same size, same time
    done = build(sampand, tmp_path)
    assert done.code == 1
    assert "f of the build context has changed while it was being read" in done.err
    again = build(sampand, tmp_path, "-t", "noticed")
    assert again.code == 0, again.err
    assert output_of(sampand, "noticed", "cat", "/after") == "two"


@needs_buildx
def test_trees_of_every_kind(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nCOPY . /c/\n", plain="1")
    (tmp_path / "dir/deep").mkdir(parents=True)
    (tmp_path / "dir/deep/ü ñ").write_text("name")
    (tmp_path / "dir/empty").write_text("")
    (tmp_path / "link").symlink_to("dir/deep")
    os.link(tmp_path / "plain", tmp_path / "twin")
    (tmp_path / "run.sh").write_text("x")
    (tmp_path / "run.sh").chmod(0o4755)
    os.mkfifo(tmp_path / "pipe")
    done = build(sampand, tmp_path, "-t", "kinds")
    assert done.code == 0, done.err
    script = "cd /c; stat -c '%n %F %a %u %h' *; readlink link; cat 'dir/deep/ü ñ' twin"
    assert output_of(sampand, "kinds", "sh", "-c", script).splitlines() == [
        "Dockerfile regular file 644 0 1",
        "dir directory 755 0 3",
        "link symbolic link 777 0 1",
        "pipe fifo 644 0 1",
        "plain regular file 644 0 2",
        "run.sh regular file 4755 0 1",
        "twin regular file 644 0 2",
        "dir/deep",
        "name1",
    ]


@needs_buildx
@pytest.mark.parametrize("own", [False, True], ids=["the context's", "the Dockerfile's own"])
def test_dockerignore(sampand: Sampand, tmp_path: Path, own: bool) -> None:
    write(tmp_path, "FROM busybox\nCOPY . /c/\n", a="", b="", **{"keep.log": "", "x.log": ""})
    name = "Dockerfile.dockerignore" if own else ".dockerignore"
    (tmp_path / ".dockerignore").write_text("*\n")
    (tmp_path / name).write_text("# comment\n*.log\n!keep.log\n/b\n*ocker*\n")
    done = build(sampand, tmp_path, "-t", "ignored")
    assert done.code == 0, done.err
    assert output_of(sampand, "ignored", "ls", "-A", "/c").split() == ["a", "keep.log"]


@needs_buildx
@pytest.mark.parametrize(
    ("dockerfile", "want"),
    [
        pytest.param(
            "FROM busybox\nRUN exit 23",
            [
                r"Dockerfile:2\n-+\n +1 \|     FROM busybox\n +2 \| >>> RUN exit 23\n-+\n",
                r'process "/bin/sh -c exit 23" did not complete successfully: exit code: 23',
            ],
            id="a command",
        ),
        pytest.param(
            "FROM busybox\nRUNN x", [r"unknown instruction: RUNN \(did you mean RUN\?\)", r"2 \| >>> RUNN x"],
            id="syntax",
        ),
        pytest.param(
            "FROM busybox\nCOPY none /", [r'"/none": not found', r"2 \| >>> COPY none /"], id="a file"
        ),
        pytest.param("FROM 127.0.0.1:1/none", ["refused", r"1 \| >>> FROM 127"], id="a base"),
    ],
)  # fmt: skip
def test_errors(sampand: Sampand, tmp_path: Path, dockerfile: str, want: list[str]) -> None:
    done = build(sampand, write(tmp_path, dockerfile))
    assert done.code == 1
    for pattern in want:
        assert re.search(pattern, done.err), (pattern, done.err)


@needs_buildx
def test_no_dockerfile(sampand: Sampand, tmp_path: Path) -> None:
    done = build(sampand, tmp_path, "-f", str(tmp_path / "none"))
    assert done.code == 1
    assert "no such file or directory" in done.err
    (tmp_path / "dockerfile").write_text("FROM busybox\nLABEL lower=1")
    done = build(sampand, tmp_path)
    assert done.code == 0, done.err


@needs_buildx
def test_options_reach_the_build(sampand: Sampand, tmp_path: Path) -> None:
    command = "echo $A > /a; cat /etc/hosts > /h; ulimit -n > /n"
    text = f"FROM busybox AS one\nARG A\nRUN {command}\nFROM one\nRUN false\n"
    (tmp_path / "f").mkdir()
    write(tmp_path / "f", "", **{"Other": text})
    done = build(
        sampand, tmp_path / "f", "-f", str(tmp_path / "f/Other"), "--target=one", "--build-arg=A=b=c",
        "--label=l=1", "--add-host=far:192.0.2.7", "--ulimit=nofile=99:99", "-t", "options", "--no-cache",
        "--network=none",
    )  # fmt: skip
    assert done.code == 0, done.err
    shown = output_of(sampand, "options", "sh", "-c", "cat /a /n; grep far /h")
    assert shown.split() == ["b=c", "99", "192.0.2.7", "far"]
    assert sampand.docker("inspect", "-f", "{{.Config.Labels.l}}", "options").text == "1"


@needs_buildx
def test_no_cache_for_some_stages(sampand: Sampand, tmp_path: Path) -> None:
    write(
        tmp_path,
        "FROM busybox AS one\nRUN echo first\nFROM busybox\nRUN echo second\nCOPY --from=one /etc /e\n",
    )
    assert build(sampand, tmp_path).code == 0
    assert build(sampand, tmp_path, "--no-cache-filter=one").err.count("CACHED") == 2
    assert build(sampand, tmp_path).err.count("CACHED") == 3


@needs_buildx
def test_secrets(sampand: Sampand, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("do-not-tell-7712")
    text = (
        "FROM busybox\nRUN --mount=type=secret,id=s wc -c < /run/secrets/s\n"
        "RUN --mount=type=secret,id=v,env=TOKEN echo ${#TOKEN}\n"
    )
    write(tmp_path / "c", text)
    options = (f"--secret=id=s,src={tmp_path}/secret", "--secret=id=v,env=HOME", "-t", "secret")
    done = build(sampand, tmp_path / "c", *options)
    assert done.code == 0, done.err
    assert re.search(r"#\d+ [\d.]+ 16\n", done.err)
    assert re.search(rf"#\d+ [\d.]+ {len(sampand.environment['HOME'])}\n", done.err)
    assert b"do-not-tell-7712" not in sampand.docker("save", "secret").out
    write(tmp_path / "c", "FROM busybox\nRUN --mount=type=secret,id=none,required=true true")
    assert "secret none: not found" in build(sampand, tmp_path / "c").err


@needs_buildx
@pytest.mark.skipif(which("ssh-agent") is None, reason="no ssh-agent (Debian: openssh-client)")
def test_ssh_agent(sampand: Sampand, tmp_path: Path) -> None:
    def by_buildx(daemon: Sampand, folder: Path, text: str, *options: str) -> Result:
        return build(daemon, write(folder, text), *options)

    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (tmp_path / "context").mkdir()
    options = ("type=ssh,id=own", f"--ssh=own={key}")
    with StepWithAgent(sampand, tmp_path / "context", *options, build=by_buildx) as step:
        for _ in range(2):  # SSH_AGENTC_REQUEST_IDENTITIES (11) is answered by 12 and the number of keys
            assert step.ask(b"\0\0\0\1\x0b", 9)[4:9] == b"\x0c\0\0\0\1"
    write(tmp_path / "context", "FROM busybox\nRUN --mount=type=ssh,required=true true")
    assert "ssh agent default: not found" in build(sampand, tmp_path / "context").err


@needs_buildx
def test_named_contexts(sampand: Sampand, tmp_path: Path) -> None:
    text = "FROM absent\nCOPY --from=other / /o/\nRUN --mount=from=other,target=/m cat /m/sub/f; ls -A /o\n"
    write(tmp_path / "c", text)
    (tmp_path / "other/sub").mkdir(parents=True)
    for name, content in {"sub/f": "from other", "left-out": "", ".dockerignore": "left-out\n"}.items():
        (tmp_path / "other" / name).write_text(content)
    options = (f"--build-context=other={tmp_path}/other", "--build-context=absent=docker-image://busybox")
    done = build(sampand, tmp_path / "c", *options)
    assert done.code == 0, done.err
    assert re.search(r"from other\.dockerignore\n#\d+ [\d.]+ sub\n", done.err)


@needs_buildx
def test_a_context_on_standard_input(sampand: Sampand, tmp_path: Path) -> None:
    archive = archive_of(
        {"Dockerfile": "FROM busybox\nCOPY . /c/\n", "f": "sent", "no": "", ".dockerignore": "no"}
    )
    done = buildx(sampand, "build", "-t", "sent", "-", stdin=archive)
    assert done.code == 0, done.err
    assert output_of(sampand, "sent", "sh", "-c", "cat /c/f; ls /c") == "sentDockerfile\nf"
    done = buildx(sampand, "build", "-t", "sent", "-", stdin=b"FROM busybox\nRUN echo by itself > /x\n")
    assert done.code == 0, done.err
    assert output_of(sampand, "sent", "cat", "/x") == "by itself"


@needs_buildx
def test_output_as_files(sampand: Sampand, tmp_path: Path) -> None:
    text = (
        "FROM busybox AS made\nRUN mkdir /o && cd /o && echo 1 > a && ln a b && ln -s a 'l ü'"
        " && mkdir -m 750 e && dd if=/dev/zero of=big bs=1000 count=1500 && chmod 4711 big && mkfifo p\n"
        "FROM scratch\nCOPY --from=made /o /o\n"
    )
    write(tmp_path / "c", text)
    done = build(sampand, tmp_path / "c", f"--output={tmp_path}/out")
    assert done.code == 0, done.err
    out = tmp_path / "out/o"
    assert sorted(one.name for one in out.iterdir()) == ["a", "b", "big", "e", "l ü", "p"]
    assert (out / "a").read_text() == (out / "b").read_text() == "1\n"
    assert os.readlink(out / "l ü") == "a"
    assert (out / "big").read_bytes() == bytes(1_500_000)
    modes = {one.name: oct(one.lstat().st_mode) for one in (out / "e", out / "big", out / "p")}
    assert modes == {"e": "0o40750", "big": "0o104711", "p": "0o10644"}


@needs_buildx
def test_output_as_archive(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path / "c", "FROM scratch\nCOPY f /d/f\n", f="content")
    done = build(sampand, tmp_path / "c", "--output=type=tar,dest=-")
    assert done.code == 0, done.err
    with tarfile.open(fileobj=io.BytesIO(done.out)) as archive:
        assert [one.name for one in archive] == ["d", "d/f"]
        file = archive.extractfile("d/f")
        assert file is not None
        assert file.read() == b"content"
    done = build(sampand, tmp_path / "c", f"--output=type=tar,dest={tmp_path}/none/x")
    assert done.code == 1


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_output_as_image_archive(sampand: Sampand, tmp_path: Path, kind: str) -> None:
    write(tmp_path / "c", "FROM busybox\nRUN echo hello > /sent\n")
    file = tmp_path / "image.tar"
    done = build(sampand, tmp_path / "c", "-t", f"packed:{kind}", f"--output=type={kind},dest={file}")
    assert done.code == 0, done.err
    assert sampand.request("GET", f"/images/packed:{kind}/json")[0] == 404  # it was only sent
    assert f"packed:{kind}" in sampand.docker("load", "-i", str(file)).text
    assert output_of(sampand, f"packed:{kind}", "cat", "/sent") == "hello"
    done = build(sampand, tmp_path / "c", f"--output=type={kind},tar=false,dest={tmp_path}/folder")
    assert done.code != 0
    assert "directory" in done.err


@needs_buildx
def test_cache_is_listed_and_pruned(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nRUN echo pruned-later > /x\n")
    assert build(sampand, tmp_path).code == 0
    assert "RUN echo pruned-later" in buildx(sampand, "du", "--verbose").text
    assert buildx(sampand, "prune", "--all", "--force").code == 0
    assert "RUN echo pruned-later" not in buildx(sampand, "du", "--verbose").text
    assert "CACHED" not in build(sampand, tmp_path).err


@needs_buildx
def test_a_client_that_goes_stops_its_build(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nRUN sleep 4711\n")
    environment = {**sampand.environment, "DOCKER_CONFIG": str(sampand.folder / "buildx-config")}
    for number in (signal.SIGKILL, signal.SIGINT):
        buildx(sampand, "version")  # makes the folder with the plugin
        client = subprocess.Popen(
            [DOCKER, "buildx", "build", str(tmp_path)], env=environment, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        wait_for(lambda: _running("sleep 4711"), "the step runs")
        os.killpg(client.pid, number)  # docker and its plugin
        client.wait()
        wait_for(lambda: not _running("sleep 4711"), "the step is killed")
    assert "Traceback" not in sampand.log.read_text()
    assert build(sampand, write(tmp_path, "FROM busybox\nRUN true\n")).code == 0


def _running(command: str) -> bool:
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return command in shown.splitlines()


@needs_buildx
def test_builds_side_by_side(sampand: Sampand, tmp_path: Path) -> None:
    folders = [
        write(tmp_path / str(n), f"FROM busybox\nCOPY f /{n}\nRUN cat /{n}\n", f=str(n)) for n in range(5)
    ]
    environment = {**sampand.environment, "DOCKER_CONFIG": str(sampand.folder / "buildx-config")}
    running = [
        subprocess.Popen(
            [DOCKER, "buildx", "build", "-t", f"side:{folder.name}", str(folder)],
            env=environment, stderr=subprocess.PIPE,
        )
        for folder in folders
    ]  # fmt: skip
    for client in running:
        _, err = client.communicate(timeout=60)
        assert client.returncode == 0, err.decode()
    for folder in folders:
        assert output_of(sampand, f"side:{folder.name}", "cat", f"/{folder.name}") == folder.name


@needs_buildx
def test_docker_build_by_itself(sampand: Sampand, tmp_path: Path) -> None:
    """`docker build` goes through the plugin, unless DOCKER_BUILDKIT=0 says the old way."""
    write(tmp_path, "FROM busybox\nRUN echo hi\n")
    config = {"DOCKER_CONFIG": str(sampand.folder / "buildx-config")}
    assert buildx(sampand, "version").code == 0
    for variable, shown in (("1", "[2/2] RUN echo hi"), ("0", "Step 2/2 : RUN echo hi")):
        done = subprocess.run(
            [DOCKER, "build", "--no-cache", str(tmp_path)],
            capture_output=True, text=True, timeout=60, check=False,
            env={**sampand.environment, **config, "DOCKER_BUILDKIT": variable, "BUILDKIT_PROGRESS": "plain"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert shown in done.stdout + done.stderr


def test_not_a_client_of_buildkit(sampand: Sampand) -> None:
    for path in ("/grpc", "/session"):
        status, _, answer = sampand.request("POST", path)
        assert status == 400, answer
        assert b"Upgrade: h2c" in answer


@pytest.fixture(scope="module")
def networked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkHost]:
    daemon = NetworkHost(tmp_path_factory.mktemp("networked"))
    daemon.start()
    try:
        daemon.load_busybox()
        yield daemon
    finally:
        daemon.close()


_PROJECT = """
services:
  web:
    build: {context: ./web, args: {WORD: hello}}
    depends_on: {db: {condition: service_healthy}}
    environment: {A: "1"}
    ports: ["8099:80"]
    init: true
  db:
    build:
      context: ./db
      dockerfile_inline: |
        FROM busybox
        CMD ["sh", "-c", "echo db is up; sleep 600"]
    init: true
    healthcheck: {test: ["CMD", "true"], interval: 1s, start_interval: 100ms, start_period: 5s}
    volumes: ["data:/data"]
volumes: {data: {}}
"""


@needs_compose
def test_compose(networked: NetworkHost, tmp_path: Path) -> None:
    project = tmp_path / "kitproject"
    for folder in (project, project / "web", project / "db"):
        folder.mkdir()
    (project / "compose.yaml").write_text(_PROJECT)
    write(
        project / "web",
        "FROM busybox\nARG WORD\nCOPY page /www/index.html\nRUN echo $WORD >> /www/index.html\n"
        'CMD ["sh", "-c", "echo web is up; nc -zw 3 db 1; httpd -f -p 80 -h /www"]\n',
        page="page\n",
    )
    built = compose(networked, project, "build")
    assert built.code == 0, built.err
    up = compose(networked, project, "up", "--build", "--detach", "--wait")
    assert up.code == 0, up.err
    images = networked.docker("images", "-q", "--no-trunc").text
    before = compose(networked, project, "ps", "-q").text
    assert len(before.split()) == 2
    assert "hello" in wait_for(lambda: networked.fetch("192.0.2.1", 8099), "the page")
    logs = compose(networked, project, "logs").text
    assert "web is up" in logs
    assert "db is up" in logs
    assert compose(networked, project, "exec", "-T", "web", "cat", "/www/index.html").text == "page\nhello"
    again = compose(networked, project, "up", "--build", "--detach")
    assert again.code == 0, again.err
    assert networked.docker("images", "-q", "--no-trunc").text == images
    assert compose(networked, project, "ps", "-q").text == before, again.err  # nothing is made anew
    down = compose(networked, project, "down", "--volumes", "--timeout", "1")
    assert down.code == 0, down.err
    assert networked.docker("ps", "-aq").text == ""
    assert "kitproject" not in networked.docker("network", "ls").text + networked.docker("volume", "ls").text
