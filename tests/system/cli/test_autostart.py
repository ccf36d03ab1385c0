"""sampand is started when none answers, once, however many ask; each test has an empty /run and /var/lib."""

from __future__ import annotations

import os
import subprocess

import pytest
from tests.system.cli.harness import DEADLINE_S, SAMPAN, Done
from tests.system.sampand import needs_root

pytestmark = needs_root

PRELUDE = 'set -u; mount -t tmpfs none /run; mount -t tmpfs none /var/lib; s() { "$SAMPAN" "$@"; };'


def in_a_fresh_machine(script: str) -> Done:
    """Run a script of `s` (sampan) commands where no sampan ran before; its daemon is stopped at the end."""
    environment = {key: value for key, value in os.environ.items() if key != "SAMPAN_HOST"}
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            f"{PRELUDE} {script}; s system stop >/dev/null",
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**environment, "SAMPAN": str(SAMPAN)},
        stdin=subprocess.DEVNULL,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_first_command_starts_it_and_says_so() -> None:
    done = in_a_fresh_machine("s ps -q; echo $?; s ps -q; s system status | head -n 1")
    assert done.out == "0\nstate:     running\n"
    assert done.err == "sampand does not run: starting it ('sampan system stop' ends it)\n"


def test_commands_that_start_it_at_once_all_get_an_answer() -> None:
    done = in_a_fresh_machine("for i in 1 2 3 4; do (s ps -q && echo ok) & done; wait")
    assert done.out == "ok\n" * 4


def test_start_status_and_stop() -> None:
    script = "s system status; echo $?; s system start; s system start;"
    script += "s system stop; s system stop; s system status"
    done = in_a_fresh_machine(script)
    assert done.out.splitlines() == [
        "sampand does not run at unix:///run/sampan/sampan.sock",
        "3",
        "sampand runs",
        "sampand runs already",
        "sampand has stopped; containers run on",
        "sampand does not run",
        "sampand does not run at unix:///run/sampan/sampan.sock",
    ]


def test_other_roots() -> None:
    script = (
        "s system start --data-root /run/d --run-root /run/r; export SAMPAN_HOST=unix:///run/r/sampan.sock;"
        "s system status | tail -n 2"
    )
    assert in_a_fresh_machine(script).out == "sampand runs\ndata root: /run/d\nrun root:  /run/r\n"


def test_a_daemon_that_cannot_start_says_why() -> None:
    done = in_a_fresh_machine("touch /run/sampan; s ps; echo $?; rm /run/sampan")
    assert done.out == "1\n"
    assert "error: cannot start sampand: " in done.err
    assert "hint: its log is /var/lib/sampan/sampand.log" in done.err


@pytest.mark.parametrize("name", ["-H", "SAMPAN_HOST"])
def test_no_daemon_is_started_for_another_address(name: str) -> None:
    address = "unix:///run/elsewhere.sock"
    command = f"s -H {address} ps" if name == "-H" else f'SAMPAN_HOST={address} "$SAMPAN" ps'
    done = in_a_fresh_machine(f"{command}; echo $?; ls /var/lib")
    assert done.out == "1\n"
    assert done.err.startswith(f"error: cannot connect to {address}: nobody listens there\nhint: ")
