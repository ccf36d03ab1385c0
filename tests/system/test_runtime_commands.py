"""The command line of `sampan-runtime`: states and refusals, exec, terminals, output formats, logs."""

from __future__ import annotations

import array
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.system.bundles import Config, Runtime, needs_busybox, needs_root, poll
from tests.system.inner_cgroup import move_inside

pytestmark = [needs_root, needs_busybox]


def create(runtime: Runtime, *args: str) -> str:
    id = runtime.new_id()
    command = runtime.command("create", "--bundle", str(runtime.bundle(None, *args)), id)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return id


def test_states_and_refusals(runtime: Runtime) -> None:
    id = create(runtime, "sleep", "1000")
    assert runtime.state(id)["status"] == "created"
    assert "already exists" in runtime.call("create", "-b", str(runtime.bundle()), id).err
    assert "cannot pause" not in runtime.call("state", id).err
    assert "that is not stopped: created" in runtime.call("delete", id).err
    assert runtime.call("start", id).code == 0
    assert runtime.state(id)["status"] == "running"
    assert "it is running" in runtime.call("start", id).err
    assert "that is not stopped: running" in runtime.call("delete", id).err
    assert runtime.call("pause", id).code == 0
    assert runtime.state(id)["status"] == "paused"
    assert "it is paused" in runtime.exec(id, "true").err
    assert runtime.call("resume", id).code == 0
    assert "cannot resume" in runtime.call("resume", id).err
    assert runtime.call("kill", id, "KILL").code == 0
    runtime.wait_status(id, "stopped")
    assert "pid" not in runtime.state(id) or runtime.state(id)["pid"] == 0
    assert "container not running" in runtime.call("kill", id).err
    assert "it has stopped" in runtime.call("start", id).err
    assert "container not running" in runtime.exec(id, "true").err
    assert runtime.call("delete", id).code == 0
    assert "container does not exist" in runtime.call("state", id).err
    assert runtime.call("delete", id).code == 1
    assert runtime.call("delete", "--force", id).code == 0


def test_a_created_container_can_be_killed(runtime: Runtime) -> None:
    id = create(runtime, "sleep", "1000")
    assert runtime.call("kill", id, "9").code == 0
    runtime.wait_status(id, "stopped")
    assert runtime.call("delete", id).code == 0


def test_a_paused_container_can_be_killed(runtime: Runtime) -> None:
    id = runtime.start()
    runtime.call("pause", id)
    assert runtime.call("kill", id, "KILL").code == 0
    runtime.wait_status(id, "stopped")
    assert runtime.call("delete", id).code == 0


def test_a_paused_container_can_be_removed_by_force(runtime: Runtime) -> None:
    id = runtime.start()
    runtime.call("pause", id)
    assert runtime.call("delete", "--force", id, timeout=5).code == 0


def test_the_program_is_not_run_before_start(runtime: Runtime, tmp_path: Path) -> None:
    def change(config: Config) -> None:
        entry = {"destination": "/out", "type": "bind", "source": str(tmp_path), "options": ["bind"]}
        config["mounts"].append(entry)

    id = runtime.new_id()
    bundle = runtime.bundle(change, "touch", "/out/ran")
    subprocess.run(
        runtime.command("create", "-b", str(bundle), id),
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    (bundle / "config.json").unlink()  # changes after create have no effect
    assert not (tmp_path / "ran").exists()
    assert runtime.call("start", id).code == 0
    poll(lambda: (tmp_path / "ran").exists())
    runtime.wait_status(id, "stopped")
    assert runtime.call("delete", id).code == 0


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 42", 42), ("kill -9 $$; exit 5", 5), ("kill -TERM $$; exit 6", 6)],
)
def test_exit_codes_of_run(runtime: Runtime, script: str, code: int) -> None:
    assert runtime.run(None, "sh", "-c", script).code == code  # PID 1 cannot be killed from inside


