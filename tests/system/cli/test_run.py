"""`sampan run`, `exec`, `logs` and the rest with pipes: output, exit codes, signals, errors."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.cli.harness import DEADLINE_S, SAMPAN, Daemon, sampan

RUN = ("run", "--rm", "--network", "none")


@pytest.fixture
def name() -> str:
    """A name that no other container has."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def sleeper(daemon: Daemon, name: str) -> Iterator[str]:
    """The name of a container that sleeps."""
    done = sampan(daemon.host, "run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "600")
    assert done.code == 0, done.err
    yield name
    sampan(daemon.host, "rm", "-f", name)


def test_output_and_errors_arrive_apart(daemon: Daemon) -> None:
    done = sampan(daemon.host, *RUN, "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.code, done.out, done.err) == (7, "out\n", "err\n")


def test_input_flows_in_and_its_end_ends_the_program(daemon: Daemon) -> None:
    done = sampan(daemon.host, *RUN, "-i", "busybox", "cat", stdin=b"data\n")
    assert (done.code, done.out) == (0, "data\n")


def test_without_interactive_the_input_is_empty(daemon: Daemon) -> None:
    done = sampan(daemon.host, *RUN, "busybox", "cat", stdin=b"data\n")
    assert (done.code, done.out) == (0, "")


def test_output_goes_on_after_the_end_of_input(daemon: Daemon) -> None:
    script = "cat >/dev/null; seq 1 1000; echo done"
    done = sampan(daemon.host, *RUN, "-i", "busybox", "sh", "-c", script, stdin=b"x")
    assert done.out.endswith("1000\ndone\n")


def test_large_data_both_ways_is_exact(daemon: Daemon) -> None:
    data = os.urandom(1 << 20) * 24
    done = subprocess.run(
        [SAMPAN, "-H", daemon.host, *RUN, "-i", "busybox", "cat"],
        input=data,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_large_output_is_complete_up_to_the_last_line(daemon: Daemon) -> None:
    done = sampan(daemon.host, *RUN, "busybox", "seq", "1", "400000")
    assert done.code == 0
    assert done.out == "".join(f"{number}\n" for number in range(1, 400001))


def test_a_program_that_does_not_exist_is_127(daemon: Daemon) -> None:
    done = sampan(daemon.host, *RUN, "busybox", "nosuchprogram")
    assert done.code == 127
    assert "nosuchprogram" in done.err
    assert done.out == ""


def test_a_program_that_cannot_be_run_is_126(daemon: Daemon) -> None:
    done = sampan(daemon.host, *RUN, "busybox", "/etc/passwd")
    assert done.code == 126
    assert "/etc/passwd" in done.err


def test_death_by_a_signal_is_128_and_its_number(daemon: Daemon) -> None:
    done = sampan(daemon.host, *RUN, "--init", "busybox", "sh", "-c", "kill -9 $$")
    assert done.code == 137


def test_an_unknown_image_is_125_with_a_hint(daemon: Daemon) -> None:
    done = sampan(daemon.host, *RUN, "--pull", "never", "nosuchimage", "true")
    assert done.code == 125
    assert done.err.startswith("error: No such image: nosuchimage:latest\nhint: ")


def test_a_name_in_use_is_125(daemon: Daemon, sleeper: str) -> None:
    done = sampan(daemon.host, "run", "--network", "none", "--name", sleeper, "busybox", "true")
    assert done.code == 125
    assert f'The container name "/{sleeper}" is already in use' in done.err


def test_detached_prints_the_id_and_nothing_else(daemon: Daemon, name: str, tmp_path: Path) -> None:
    id_file = tmp_path / "id"
    done = sampan(
        daemon.host,
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        name,
        "--cidfile",
        str(id_file),
        "busybox",
        "true",
    )
    assert (done.code, done.err) == (0, "")
    assert done.out == id_file.read_text() + "\n"
    assert sampan(daemon.host, "wait", name).out == "0\n"
    again = sampan(daemon.host, *RUN, "--cidfile", str(id_file), "busybox", "true")
    assert again.code == 125
    assert "--cidfile" in again.err
    assert sampan(daemon.host, "rm", name).out == f"{name}\n"


def test_rm_leaves_no_container_behind(daemon: Daemon, name: str) -> None:
    assert sampan(daemon.host, *RUN, "--name", name, "busybox", "true").code == 0
    assert sampan(daemon.host, "ps", "-aq", "--filter", f"name={name}").out == ""
    assert sampan(daemon.host, *RUN, "--name", name, "busybox", "nosuchprogram").code == 127
    assert sampan(daemon.host, "ps", "-aq", "--filter", f"name={name}").out == ""


def test_signals_are_passed_on(daemon: Daemon, name: str) -> None:
    script = "trap 'echo caught; exit 8' TERM; echo ready; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        [SAMPAN, "-H", daemon.host, *RUN, "--name", name, "busybox", "sh", "-c", script],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == b"caught\n"
    assert process.wait(DEADLINE_S) == 8
    process.stdout.close()


def test_without_sig_proxy_the_command_ends_and_the_container_stays(daemon: Daemon, name: str) -> None:
    process = subprocess.Popen(
        [
            SAMPAN,
            "-H",
            daemon.host,
            "run",
            "--sig-proxy=false",
            "--network",
            "none",
            "--name",
            name,
            "busybox",
            "sh",
            "-c",
            "echo ready; sleep 600",
        ],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 130
    process.stdout.close()
    assert sampan(daemon.host, "inspect", "-f", "{{.State.Status}}", name).out == "running\n"
    assert sampan(daemon.host, "rm", "-f", name).code == 0


def test_the_third_interrupt_lets_the_user_go(daemon: Daemon, name: str) -> None:
    process = subprocess.Popen(
        [
            SAMPAN,
            "-H",
            daemon.host,
            "run",
            "--network",
            "none",
            "--name",
            name,
            "busybox",
            "sh",
            "-c",
            "trap 'echo caught' INT; echo ready; while :; do sleep 0.1; done",
        ],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"caught\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 130
    process.stdout.close()
    assert sampan(daemon.host, "rm", "-f", name).code == 0


def test_a_reader_that_goes_away_ends_the_command(daemon: Daemon, name: str) -> None:
    process = subprocess.Popen(
        [SAMPAN, "-H", daemon.host, *RUN, "--name", name, "busybox", "yes"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.read(2) == b"y\n"
    process.stdout.close()
    assert process.wait(DEADLINE_S) == 141
    sampan(daemon.host, "rm", "-f", name)


def test_environment_user_directory_and_hostname_reach_the_program(daemon: Daemon, tmp_path: Path) -> None:
    variables = tmp_path / "env"
    variables.write_text("# a comment\nFROM_FILE=1\nTAKEN\n")
    flags = [
        "-e",
        "GIVEN=a b",
        "-e",
        "TAKEN2",
        "--env-file",
        str(variables),
        "-u",
        "1000:1000",
        "-w",
        "/tmp",
        "-h",
        "box",
    ]
    script = "env | grep -E '^(GIVEN|FROM_FILE|TAKEN)' ; id -u; pwd; hostname"
    done = sampan(
        daemon.host, *RUN, *flags, "busybox", "sh", "-c", script, env={"TAKEN": "yes", "TAKEN2": "too"}
    )
    lines = done.out.splitlines()
    assert sorted(lines[:4]) == ["FROM_FILE=1", "GIVEN=a b", "TAKEN2=too", "TAKEN=yes"]
    assert lines[4:] == ["1000", "/tmp", "box"]


def test_mounts_of_all_spellings_arrive(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    done = sampan(
        daemon.host, *RUN, "-v", f"{tmp_path}:/a:ro", "--mount", f"type=bind,src={tmp_path},dst=/b,readonly",
        "--tmpfs", "/c:size=1m", "--mount", "type=tmpfs,dst=/d,tmpfs-size=2m", "busybox", "sh", "-c",
        "cat /a/file /b/file; for d in a b; do touch /$d/x 2>/dev/null && echo written; done;"
        "grep -cE ' /[cd] tmpfs' /proc/mounts",
    )  # fmt: skip
    assert done.out == "content\ncontent\n2\n", done.err


def test_exec_returns_output_and_code(daemon: Daemon, sleeper: str) -> None:
    done = sampan(daemon.host, "exec", sleeper, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.code, done.out, done.err) == (3, "out\n", "err\n")
    done = sampan(
        daemon.host,
        "exec",
        "-i",
        "-e",
        "A=b",
        "-w",
        "/tmp",
        sleeper,
        "sh",
        "-c",
        "cat; echo $A; pwd",
        stdin=b"in\n",
    )
    assert done.out == "in\nb\n/tmp\n"
    assert sampan(daemon.host, "exec", "-d", sleeper, "touch", "/tmp/made").out == ""
    poll = "while [ ! -e /tmp/made ]; do sleep 0.05; done; echo there"
    assert sampan(daemon.host, "exec", sleeper, "sh", "-c", poll).out == "there\n"


def test_exec_of_a_missing_program_or_container(daemon: Daemon, sleeper: str) -> None:
    done = sampan(daemon.host, "exec", sleeper, "nosuchprogram")
    assert done.code in (126, 127)  # dockerd 20.10 says 126, later ones 127
    assert "nosuchprogram" in done.out + done.err
    done = sampan(daemon.host, "exec", "nosuchcontainer", "true")
    assert (done.code, done.err) == (1, "error: No such container: nosuchcontainer\n")


def test_logs_are_kept_apart_and_followed(daemon: Daemon, name: str) -> None:
    script = "echo one; echo two >&2; sleep 0.3; echo three"
    sampan(daemon.host, "run", "-d", "--network", "none", "--name", name, "busybox", "sh", "-c", script)
    followed = sampan(daemon.host, "logs", "-f", name)
    assert (followed.out, followed.err) == ("one\nthree\n", "two\n")
    assert sampan(daemon.host, "logs", "-n", "1", name).out == "three\n"
    stamped = sampan(daemon.host, "logs", "-t", name).out.splitlines()[0]
    assert stamped.endswith("Z one")
    assert sampan(daemon.host, "rm", name).code == 0


def test_a_life_of_states(daemon: Daemon, sleeper: str) -> None:
    def state() -> str:
        return sampan(daemon.host, "inspect", "-f", "{{.State.Status}}", sleeper).out.strip()

    assert state() == "running"
    assert sampan(daemon.host, "pause", sleeper).out == f"{sleeper}\n"
    assert state() == "paused"
    assert sampan(daemon.host, "unpause", sleeper).code == 0
    assert sampan(daemon.host, "stop", "-t", "0", sleeper).code == 0
    assert state() == "exited"
    assert sampan(daemon.host, "wait", sleeper).out == "137\n"
    assert sampan(daemon.host, "start", sleeper).out == f"{sleeper}\n"
    assert sampan(daemon.host, "start", sleeper).code == 0
    assert sampan(daemon.host, "restart", "-t", "0", sleeper).code == 0
    assert sampan(daemon.host, "kill", sleeper).code == 0
    assert sampan(daemon.host, "wait", sleeper).out == "137\n"
    done = sampan(daemon.host, "kill", sleeper)
    assert done.code == 1
    assert "is not running" in done.err


def test_ps_lists_filters_and_formats(daemon: Daemon, sleeper: str) -> None:
    table = sampan(daemon.host, "ps").out.splitlines()
    assert table[0].split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert any(line.endswith(f" {sleeper}") and '"sleep 600"' in line for line in table[1:])
    flags = ("--filter", f"name=^{sleeper}$")
    form = "{{.Names}} {{.State}} {{.Image}}"
    assert sampan(daemon.host, "ps", *flags, "--format", form).out == f"{sleeper} running busybox\n"
    short = sampan(daemon.host, "ps", "-q", *flags).out.strip()
    full = sampan(daemon.host, "ps", "-q", "--no-trunc", *flags).out.strip()
    assert (len(short), len(full)) == (12, 64)
    assert full.startswith(short)


def test_several_containers_go_on_after_one_that_failed(daemon: Daemon, sleeper: str) -> None:
    done = sampan(daemon.host, "rm", "-f", "-v", sleeper, "nosuch")
    assert (done.code, done.out) == (0, f"{sleeper}\n")
    done = sampan(daemon.host, "stop", "nosuch1", "nosuch2")
    assert done.code == 1
    assert done.err == "error: No such container: nosuch1\nerror: No such container: nosuch2\n"


def test_create_start_rename_and_top(daemon: Daemon, name: str) -> None:
    made = sampan(daemon.host, "create", "--network", "none", "--name", name, "busybox", "sleep", "600")
    assert made.code == 0
    assert sampan(daemon.host, "rename", name, f"{name}x").code == 0
    assert sampan(daemon.host, "start", f"{name}x").code == 0
    assert "sleep 600" in sampan(daemon.host, "top", f"{name}x").out
    assert sampan(daemon.host, "rm", "-f", made.out.strip()).code == 0


def test_inspect_of_nothing(daemon: Daemon) -> None:
    done = sampan(daemon.host, "inspect", "nosuch")
    assert (done.code, done.out, done.err) == (1, "[]\n", "Error: No such object: nosuch\n")


def test_images_are_listed_tagged_and_removed(daemon: Daemon, name: str) -> None:
    assert sampan(daemon.host, "tag", "busybox", f"{name}:v1").code == 0
    rows = sampan(daemon.host, "images", name).out.splitlines()
    assert rows[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert rows[1].split()[:2] == [name, "v1"]
    assert sampan(daemon.host, "rmi", f"{name}:v1").out == f"Untagged: {name}:v1\n"
    assert sampan(daemon.host, "inspect", "-f", "{{json .Config.Cmd}}", "busybox").out == '["sh"]\n'
    assert "IMAGE" in sampan(daemon.host, "history", "busybox").out


def test_start_attached_gives_output_and_code(daemon: Daemon, name: str) -> None:
    sampan(
        daemon.host, "create", "-i", "--network", "none", "--name", name, "busybox", "sh", "-c", "cat; exit 5"
    )
    done = sampan(daemon.host, "start", "-ai", name, stdin=b"hello\n")
    assert (done.code, done.out) == (5, "hello\n")
    assert sampan(daemon.host, "rm", name).code == 0


def test_events_show_a_life(daemon: Daemon, name: str) -> None:
    flags = ["--since", f"{time.time():.6f}", "--filter", f"container={name}", "--format", "{{.Action}}"]
    process = subprocess.Popen(
        [SAMPAN, "-H", daemon.host, "events", *flags],
        stdout=subprocess.PIPE,
        bufsize=0,  # select looks at the pipe, not at a buffer
    )
    assert process.stdout is not None
    sampan(daemon.host, *RUN, "--name", name, "busybox", "true")
    seen: list[bytes] = []
    while b"destroy\n" not in seen and select.select([process.stdout], [], [], DEADLINE_S)[0]:
        seen.append(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    wanted = [b"create\n", b"start\n", b"die\n", b"destroy\n"]
    assert [line for line in seen if line in wanted] == wanted
