"""The real docker command line runs containers: streams, terminals, exit codes (docker-api 3.5)."""

from __future__ import annotations

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root, wait_for
from tests.system.terminal import Terminal

pytestmark = [needs_root, needs_busybox]

RUN = ("run", "--rm", "--network", "none")


def test_run_prints(sampand: Sampand, cli: str) -> None:
    done = sampand.docker(*RUN, "busybox", "echo", "hello", cli=cli)
    assert (done.code, done.out, done.err) == (0, b"hello\n", "")
    assert sampand.call("GET", "/containers/json?all=1") == []


def test_run_keeps_the_two_outputs_apart(sampand: Sampand, cli: str) -> None:
    done = sampand.docker(*RUN, "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", cli=cli)
    assert (done.code, done.out, done.err) == (7, b"out\n", "err\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(
            ("busybox", "no-such-program"), 127, "executable file not found", id="command not found"
        ),
        pytest.param(("busybox", "/no/such/program"), 127, "no such file or directory", id="path not found"),
        pytest.param(("busybox", "/etc/plain"), 126, "permission denied", id="not executable"),
        pytest.param(
            ("-w", "/etc/passwd", "busybox", "true"),
            125,
            "/etc/passwd is not a directory",
            id="cwd is a file",
        ),
        pytest.param(("-w", "/made/for/it", "busybox", "pwd"), 0, "", id="cwd is made"),
        pytest.param(("127.0.0.1:1/unknown",), 125, "cannot reach registry 127.0.0.1:1", id="no registry"),
        pytest.param(
            ("--memory", "1m", "busybox"), 125, "Minimum memory limit allowed is 6MB", id="bad value"
        ),
        pytest.param(("--cap-add", "NO_SUCH", "busybox"), 125, "NO_SUCH", id="unknown capability"),
        pytest.param(
            ("busybox", "sh", "-c", "kill -9 $$; exit 3"), 3, "", id="PID 1 is protected from inside"
        ),
        pytest.param(("busybox", "sh", "-c", "exit 255"), 255, "", id="any other code"),
    ],
)
def test_run_exit_codes(
    sampand: Sampand, cli: str, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = sampand.docker(*RUN, *arguments, cli=cli)
    assert (done.code, message in done.err) == (code, True), done.err
    assert "Error waiting" not in done.err
    assert sampand.call("GET", "/containers/json?all=1") == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(
            ("-w", "/nosuch", "NAME", "true"),
            127,
            "OCI runtime exec failed: exec failed: unable to start container process:"
            ' chdir to cwd ("/nosuch") set in config.json failed: no such file or directory',
            id="no such directory",
        ),
        pytest.param(
            ("-w", "/etc/passwd", "NAME", "true"), 127, "failed: not a directory", id="cwd is a file"
        ),
        pytest.param(
            ("NAME", "nosuch"),
            127,
            "OCI runtime exec failed: exec failed: unable to start container process:"
            ' exec: "nosuch": executable file not found in $PATH',
            id="no such program",
        ),
        pytest.param(("NAME", "/etc"), 126, '"/etc": is a directory', id="program is a directory"),
    ],
)
def test_exec_exit_codes(
    sampand: Sampand, cli: str, arguments: tuple[str, ...], code: int, message: str
) -> None:
    name = sampand.docker("run", "-d", "--network", "none", "busybox", "sleep", "100", cli=cli).text.strip()
    done = sampand.docker("exec", *(name if word == "NAME" else word for word in arguments), cli=cli)
    assert (done.code, message in done.text) == (code, True), done
    sampand.docker("rm", "-f", name, cli=cli)


def test_run_of_a_directory(sampand: Sampand, cli: str) -> None:
    done = sampand.docker(*RUN, "busybox", "/etc", cli=cli)
    assert done.code == (
        125 if "20.10" in sampand.docker("--version", cli=cli).text else 126
    )  # it knows no such text
    assert "is a directory" in done.err


def test_run_killed_from_outside_is_137(sampand: Sampand, cli: str) -> None:
    name = f"killed-{os.path.basename(os.path.dirname(cli))}-{len(cli)}"
    with Terminal([cli, *RUN, "--name", name, "busybox", "sleep", "60"], sampand.environment) as terminal:
        wait_for(lambda: sampand.call("GET", "/containers/json"), "container runs")
        assert sampand.docker("kill", name, cli=cli).text == name
        assert terminal.wait() == 137


def test_run_reads_standard_input_up_to_its_end(sampand: Sampand, cli: str) -> None:
    done = sampand.docker(*RUN, "-i", "busybox", "sh", "-c", "cat; echo end", stdin=b"some data\n", cli=cli)
    assert (done.code, done.out) == (0, b"some data\nend\n")


def test_large_streams_are_exact_both_ways(sampand: Sampand, cli: str) -> None:
    data = os.urandom(1 << 20) * 32
    done = sampand.docker(*RUN, "-i", "busybox", "cat", stdin=data, cli=cli, timeout_s=120)
    assert done.code == 0
    assert hashlib.sha256(done.out).digest() == hashlib.sha256(data).digest()