def test_the_installed_command_with_run_as_its_first_word(runtime: Runtime) -> None:
    """What `run` imports is then loaded ahead from the bundle. A /run of its own has the default --root."""
    installed = str(Path(sys.executable).parent / "sampan-runtime")
    words = ("run", "-b", str(runtime.bundle(None, "echo", "first")), runtime.new_id())
    command = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh", installed, *words)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "first\n"), done.stderr


def test_exit_code_of_a_killed_container(runtime: Runtime) -> None:
    id = runtime.new_id()
    command = runtime.command("run", "-b", str(runtime.bundle(None, "sleep", "1000")), id)
    with subprocess.Popen(command) as running:
        poll(lambda: runtime.call("state", id).code == 0 and runtime.state(id)["status"] == "running")
        runtime.call("kill", id, "KILL")
        assert running.wait(20) == 137
    assert runtime.call("state", id).code == 1  # run removes what it made


def test_signals_are_forwarded(runtime: Runtime) -> None:
    id = runtime.new_id()
    bundle = runtime.bundle(
        None, "sh", "-c", "trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 0.05; done"
    )
    with subprocess.Popen(runtime.command("run", "-b", str(bundle), id), stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGUSR1)
        assert running.stdout.readline() == b"got\n"
        assert running.wait(20) == 3


def test_stdin_and_output(runtime: Runtime) -> None:
    done = runtime.run(None, "sh", "-c", "cat; echo problem >&2", stdin="data\n")
    assert (done.out, done.err) == ("data\n", "problem\n")


def test_keep(runtime: Runtime) -> None:
    id = runtime.new_id()
    assert runtime.call("run", "--keep", "-b", str(runtime.bundle()), id).code == 0
    assert runtime.state(id)["status"] == "stopped"
    assert runtime.call("delete", id).code == 0


def test_exec(runtime: Runtime) -> None:
    id = runtime.start()
    assert runtime.exec(id, "sh", "-c", "echo hello; exit 9").code == 9
    done = runtime.exec(
        id,
        "sh",
        "-c",
        "echo $$; pwd; echo $A; id -u; id -G; grep -c : /proc/self/cgroup",
        options=("--cwd", "/tmp", "-e", "A=1", "--user", "5:6", "-g", "7"),
    )
    assert done.lines[1:5] == ["/tmp", "1", "5", "6 7"]
    assert int(done.lines[0]) > 1
    assert runtime.exec(id, "nosuch").code == 255
    assert 'exec: "nosuch": executable file not found in $PATH' in runtime.exec(id, "nosuch").err
    runtime.call("delete", "-f", id)


def test_exec_shares_everything_with_init(runtime: Runtime) -> None:
    id = runtime.start()
    pid = runtime.state(id)["pid"]
    kinds = ("mnt", "pid", "net", "ipc", "uts")
    done = runtime.exec(
        id,
        "sh",
        "-c",
        f"for n in {' '.join(kinds)}; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup",
    )
    assert done.lines[:5] == [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]
    assert done.lines[5:] == Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    runtime.call("delete", "-f", id)


def test_exec_follows_an_init_that_moved_to_a_cgroup_inside(runtime: Runtime) -> None:
    id = runtime.start()
    inside = move_inside(runtime.state(id)["pid"])
    done = runtime.exec(id, "cat", "/proc/self/cgroup")
    assert done.code == 0, done.err
    assert f"0::{inside}" in done.lines
    runtime.call("delete", "-f", id)


def test_exec_has_the_filter_and_no_more_capabilities(runtime: Runtime) -> None:
    def change(config: Config) -> None:
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
        }

    id = runtime.start(change)
    status = runtime.exec(id, "cat", "/proc/self/status", options=("--cap", "CAP_NET_RAW")).out
    fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert fields["Seccomp"] == "2"
    assert fields["CapInh"] == fields["CapAmb"] == "0" * 16
    assert int(fields["CapEff"], 16) & 1 << 13  # CAP_NET_RAW, as asked
    assert not int(fields["CapEff"], 16) & 1 << 21  # CAP_SYS_ADMIN, as not asked
    runtime.call("delete", "-f", id)


