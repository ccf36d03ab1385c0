"""Checkers: the process that stands ready in a container whose checks come often."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.system.engine_kit import Box, alive, wait_until

from sampan.spec import docker

MS = 10**6
FOR_EVER = ("sleep", "1000")


def check(*words: str, **more: int) -> docker.HealthConfig:
    values = {"Interval": 20 * MS, "Timeout": 5000 * MS, "Retries": 2} | more
    return docker.HealthConfig(Test=["CMD", *words], **values)  # type: ignore[arg-type]  # numbers only


def status(box: Box, ref: str) -> str:
    found = box.state(ref).Health
    assert isinstance(found, docker.Health)
    return found.Status


def checker_of(box: Box, ref: str) -> int:
    """Return the pid of a container's checker, 0 when it has none."""
    return box.engine.containers._core.index.get(ref).checker_pid


def last_start(box: Box, ref: str) -> str:
    """Return when the last check that has ended was begun."""
    found = box.state(ref).Health
    assert isinstance(found, docker.Health)
    return found.Log[-1].Start


def new_checker(box: Box, ref: str, but: int = 0) -> int:
    """Wait for a checker, for another than the one of that pid."""
    wait_until(lambda: checker_of(box, ref) not in (0, but), "there is a checker")
    return checker_of(box, ref)


def test_it_is_outside_of_what_the_container_sees(box: Box) -> None:
    container = box.start(*FOR_EVER, Healthcheck=check("true"))
    wait_until(lambda: status(box, container) == "healthy", "it is healthy")
    pid = checker_of(box, container)
    assert Path(f"/proc/{pid}/comm").read_text() == "sampan-checker\n"
    init = box.state(container).Pid
    for kind in ("mnt", "net", "ipc", "uts", "pid_for_children"):
        inner = kind.removesuffix("_for_children")
        assert os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/{init}/ns/{inner}")
    assert os.readlink(f"/proc/{pid}/ns/pid") != os.readlink(f"/proc/{init}/ns/pid")
    assert b"checker" not in box.exec(container, "ps").stdout
    shown = box.engine.containers.top(container, "").Processes
    assert str(pid) not in [field for row in shown for field in row]


def test_it_holds_no_folder_and_no_privilege_of_the_host(box: Box) -> None:
    container = box.start(*FOR_EVER, Healthcheck=check("true"), User="1000")
    wait_until(lambda: status(box, container) == "healthy", "it is healthy")
    pid, init = checker_of(box, container), box.state(container).Pid
    kinds = {os.readlink(path).partition(":")[0] for path in Path(f"/proc/{pid}/fd").iterdir()}
    assert kinds <= {"/dev/null", "socket", "pipe", "anon_inode"}
    ours, theirs = (_fields(one) for one in (pid, init))
    names = "Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp".split()
    assert {name: ours[name] for name in names} == {name: theirs[name] for name in names}
    assert Path(f"/proc/{pid}/environ").stat().st_uid == 0  # not dumpable: root's, not the user's


def _fields(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_one_that_was_killed_has_a_successor(box: Box) -> None:
    container = box.start(*FOR_EVER, Healthcheck=check("true", Retries=1))
    wait_until(lambda: status(box, container) == "healthy", "it is healthy")
    pid = new_checker(box, container)
    for _ in range(5):
        last = last_start(box, container)
        wait_until(lambda last=last: last_start(box, container) != last, "it has done something")
        os.kill(pid, signal.SIGKILL)
        pid = new_checker(box, container, but=pid)
    assert status(box, container) == "healthy"


def test_it_ends_with_the_check_and_with_sampand(box: Box) -> None:
    container = box.start(*FOR_EVER, Healthcheck=check("true"))
    first = new_checker(box, container)
    box.reopen()
    wait_until(lambda: not alive(first), "it ended with its asker")
    second = new_checker(box, container)
    none = docker.HealthConfig(Test=["NONE"])
    box.engine.containers.update(container, docker.ContainerUpdate(Healthcheck=none))
    wait_until(lambda: not alive(second), "nobody asks it any more")


def test_a_check_that_became_another_user_is_killed_all_the_same(box: Box) -> None:
    script = "grep -q x:1000 /etc/passwd || exit 0; exec su user -c 'exec sleep 66666'"
    container = box.start(
        "sh",
        "-c",
        "echo user:x:1000:1000::/:/bin/sh >> /etc/passwd; sleep 1000",
        Healthcheck=check("sh", "-c", script, Timeout=300 * MS, Retries=1),
        host={"CapDrop": ["KILL"]},
    )
    wait_until(lambda: status(box, container) == "unhealthy", "it timed out")
    found = box.state(container).Health
    assert isinstance(found, docker.Health)
    assert found.Log[-1].Output == "Health check exceeded timeout (300ms)"
    assert checker_of(box, container)

    def count() -> int:
        return int(box.exec(container, "sh", "-c", "ps | grep -c '[s]leep 66666'").stdout)

    wait_until(lambda: count() <= 1, "of those that timed out none is left, but the one that is just ending")


def test_where_none_can_be_each_check_is_an_exec(box: Box) -> None:
    limit = docker.Ulimit(Name="nofile", Soft=3, Hard=3)  # none left for a pipe
    container = box.start(*FOR_EVER, Healthcheck=check("true"), host={"Ulimits": [limit]})
    wait_until(lambda: status(box, container) == "healthy", "it is healthy")
    wait_until(lambda: checker_of(box, container) == 0, "it has none")
    rare = box.start(*FOR_EVER, Healthcheck=check("echo", "x", Interval=60_000 * MS))
    assert checker_of(box, rare) == 0


def test_a_program_that_goes_and_comes_back(box: Box) -> None:
    container = box.start("sh", "-c", "cp /bin/busybox /tmp/true; sleep 1000", Healthcheck=check("/tmp/true"))
    wait_until(lambda: status(box, container) == "healthy", "it is healthy")
    box.exec(container, "mv", "/tmp/true", "/tmp/gone")
    wait_until(lambda: status(box, container) == "unhealthy", "it cannot be run")
    found = box.state(container).Health
    assert isinstance(found, docker.Health)
    assert (found.Log[-1].ExitCode, "/tmp/true: no such file" in found.Log[-1].Output) == (-1, True)
    box.exec(container, "mv", "/tmp/gone", "/tmp/true")
    wait_until(lambda: status(box, container) == "healthy", "it can")


def test_output_of_a_child_that_lives_on(box: Box) -> None:
    """The result waits two seconds for it, as for any exec, and the next check does not see its words."""
    command = ("sh", "-c", "echo mine; (sleep 2.5; echo late) & exit 0")
    container = box.start(*FOR_EVER, Healthcheck=check(*command))
    wait_until(lambda: box.state(container).Health.Log, "a check has ended")  # type: ignore[union-attr]
    found = box.state(container).Health
    assert isinstance(found, docker.Health)
    assert {one.Output for one in found.Log} == {"mine\n"}
