"""`sampan run -it` and friends in a real terminal."""

from __future__ import annotations

import os
import signal
import uuid

import pytest
from tests.system.cli.harness import Daemon, Terminal, sampan

RUN = ("run", "--rm", "--network", "none")


def _name() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


def test_a_shell_in_a_terminal_echoes_runs_and_ends_with_its_code(daemon: Daemon) -> None:
    with Terminal(daemon.host, *RUN, "-it", "busybox", "sh") as terminal:
        terminal.expect(b"# ")
        terminal.send(b"echo $((6 * 7))\r")
        terminal.expect(b"42")
        terminal.send(b"exit 5\r")
        assert terminal.wait() == 5
        assert terminal.is_restored()


def test_the_program_finds_the_window_size_at_its_start_and_after_a_change(daemon: Daemon) -> None:
    with Terminal(daemon.host, *RUN, "-it", "busybox", "sh", rows=31, columns=97) as terminal:
        terminal.expect(b"# ")
        terminal.send(b"stty size\r")
        terminal.expect(b"31 97")
        terminal.resize(40, 120)
        # The kernel signals only the foreground group of a controlling terminal; the command has none here.
        os.kill(terminal.process.pid, signal.SIGWINCH)
        terminal.send(b"while [ \"$(stty size)\" != '40 120' ]; do sleep 0.1; done; echo re''sized\r")
        terminal.expect(b"resized")
        terminal.send(b"exit\r")
        assert terminal.wait() == 0


def test_control_c_reaches_the_program_and_not_the_command(daemon: Daemon) -> None:
    with Terminal(daemon.host, *RUN, "-it", "busybox", "sh") as terminal:
        terminal.expect(b"# ")
        terminal.send(b"trap 'echo caught' INT; echo re''ady\r")
        terminal.expect(b"ready")
        terminal.send(b"\x03")
        terminal.expect(b"^C")
        terminal.send(b"exit 3\r")
        assert terminal.wait() == 3


def test_the_detach_keys_leave_the_container_running(daemon: Daemon) -> None:
    name = _name()
    with Terminal(
        daemon.host, "run", "--network", "none", "-it", "--name", name, "busybox", "sh"
    ) as terminal:
        terminal.expect(b"# ")
        terminal.send(b"\x10\x11")
        assert terminal.wait() == 0
        assert terminal.is_restored()
    assert sampan(daemon.host, "inspect", "-f", "{{.State.Running}}", name).out == "true\n"
    with Terminal(daemon.host, "attach", "--detach-keys", "ctrl-a,x", name) as terminal:
        terminal.send(b"echo ba''ck\r")
        terminal.expect(b"back")
        terminal.send(b"\x01x")
        assert terminal.wait() == 0
    assert sampan(daemon.host, "rm", "-f", name).code == 0


def test_attach_sees_the_end_of_the_container(daemon: Daemon) -> None:
    name = _name()
    assert sampan(daemon.host, "run", "-dit", "--network", "none", "--name", name, "busybox", "sh").code == 0
    with Terminal(daemon.host, "attach", name) as terminal:
        terminal.send(b"exit 9\r")
        assert terminal.wait() == 9
        assert terminal.is_restored()
    with Terminal(daemon.host, "start", "-ai", name) as terminal:
        terminal.send(b"echo aga''in; exit 4\r")
        terminal.expect(b"again")
        assert terminal.wait() == 4
    assert sampan(daemon.host, "rm", name).code == 0


def test_exec_has_a_terminal_of_its_own(daemon: Daemon) -> None:
    name = _name()
    assert (
        sampan(daemon.host, "run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "600").code
        == 0
    )
    with Terminal(daemon.host, "exec", "-it", name, "sh", rows=33, columns=99) as terminal:
        terminal.expect(b"# ")
        terminal.send(b"stty size; tty 2>/dev/null; exit 6\r")
        terminal.expect(b"33 99")
        assert terminal.wait() == 6
        assert terminal.is_restored()
    assert sampan(daemon.host, "rm", "-f", name).code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_exec_leaves_the_terminal_in_order(daemon: Daemon, number: int) -> None:
    name = _name()
    assert (
        sampan(daemon.host, "run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "600").code
        == 0
    )
    with Terminal(daemon.host, "exec", "-it", name, "sh") as terminal:
        terminal.expect(b"# ")
        terminal.process.send_signal(number)
        assert terminal.wait() == 128 + number
        assert terminal.is_restored()
    assert sampan(daemon.host, "rm", "-f", name).code == 0


def test_large_output_in_a_terminal_is_complete(daemon: Daemon) -> None:
    with Terminal(daemon.host, *RUN, "-it", "busybox", "sh", "-c", "seq 1 20000; echo e''nd") as terminal:
        shown = terminal.expect(b"end\r\n")
        assert terminal.wait() == 0
    numbers = [int(line) for line in shown.split() if line.isdigit()]
    assert numbers == list(range(1, 20001))


def test_no_terminal_is_refused_before_anything_is_made(daemon: Daemon) -> None:
    done = sampan(daemon.host, *RUN, "-it", "busybox", "sh")
    assert (done.code, done.out) == (1, "")
    assert "the input device is not a TTY" in done.err