def test_exec_process_document_and_detach(runtime: Runtime, tmp_path: Path) -> None:
    id = runtime.start()
    document = {
        "args": ["sh", "-c", "sleep 1000"],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 3, "gid": 3},
    }
    (tmp_path / "p.json").write_text(json.dumps(document))
    subprocess.run(
        runtime.command(
            "exec", "-d", "-p", str(tmp_path / "p.json"), "--pid-file", str(tmp_path / "pid"), id
        ),
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=30,
    )
    pid = int((tmp_path / "pid").read_text())
    assert pid in json.loads(runtime.call("ps", "--format", "json", id).out)
    runtime.call("delete", "-f", id)
    assert not Path(f"/proc/{pid}/root/bin").exists()


def test_state_list_ps_events_update(runtime: Runtime) -> None:
    id = runtime.start()
    state = runtime.state(id)
    assert state["ociVersion"].startswith("1.")
    assert {"id", "pid", "status", "bundle", "rootfs", "created", "owner"} <= set(state)
    listed = json.loads(runtime.call("list", "-f", "json").out)
    assert [entry["pid"] for entry in listed if entry["id"] == id] == [state["pid"]]
    assert id in runtime.call("list", "-q").lines
    assert runtime.call("list").lines[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert json.loads(runtime.call("ps", "-f", "json", id).out) == [state["pid"]]
    assert "sleep 1000" in runtime.call("ps", id).out
    event = json.loads(runtime.call("events", "--stats", id).out)
    assert (event["type"], event["id"]) == ("stats", id)
    assert event["data"]["pids"]["current"] == 1
    assert event["data"]["memory"]["usage"]["usage"] > 0
    assert runtime.call("update", "--memory", "32m", "--pids-limit", "20", id).code == 0
    assert runtime.call("update", "-r", "-", id, stdin='{"cpu": {"shares": 300}}').code == 0
    event = json.loads(runtime.call("events", "--stats", id).out)
    assert event["data"]["pids"]["limit"] == 20
    assert event["data"]["memory"]["usage"]["limit"] == 32 << 20
    assert "option --memory" in runtime.call("update", "--memory", "32q", id).err
    runtime.call("delete", "-f", id)


def test_kill_all(runtime: Runtime) -> None:
    id = runtime.start(None, "sh", "-c", "sleep 1000 & sleep 1000 & wait")
    poll(lambda: len(json.loads(runtime.call("ps", "-f", "json", id).out)) == 3)
    assert runtime.call("kill", "--all", id, "KILL").code == 0
    runtime.wait_status(id, "stopped")
    assert json.loads(runtime.call("ps", "-f", "json", id).out) == []
    runtime.call("delete", id)


def test_delete_force_without_a_pid_namespace(runtime: Runtime) -> None:
    def change(config: Config) -> None:
        config["linux"]["namespaces"] = [{"type": "mount"}]
        config["mounts"] = [entry for entry in config["mounts"] if entry["type"] not in ("mqueue", "sysfs")]
        del config["hostname"]

    id = runtime.start(change, "sh", "-c", "sleep 1000 & sleep 1000 & wait")
    poll(lambda: len(json.loads(runtime.call("ps", "-f", "json", id).out)) == 3)
    pids = json.loads(runtime.call("ps", "-f", "json", id).out)
    assert runtime.call("delete", "--force", id).code == 0
    poll(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_log_file_in_both_formats(runtime: Runtime, tmp_path: Path) -> None:
    bundle = runtime.bundle(None, "nosuch")
    for format in ("json", "text"):
        log = tmp_path / format
        done = runtime.call(
            "--log", str(log), "--log-format", format, "create", "-b", str(bundle), runtime.new_id()
        )
        assert done.code == 1
        line = log.read_text().splitlines()[-1]
        if format == "json":
            entry = json.loads(line)
            assert entry["level"] == "error"
            assert entry["msg"].endswith('exec: "nosuch": executable file not found in $PATH')
            assert set(entry) == {"level", "msg", "time"}
        else:
            assert 'level=error msg="unable to start' in line


def test_pid_file(runtime: Runtime, tmp_path: Path) -> None:
    id = runtime.new_id()
    bundle = runtime.bundle(None, "sleep", "1000")
    command = runtime.command("run", "-d", "--pid-file", str(tmp_path / "pid"), "-b", str(bundle), id)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert int((tmp_path / "pid").read_text()) == runtime.state(id)["pid"]
    assert os.listdir(tmp_path) == ["pid"]
    runtime.call("delete", "-f", id)


def test_preserved_descriptors(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("through a descriptor\n")
    bundle = runtime.bundle(None, "sh", "-c", "cat <&4; ls /proc/self/fd; env | grep LISTEN | sort")
    with open(tmp_path / "file") as first, open(tmp_path / "file") as second:
        os.dup2(first.fileno(), 100)
        script = f'exec 3<&{first.fileno()} 4<&{second.fileno()}; exec "$@"'
        done = subprocess.run(
            [
                "/bin/bash",
                "-c",
                script,
                "x",
                *runtime.command("run", "--preserve-fds", "1", "-b", str(bundle), runtime.new_id()),
            ],
            pass_fds=(first.fileno(), second.fileno()),
            env={**os.environ, "LISTEN_FDS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        os.close(100)
    lines = done.stdout.splitlines()
    assert lines[0] == "through a descriptor"
    assert lines[1:7] == ["0", "1", "2", "3", "4", "5"]  # 5 is ls's own
    assert lines[-2:] == ["LISTEN_FDS=1", "LISTEN_PID=1"]
    missing = runtime.call("run", "--preserve-fds", "9", "-b", str(bundle), runtime.new_id())
    assert "is not open" in missing.err


def with_terminal(config: Config) -> None:
    config["process"]["terminal"] = True
    config["process"]["consoleSize"] = {"height": 31, "width": 97}
    config["process"]["user"] = {"uid": 1000, "gid": 1000}


def read_all(fd: int) -> bytes:
    data = b""
    while True:
        ready, _, _ = select.select([fd], [], [], 20)
        assert ready, data
        try:
            part = os.read(fd, 65536)
        except OSError:
            return data
        if not part:
            return data
        data += part


def test_console_socket(runtime: Runtime, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "console"))
    listener.listen()
    script = "tty; stty size; stat -c '%u %F' /dev/console; readlink /proc/self/fd/0; echo > /dev/tty"
    id = runtime.new_id()
    bundle = runtime.bundle(with_terminal, "sh", "-c", script)
    command = runtime.command(
        "run", "-d", "--console-socket", str(tmp_path / "console"), "-b", str(bundle), id
    )
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    connection, _ = listener.accept()
    name, ancillary, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
    master = array.array("i", ancillary[0][2])[0]
    assert name == b"/dev/ptmx"
    lines = read_all(master).decode().split("\r\n")
    assert lines[:4] == ["/dev/pts/0", "31 97", "1000 character special file", "/dev/pts/0"]
    os.close(master)
    connection.close()
    listener.close()
    runtime.wait_status(id, "stopped")
    runtime.call("delete", id)


def test_terminal_in_the_foreground(runtime: Runtime) -> None:
    bundle = runtime.bundle(with_terminal, "sh", "-c", "read x; echo got $x; stty size; read y; stty size")
    pid, master = pty.fork()
    if pid == 0:
        command = runtime.command("run", "-b", str(bundle), runtime.new_id())
        os.execv(command[0], command)
    import fcntl
    import struct
    import termios

    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 11, 22, 0, 0))
    text = b""
    os.write(master, b"word\n")
    while b"\r\n11 22" not in text:
        text += os.read(master, 1000)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 33, 44, 0, 0))
    os.kill(pid, signal.SIGWINCH)
    os.write(master, b"again\n")
    text += read_all(master)
    assert b"got word" in text
    assert b"33 44" in text
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    os.close(master)