def test_run_on_a_terminal(sampand: Sampand, cli: str) -> None:
    command = [cli, *RUN, "-it", "--name", "ended-by-key", "busybox", "sh"]
    with Terminal(command, sampand.environment, rows=33, columns=101) as terminal:
        terminal.expect("# ")
        terminal.send("stty size\r")
        terminal.expect("33 101\r\n")
        # An old client asks for the signal late: a size that it missed is changed once more.
        terminal.send("until [ \"$(stty size)\" = '44 122' ]; do sleep 0.1; done; echo re''sized\r")
        for _ in range(100):
            terminal.resize(43, 122)
            terminal.resize(44, 122)
            if terminal.shows("resized\r\n", within_s=0.2):
                break
        terminal.expect("resized\r\n")
        terminal.send("sleep 100\r")
        wait_for(lambda: "sleep 100" in sampand.docker("top", "ended-by-key", cli=cli).text, "sleep runs")
        terminal.send("\x03")
        terminal.expect("# ")
        terminal.send("exit 9\r")
        assert terminal.wait() == 9


def test_detach_keys_leave_it_running_and_attach_comes_back(sampand: Sampand, cli: str) -> None:
    command = [cli, *RUN, "-it", "--name", "detached", "busybox", "sh"]
    with Terminal(command, sampand.environment) as terminal:
        terminal.expect("# ")
        terminal.send("x=kept\r")
        terminal.expect("# ")
        terminal.send("\x10\x11")
        assert terminal.wait() == 0
    assert sampand.call("GET", "/containers/detached/json")["State"]["Running"]
    with Terminal([cli, "attach", "detached"], sampand.environment) as terminal:
        terminal.send("\recho $x\r")
        terminal.expect("kept\r\n")
        terminal.send("exit 4\r")
        assert terminal.wait() == 4
    wait_for(lambda: sampand.call("GET", "/containers/json?all=1") == [], "removed")


def test_attach_of_one_that_ends(sampand: Sampand, cli: str) -> None:
    identity = sampand.docker(
        "create", "-i", "--network", "none", "busybox", "sh", "-c", "read x; echo got $x; exit 5", cli=cli
    ).text
    done = sampand.docker("start", "-ai", identity, stdin=b"word\n", cli=cli)
    assert (done.code, done.out) == (5, b"got word\n")
    again = sampand.docker("start", "-ai", identity, stdin=b"another\n", cli=cli)
    assert (again.code, again.out) == (5, b"got another\n")
    assert sampand.docker("rm", identity, cli=cli).text == identity


def test_detached_run_and_its_life(sampand: Sampand, cli: str) -> None:
    started = sampand.docker(
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        "web",
        "busybox",
        "sh",
        "-c",
        "echo up; exec sleep 100",
        cli=cli,
    )
    assert (started.code, re.fullmatch("[0-9a-f]{64}", started.text) is not None) == (0, True), started.err
    listed = sampand.docker(
        "ps", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.Status}}", cli=cli
    )
    assert re.fullmatch(f"{started.text} web busybox Up .*", listed.text)
    wait_for(lambda: sampand.docker("logs", "web", cli=cli).text == "up", "log")
    assert sampand.docker("stop", "-t", "5", "web", cli=cli).text == "web"
    assert "Exited (" in sampand.docker("ps", "-a", "--format", "{{.Status}}", cli=cli).text
    assert sampand.docker("start", "web", cli=cli).text == "web"
    assert sampand.docker("restart", "-t", "0", "web", cli=cli).text == "web"
    refused = sampand.docker("rm", "web", cli=cli)
    assert refused.code == 1
    assert "stop the container before removing or force remove" in refused.err
    assert sampand.docker("rm", "-f", "web", cli=cli).text == "web"
    assert sampand.docker("ps", "-aq", "-f", "name=web", cli=cli).text == ""


def test_short_runs_side_by_side_lose_no_output(sampand: Sampand, cli: str) -> None:
    """A start that overtook the hand-over of its attach lost everything the container said."""
    command = (*RUN, "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: sampand.docker(*command, cli=cli), range(24)))
    assert {(one.code, one.out, one.err) for one in done} == {(7, b"out\n", "err\n")}


def test_name_in_use(sampand: Sampand, cli: str) -> None:
    first = sampand.docker("create", "--network", "none", "--name", "taken", "busybox", cli=cli).text
    refused = sampand.docker("run", "--network", "none", "--name", "taken", "busybox", cli=cli)
    assert refused.code == 125
    assert f'The container name "/taken" is already in use by container "{first}"' in refused.err
    sampand.docker("rm", "taken", cli=cli)


def test_read_only_root_user_environment_and_mounts(sampand: Sampand, cli: str, tmp_path: Path) -> None:
    script = (
        "id -u; pwd; echo $A-$B; cat /bound/file; "
        "touch /x 2>/dev/null || echo read-only; touch /t/x && echo tmpfs"
    )
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("bound\n")
    done = sampand.docker(
        *RUN,
        "--read-only",
        "-u",
        "user",
        "-w",
        "/tmp",
        "-e",
        "A=1",
        "-e",
        "B=2 3",
        "-v",
        f"{tmp_path}:/bound:ro",
        "--tmpfs",
        "/t:mode=1777",
        "busybox",
        "sh",
        "-c",
        script,
        cli=cli,
    )
    assert done.text.split("\n") == ["1000", "/tmp", "1-2 3", "bound", "read-only", "tmpfs"], done.err
