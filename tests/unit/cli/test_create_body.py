"""Flags of `run` become the body of a create request; system/cli/test_docker_body.py asks docker itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sampan.cli.create_body import create_body
from sampan.cli.flags import parse_flags
from sampan.cli.outcome import UsageError
from sampan.cli.run_flags import RUN

if TYPE_CHECKING:
    from sampan.cli.create_body import Body


def body(*words: str) -> Body:
    flags, arguments = parse_flags(RUN, words, interspersed=False)
    return create_body(flags, arguments)


def host(*words: str) -> Body:
    found = body(*words, "image")["HostConfig"]
    assert isinstance(found, dict)
    return found


def test_a_plain_run_says_little() -> None:
    assert body("image", "echo", "hi") == {
        "Image": "image",
        "Cmd": ["echo", "hi"],
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {},
    }


@pytest.mark.parametrize(
    ("words", "want"),
    [
        pytest.param(["-it"], (True, True, True, True, True), id="interactive"),
        pytest.param(["-d"], (False, False, False, None, None), id="detached"),
        pytest.param(["-di"], (False, False, False, True, False), id="detached, input kept open"),
        pytest.param(["-a", "stdout"], (False, True, False, None, None), id="one stream"),
        pytest.param(["-i", "-a", "STDERR"], (True, False, True, True, True), id="input and one stream"),
    ],
)
def test_streams(words: list[str], want: tuple[bool | None, ...]) -> None:
    made = body(*words, "image")
    fields = ("AttachStdin", "AttachStdout", "AttachStderr", "OpenStdin", "StdinOnce")
    assert tuple(made.get(field) for field in fields) == want


def test_an_empty_entry_point_takes_the_images_away() -> None:
    assert body("--entrypoint", "", "image")["Entrypoint"] == [""]
    assert "Entrypoint" not in body("image")


def test_limits_are_numbers_of_the_api() -> None:
    made = host(
        "-m", "64m", "--memory-swap", "-1", "--cpus", "1.5", "--pids-limit", "-1", "--shm-size", "1m",
        "--ulimit", "nofile=1:2", "--ulimit", "core=0", "--ulimit", "nofile=3", "--oom-score-adj", "-5",
    )  # fmt: skip
    assert made == {
        "Memory": 64 << 20,
        "MemorySwap": -1,
        "NanoCpus": 1_500_000_000,
        "PidsLimit": -1,
        "ShmSize": 1 << 20,
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}, {"Name": "nofile", "Soft": 3, "Hard": 3}],
        "OomScoreAdj": -5,
    }


def test_a_seccomp_profile_is_read_and_sent(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text('{ "defaultAction" : "SCMP_ACT_ALLOW" }')
    made = host("--security-opt", f"seccomp={path}", "--security-opt", "no-new-privileges")
    assert made["SecurityOpt"] == ['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}', "no-new-privileges"]
    path.write_text("{")
    with pytest.raises(UsageError, match=r"profile\.json': invalid JSON"):
        host("--security-opt", f"seccomp={path}")


def test_unmasked_system_paths_are_empty_lists() -> None:
    made = host("--security-opt", "systempaths=unconfined")
    assert made == {"MaskedPaths": [], "ReadonlyPaths": []}


def test_networks() -> None:
    assert host("--network", "none") == {"NetworkMode": "none"}
    made = body("--network", "name=front,alias=web,ip=10.0.0.2", "--network", "back", "image")
    assert made["HostConfig"] == {"NetworkMode": "front"}
    assert made["NetworkingConfig"] == {
        "EndpointsConfig": {
            "front": {"Aliases": ["web"], "IPAMConfig": {"IPv4Address": "10.0.0.2"}},
            "back": {},
        }
    }


def test_health() -> None:
    made = body("--health-cmd", "true", "--health-interval", "3s", "--health-retries", "2", "image")
    assert made["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 3_000_000_000, "Retries": 2}
    assert body("--no-healthcheck", "image")["Healthcheck"] == {"Test": ["NONE"]}


def test_labels_of_files_come_first(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("a=file\nb\n")
    made = body("-l", "a=flag", "--label-file", str(tmp_path / "labels"), "image")
    assert made["Labels"] == {"a": "flag", "b": ""}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-d", "-a", "stdout"], "cannot specify both --attach and --detach"),
        (["-a", "stdfoo"], "-a, --attach: 'stdfoo' is not stdin, stdout or stderr"),
        (["-m", "lots"], "--memory: 'lots' is not a size"),
        (["--memory-swappiness", "200"], "--memory-swappiness: 200 is not between 0 and 100"),
        (["--restart", "sometimes"], "--restart: 'sometimes' is no policy"),
        (["--restart", "always:3"], "--restart: 'always:3': only on-failure takes a number"),
        (["--rm", "--restart", "always"], "cannot specify both --restart and --rm"),
        (["--add-host", "name"], "--add-host: 'name' is not name:address"),
        (["--security-opt", "nonsense"], "--security-opt: 'nonsense' is not key=value"),
        (["--sysctl", "net.x"], "--sysctl: 'net.x' is not key=value"),
        (["--log-opt", "max-size"], "--log-opt: 'max-size' is not key=value"),
        (["--no-healthcheck", "--health-cmd", "x"], "cannot specify both --no-healthcheck and --health-cmd"),
        (["--gpus", "all"], "--gpus: GPUs are not supported"),
        (["--env-file", "/no/such"], "--env-file: cannot read '/no/such': No such file"),
    ],
)
def test_mistakes_name_the_flag_and_the_value(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        body(*words, "image")
    assert message in str(caught.value)
    assert caught.value.code == 125


def test_every_body_is_json() -> None:
    made = body(
        "-it", "-v", "/a:/b", "--mount", "type=tmpfs,dst=/c", "-p", "80:80", "--device", "/dev/null", "image"
    )
    assert json.loads(json.dumps(made)) == made