def test_exec_with_a_terminal(runtime: Runtime, tmp_path: Path) -> None:
    id = runtime.start()
    pid, master = pty.fork()
    if pid == 0:
        command = runtime.command("exec", "-t", id, "sh", "-c", "tty; exit 4")
        os.execv(command[0], command)
    assert b"/dev/pts/0" in read_all(master)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 4
    os.close(master)
    assert "console-socket" in runtime.exec(id, "true", options=("-t", "-d")).err
    runtime.call("delete", "-f", id)


def test_spec_and_features(runtime: Runtime, tmp_path: Path) -> None:
    assert runtime.call("spec", "-b", str(tmp_path)).code == 0
    assert "exists already" in runtime.call("spec", "-b", str(tmp_path)).err
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "rootfs").symlink_to(runtime.root)
    config["process"].update(terminal=False, args=["hostname"])
    config["linux"]["cgroupsPath"] = f"{runtime.parent}/spec"
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = runtime.call("run", "-b", str(tmp_path), runtime.new_id())
    assert done.out == "sampan\n", done.err
    features = json.loads(runtime.call("features").out)
    assert set(features["linux"]["namespaces"]) == {
        "cgroup",
        "ipc",
        "mount",
        "network",
        "pid",
        "time",
        "user",
        "uts",
    }
    assert "tmpcopyup" in features["mountOptions"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("creat", "x"), "did you mean create?"),
        (("create", "--bundel", "x", "y"), "did you mean --bundle?"),
        (("state",), "state takes <container-id>"),
        (("state", "a/b"), "container id 'a/b' is invalid"),
        (("state", ".."), "container id '..' is invalid"),
        (("kill", "x", "SIGNOTHING"), "unknown signal 'SIGNOTHING'"),
        (("--log-format", "xml", "list"), "neither text nor json"),
        (("run", "--bundle", "/no/such", "x"), "config.json not found"),
        (("--systemd-cgroup", "run", "x"), ""),
    ],
)
def test_wrong_command_lines(runtime: Runtime, words: tuple[str, ...], text: str) -> None:
    done = runtime.call(*words)
    assert done.code == 1
    assert text in done.err
    assert "Traceback" not in done.err


