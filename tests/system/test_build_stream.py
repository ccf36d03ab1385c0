"""The stream of POST /build, errors, and the cache, by the real docker command and docker-py."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from tests.system.build_cases import Case, archive_of
from tests.system.build_kit import build, connect
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]


@pytest.fixture(scope="module")
def client(sampand: Sampand) -> Iterator[docker.DockerClient]:
    made = connect(sampand.host)
    yield made
    made.close()


def docker_build(sampand: Sampand, folder: Path, *options: str) -> Result:
    sampand.environment["DOCKER_BUILDKIT"] = "0"
    return sampand.docker("build", *options, str(folder), cli="/usr/bin/docker")


def write(folder: Path, dockerfile: str, **files: str) -> Path:
    (folder / "Dockerfile").write_text(dockerfile)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_the_texts(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path, 'FROM busybox\nRUN echo said\nCMD ["x"]\n')
    done = docker_build(sampand, tmp_path, "-t", "texts:1")
    assert done.code == 0, done.err
    pattern = (
        r"Sending build context to Docker daemon +[\d.]+kB\r?\r?\n"
        r"Step 1/3 : FROM busybox\n ---> [0-9a-f]{12}\n"
        r"Step 2/3 : RUN echo said\n ---> Running in [0-9a-f]{12}\nsaid\n"
        r" ---> Removed intermediate container [0-9a-f]{12}\n ---> [0-9a-f]{12}\n"
        r'Step 3/3 : CMD \["x"\]\n ---> [0-9a-f]{12}\n'
        r"Successfully built ([0-9a-f]{12})\nSuccessfully tagged texts:1\n"
    )
    found = re.search(pattern, done.out.decode())
    assert found, done.out.decode()
    assert sampand.docker("inspect", "-f", "{{.Id}}", "texts:1").text.startswith(f"sha256:{found[1]}")


def test_again_is_the_same_image(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nLABEL a=b\nCOPY f /f\nRUN date > /d\nENV x=1\n", f="1")
    first = docker_build(sampand, tmp_path, "-q").text
    os.utime(tmp_path / "f", (1, 1))
    again = docker_build(sampand, tmp_path)
    assert again.out.decode().count(" ---> Using cache\n") == 4
    assert docker_build(sampand, tmp_path, "-q").text == first
    assert docker_build(sampand, tmp_path, "-q", "--no-cache").text != first


def test_labels_and_config_do_not_miss_a_run(client: docker.DockerClient) -> None:
    build(client, Case("", "LABEL v=1\nEXPOSE 80\nRUN date > /label-test"))
    _, text = build(client, Case("", "LABEL v=2\nEXPOSE 81\nRUN date > /label-test"))
    assert "Running in" not in text


@pytest.mark.parametrize(
    ("change", "misses"),
    [
        pytest.param({"f": "2"}, True, id="content"),
        pytest.param({"f": ("1", 0o600)}, True, id="mode"),
        pytest.param({"other": "2"}, False, id="a file that is not copied"),
    ],
)
def test_what_copy_misses_by(
    client: docker.DockerClient, change: dict[str, str | tuple[str, int]], misses: bool
) -> None:
    files = {"f": "1", "other": "1"}
    text = "COPY f /misses\nRUN true"
    build(client, Case("", text, dict(files)))
    _, said = build(client, Case("", text, {**files, **change}))
    assert (" ---> Running in" in said or said.count("Using cache") < 2) is misses


def test_equal_output_of_a_stage_hits_again(client: docker.DockerClient) -> None:
    text = (
        "FROM busybox AS b\nARG n\nRUN echo $n >/dev/null; echo same > /o\n"
        "FROM busybox\nCOPY --from=b /o /o\nRUN date > /x"
    )
    build(client, Case("", text, arguments={"n": "1"}))
    _, said = build(client, Case("", text, arguments={"n": "2"}))
    assert said.count("Running in") == 1
    assert said.count("Using cache") == 3


def test_only_what_the_target_reaches(client: docker.DockerClient) -> None:
    text = "FROM nowhere/at-all AS a\nRUN false\nFROM busybox AS b\nRUN true\nFROM a\nRUN false"
    _, said = build(client, Case("", text), target="b")
    assert "Step 2/2 : RUN true" in said


def test_unused_arguments_are_named(client: docker.DockerClient) -> None:
    _, said = build(client, Case("", "ARG a", arguments={"a": "1", "b": "2", "HTTP_PROXY": "x"}))
    assert "[Warning] One or more build-args [b] were not consumed\n" in said


def test_proxies_reach_run_and_no_key(client: docker.DockerClient) -> None:
    text = 'RUN test -n "$http_proxy"; date > /proxied'
    build(client, Case("", text, arguments={"http_proxy": "one"}))
    image, said = build(client, Case("", text, arguments={"http_proxy": "two"}))
    assert "Using cache" in said
    assert "one" not in json.dumps(image.history())


def test_failing_command_is_the_exit_code(sampand: Sampand, tmp_path: Path) -> None:
    done = docker_build(sampand, write(tmp_path, "FROM busybox\nRUN echo out; exit 23\n"))
    assert done.code == 23
    assert "The command '/bin/sh -c echo out; exit 23' returned a non-zero code: 23" in done.err
    assert "out\n" in done.out.decode()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("FROM busybox\nRUNN x", r"error on line 2: unknown instruction: RUNN \(did you mean RUN\?\)"),
        ("", "cannot be empty"),
        ("FROM busybox\nENV a", "ENV must have two arguments"),
        ("FROM busybox\nCOPY none /d", "file not found in build context or excluded by .dockerignore"),
        ("FROM busybox\nCOPY --from=0 a b", "circular dependency"),
        ("FROM busybox AS a\nCOPY --from=x /a b\nFROM busybox AS x\nFROM a", "needs to be defined before"),
        ("FROM 127.0.0.1:1/at-all", "127.0.0.1:1.*refused"),
        ("FROM localhost/UPPER", "must be lowercase"),
        ("FROM busybox\nCOPY --chown=nobody-here a /d", "no such user: nobody-here"),
        ("FROM busybox\nCOPY a b /d", "destination must be a directory and end with a /"),
        ("FROM busybox\nCOPY a /etc", None),
        ("FROM busybox\nCOPY dir /etc/passwd", "cannot copy to non-directory"),
        ("FROM busybox\nRUN --network=host true", "granting entitlement network.host is not allowed"),
        ("FROM busybox\nRUN --mount=type=cache,target=/ true", "invalid mount target"),
        ("FROM busybox\nUSER nobody-here\nRUN true", "nobody-here"),
        ("FROM busybox\nSTOPSIGNAL no", "invalid signal: no"),
        ("FROM busybox\nEXPOSE x", "invalid containerPort: x"),
        ("FROM busybox\nCOPY out /d\nCOPY --from=busybox ../../../../etc/shadow /x", "not found"),
        ("FROM $none", "should not be blank"),
    ],
)  # fmt: skip
def test_errors(client: docker.DockerClient, text: str, match: str | None) -> None:
    files = {"Dockerfile": text, "a": "1", "b": "2", "dir/f": "1", "out": "->/etc/../../../etc"}
    made = client.api.build(fileobj=_file(archive_of(files)), custom_context=True, decode=True)
    try:
        errors = [line["error"] for line in made if "error" in line]
    except docker.errors.APIError as exc:
        errors = [str(exc)]
    if match is None:
        assert errors == []
    else:
        assert errors
        assert re.search(match, errors[0])


def _file(data: bytes) -> object:
    import io

    return io.BytesIO(data)


def test_bad_target(sampand: Sampand, tmp_path: Path) -> None:
    done = docker_build(sampand, write(tmp_path, "FROM busybox AS final\n"), "--target", "fnal")
    assert done.code == 1
    assert 'target stage "fnal" could not be found (did you mean final?)' in done.err


def test_only_a_command_gives_the_exit_code(sampand: Sampand, tmp_path: Path) -> None:
    done = docker_build(sampand, write(tmp_path, "FROM busybox\nCOPY nosuch /\n"))
    assert (done.code, "not found" in done.err) == (1, True), done.err


def test_client_that_goes_stops_the_build(sampand: Sampand, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nRUN touch /x\nRUN sleep 98741\n")
    environment = {**sampand.environment, "DOCKER_BUILDKIT": "0"}
    cli = subprocess.Popen(
        ["/usr/bin/docker", "build", str(tmp_path)], env=environment, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: any("sleep 98741" in line for line in _commands()), "the step runs")
    cli.kill()
    cli.wait()
    wait_for(lambda: not any("sleep 98741" in line for line in _commands()), "the step has ended")
    wait_for(lambda: not list((sampand.run / "containers").iterdir()), "nothing is left of it")


def _commands() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return found


def test_killed_in_the_middle(sampand: Sampand, client: docker.DockerClient) -> None:
    text = "FROM busybox\nRUN date > /before-the-kill\nRUN sleep 98742"
    stream = client.api.build(
        fileobj=_file(archive_of({"Dockerfile": text})), custom_context=True, decode=True
    )
    for line in stream:
        if line.get("stream", "").startswith("Step 3"):
            break
    wait_for(lambda: any("sleep 98742" in line for line in _commands()), "the step runs")
    sampand.kill()
    sampand.start()
    wait_for(lambda: not any("sleep 98742" in line for line in _commands()), "the step was swept")
    assert list((sampand.run / "containers").iterdir()) == []
    assert list((sampand.data / "containers").iterdir()) == []
    _, said = build(client, Case("", "RUN date > /before-the-kill\nRUN true"))
    assert said.count("Using cache") == 1


def test_prune_frees_what_no_image_has(sampand: Sampand, client: docker.DockerClient) -> None:
    build(client, Case("", "RUN dd if=/dev/zero of=/big bs=1M count=3"), tag="pruned")
    client.images.remove("pruned")
    found = sampand.call("POST", "/build/prune?all=1")
    assert found["SpaceReclaimed"] >= 3 << 20  # to the byte: the file, in a layer of nothing else
    _, said = build(client, Case("", "RUN dd if=/dev/zero of=/big bs=1M count=3"))
    assert "Running in" in said
