"""`POST /build?version=2`: docker 20.10 with DOCKER_BUILDKIT=1, which asks so for BuildKit."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.system.sampand import DOCKERS, Result, Sampand, needs_busybox, needs_root, wait_for

CLI = DOCKERS["docker 20.10"]


def _is_old() -> bool:
    if not os.path.exists(CLI):
        return False
    said = subprocess.run([CLI, "--version"], capture_output=True, text=True, check=False).stdout
    return " 20.10." in said


pytestmark = [
    needs_root,
    needs_busybox,
    pytest.mark.skipif(not _is_old(), reason="no docker 20.10 (Debian 12: docker.io)"),
]


def build(sampand: Sampand, *arguments: str, stdin: bytes = b"") -> Result:
    environment = {**sampand.environment, "DOCKER_BUILDKIT": "1"}
    done = subprocess.run(
        [CLI, "build", *arguments], input=stdin, capture_output=True, env=environment, timeout=60, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "f").write_text("content\n")
    (folder / "sub" / "Other").write_text("FROM busybox\nRUN echo other > /o\n")
    (folder / "Dockerfile").write_text("FROM busybox\nARG a\nCOPY f /f\nRUN echo said $a && cat /f\n")
    return folder


def test_a_directory(sampand: Sampand, context: Path, tmp_path: Path) -> None:
    iid = tmp_path / "iid"
    options = ("--build-arg=a=given", "--label=l=x", "-t", "v2:1", "-t", "v2:2", f"--iidfile={iid}")
    done = build(sampand, *options, "--progress=plain", "--add-host=far:1.2.3.4", str(context))
    assert done.code == 0, done.err
    assert "said given" in done.err
    assert "DONE" in done.err
    found = [sampand.call("GET", f"/images/v2:{tag}/json") for tag in (1, 2)]
    assert found[0]["Id"] == found[1]["Id"] == iid.read_text()
    assert found[0]["Config"]["Labels"]["l"] == "x"
    again = build(sampand, "--build-arg=a=given", "--label=l=x", "-q", "--add-host=far:1.2.3.4", str(context))
    assert again.text == iid.read_text()
    assert build(sampand, "-f", f"{context}/sub/Other", str(context)).code == 0


def test_secrets_and_standard_input(sampand: Sampand, context: Path) -> None:
    line = b"FROM busybox\nRUN --mount=type=secret,id=s cat /run/secrets/s | wc -c\n"
    done = build(sampand, "--progress=plain", "--secret", f"id=s,src={context}/f", "-", stdin=line)
    assert done.code == 0, done.err
    assert " 8\n" in done.err
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(context, arcname=".")
    done = build(sampand, "-t", "packed", "-", stdin=packed.getvalue())
    assert done.code == 0, done.err
    assert sampand.docker("run", "--rm", "packed", "cat", "/f").text == "content"


def test_outputs(sampand: Sampand, context: Path, tmp_path: Path) -> None:
    done = build(sampand, "-o", str(tmp_path / "out"), str(context))
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "f").read_text() == "content\n"


def test_what_fails(sampand: Sampand, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN exit 3\n")
    done = build(sampand, "--progress=plain", str(context))
    assert done.code == 1
    assert "did not complete successfully: exit code: 3" in done.err
    (context / "Dockerfile").write_text("FROM busybox\nRUNN x\n")
    assert "did you mean RUN?" in build(sampand, str(context)).err
    status, _, answer = sampand.request("POST", "/build?version=2")
    assert status == 400
    assert "needs a session" in json.loads(answer)["message"]


def test_a_client_that_goes(sampand: Sampand, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN sleep 4712\n")
    environment = {**sampand.environment, "DOCKER_BUILDKIT": "1"}
    for number in (signal.SIGKILL, signal.SIGINT):
        client = subprocess.Popen([CLI, "build", str(context)], env=environment, stderr=subprocess.DEVNULL)
        wait_for(lambda: _runs("sleep 4712"), "the step runs")
        client.send_signal(number)
        client.wait()
        wait_for(lambda: not _runs("sleep 4712"), "the step is killed")


def _runs(command: str) -> bool:
    said = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return command in said.splitlines()