def test_help(runtime: Runtime) -> None:
    assert "Commands:" in runtime.call("--help").out
    assert "--console-socket" in runtime.call("create", "--help").out
    assert "spec: 1.2" in runtime.call("--version").out


def test_another_configuration_file(runtime: Runtime, tmp_path: Path) -> None:
    bundle = runtime.bundle(None, "echo", "moved")
    (bundle / "config.json").rename(tmp_path / "other.json")
    done = runtime.call("run", "--config", str(tmp_path / "other.json"), "-b", str(bundle), runtime.new_id())
    assert done.out == "moved\n"


def test_report_names_every_plank(runtime: Runtime, tmp_path: Path) -> None:
    script = """
import sys; sys.path[:0] = [sys.argv[1]]
from sampan.runtime.lifecycle import *
from sampan.kernel import process
report = []
c = create_container(CreateRequest(id=sys.argv[2], bundle=sys.argv[3], state_root=sys.argv[4], report=report))
c.start()
process.wait_pidfd(c.pidfd)
delete_container(sys.argv[4], sys.argv[2])
for p in report: print(p.plank, p.microseconds, p.text)
"""
    words: list[Any] = [
        Path(__file__).parents[2] / "src",
        runtime.new_id(),
        runtime.bundle(),
        runtime.folder / "state",
    ]
    done = subprocess.run(
        [runtime.program[0], "-IS", "-c", script, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"sees", "may", "is", "process"}
    assert any("mount proc at /proc (nosuid,nodev,noexec)" in line for line in lines)
    assert any("in new namespaces: ipc mount network pid uts" in line for line in lines)
    assert any("6 capabilities" in line for line in lines)
