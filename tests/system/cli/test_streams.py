"""Standard streams that are closed, full, or gone."""

from __future__ import annotations

import os
import subprocess

import pytest
from tests.system.cli.harness import DEADLINE_S, SAMPAN, Daemon, Done

RUN = ("run", "--rm", "--network", "none")


def with_redirection(daemon: Daemon, redirection: str, *arguments: str) -> Done:
    """Run the command from a shell that redirects a stream."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirection}', SAMPAN, "-H", daemon.host, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_closed_input_is_empty_and_no_socket_takes_its_place(daemon: Daemon) -> None:
    done = with_redirection(daemon, "<&-", *RUN, "-i", "busybox", "sh", "-c", "cat; echo end")
    assert (done.code, done.out, done.err) == (0, "end\n", "")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_outputs_do_no_harm(daemon: Daemon, redirection: str) -> None:
    assert (
        with_redirection(daemon, redirection, *RUN, "busybox", "sh", "-c", "echo x; echo y >&2; exit 3").code
        == 3
    )
    assert with_redirection(daemon, redirection, "ps").code == 0


def test_a_full_disk_is_told(daemon: Daemon) -> None:
    done = with_redirection(daemon, ">/dev/full", "ps")
    assert (done.code, done.err) == (1, "error: cannot write the output: No space left on device\n")
    done = with_redirection(daemon, ">/dev/full", *RUN, "busybox", "echo", "x")
    assert (done.code, done.err) == (1, "error: No space left on device\n")


def test_an_output_that_does_not_block_loses_nothing(daemon: Daemon) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = subprocess.Popen(
        [SAMPAN, "-H", daemon.host, *RUN, "busybox", "seq", "1", "100000"],
        stdout=writing,
        stdin=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as out:
        assert out.read() == "".join(f"{number}\n" for number in range(1, 100001))
    assert process.wait(DEADLINE_S) == 0
