"""Health checks: status, log, events, time-outs, pauses, remedies; none waits for another."""

from __future__ import annotations

import io
import os
import signal
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from tests.system.engine_kit import Box, alive, wait_until

from sampan.spec import docker

FOR_EVER = ("sleep", "1000")
MS = 10**6


def check(command: str, **more: Any) -> docker.HealthConfig:
    values = {"Interval": 50 * MS, "Timeout": 5000 * MS, "Retries": 2} | more
    return docker.HealthConfig(Test=["CMD-SHELL", command], **values)


def health(box: Box, ref: str) -> docker.Health:
    found = box.state(ref).Health
    assert isinstance(found, docker.Health)
    return found


def is_(box: Box, ref: str, status: str) -> bool:
    return health(box, ref).Status == status


def results(box: Box, ref: str) -> int:
    return len(health(box, ref).Log)


def test_from_starting_to_healthy_to_unhealthy_and_back(box: Box) -> None:
    seen: list[str] = []
    subscription = box.engine.events.subscribe(
        lambda event: seen.append(event.Action), filters={"event": ["health_status"]}
    )
    container = box.start(
        "sh", "-c", "sleep 0.3; touch /ok; sleep 1000", Healthcheck=check("echo looked; cat /ok", Retries=99)
    )
    assert health(box, container).Status == "starting"
    [summary] = box.engine.containers.list(filters={"health": ["starting"]})
    assert summary.Status.endswith("(health: starting)")
    wait_until(lambda: is_(box, container, "healthy"), "it becomes healthy")
    [summary] = box.engine.containers.list(filters={"health": ["healthy"]})
    assert summary.Status.endswith("(healthy)")
    last = health(box, container).Log[-1]
    assert (last.ExitCode, last.Output) == (0, "looked\n")
    assert last.Start < last.End
    box.engine.containers.update(
        container, docker.ContainerUpdate(Healthcheck=docker.HealthConfig(Retries=2))
    )
    box.exec(container, "rm", "/ok")
    wait_until(lambda: is_(box, container, "unhealthy"), "it becomes unhealthy")
    assert health(box, container).FailingStreak >= 2
    assert "can't open '/ok'" in health(box, container).Log[-1].Output
    box.exec(container, "touch", "/ok")
    wait_until(lambda: is_(box, container, "healthy"), "it is well again")
    assert health(box, container).FailingStreak == 0
    wait_until(lambda: results(box, container) == 5, "five results are kept")
    subscription.cancel()
    assert seen == [f"health_status: {one}" for one in ("healthy", "unhealthy", "healthy")]
    box.engine.containers.stop(container, timeout_s=0)
    assert health(box, container).Status == "unhealthy"  # as Docker


def test_output_is_cut(box: Box) -> None:
    container = box.start(*FOR_EVER, Healthcheck=check("yes 0123456 | head -c 1000000; echo bad >&2; exit 3"))
    wait_until(lambda: results(box, container), "a check was made")
    [result, *_] = health(box, container).Log
    assert (result.ExitCode, len(result.Output), result.Output[-3:]) == (3, 4099, "...")


def test_a_command_without_a_shell_and_one_that_is_not_there(box: Box) -> None:
    direct = docker.HealthConfig(Test=["CMD", "echo", "$HOME"], Interval=50 * MS)
    missing = docker.HealthConfig(Test=["CMD", "/no/such"], Interval=50 * MS, Retries=1)
    container, broken = (box.start(*FOR_EVER, Healthcheck=one) for one in (direct, missing))
    wait_until(lambda: results(box, container), "a check was made")
    assert health(box, container).Log[0].Output == "$HOME\n"
    wait_until(lambda: is_(box, broken, "unhealthy"), "it cannot be run")
    assert health(box, broken).Log[0].ExitCode == -1
    assert "no such file" in health(box, broken).Log[0].Output


def test_as_the_containers_own_program(box: Box) -> None:
    command = "id -u; pwd; echo $A; grep CapEff /proc/self/status"
    container = box.start(*FOR_EVER, Healthcheck=check(command), User="1000", WorkingDir="/tmp", Env=["A=b"])
    wait_until(lambda: results(box, container), "a check was made")
    assert health(box, container).Log[0].Output == "1000\n/tmp\nb\nCapEff:\t0000000000000000\n"


def test_a_check_that_hangs_is_killed_with_its_children(box: Box) -> None:
    container = box.start(
        *FOR_EVER, Healthcheck=check("echo begun; sleep 55555; true", Timeout=300 * MS, Retries=1)
    )
    wait_until(lambda: is_(box, container, "unhealthy"), "it timed out")
    [result, *_] = health(box, container).Log
    assert result.ExitCode == -1
    assert result.Output == "Health check exceeded timeout (300ms): begun\n"
    box.engine.containers.update(
        container, docker.ContainerUpdate(Healthcheck=docker.HealthConfig(Test=["NONE"]))
    )
    wait_until(lambda: b"55555" not in box.exec(container, "ps").stdout, "nothing of it is left")


def test_start_period_and_interval(box: Box) -> None:
    slow = check("false", Interval=60_000 * MS, StartPeriod=60_000 * MS, StartInterval=50 * MS, Retries=1)
    container = box.start(*FOR_EVER, Healthcheck=slow)
    wait_until(lambda: results(box, container) >= 3, "checks come often at first")
    assert health(box, container).Status == "starting"
    assert health(box, container).FailingStreak == 0


def test_no_check(box: Box) -> None:
    plain = box.start(*FOR_EVER)
    off = box.start(*FOR_EVER, Healthcheck=docker.HealthConfig(Test=["NONE"]))
    for one in (plain, off):
        assert not isinstance(box.state(one).Health, docker.Health)
    assert len(box.engine.containers.list(filters={"health": ["none"]})) == 2


def test_a_pause_is_no_failure(box: Box) -> None:
    container = box.start(*FOR_EVER, Healthcheck=check("sleep 0.2", Timeout=400 * MS, Retries=1))
    wait_until(lambda: is_(box, container, "healthy"), "it becomes healthy")
    time.sleep(0.1)  # most likely within a check
    box.engine.containers.pause(container)
    time.sleep(0.8)
    assert health(box, container).Status == "healthy"
    count = len(box.engine.containers.inspect(container).State.Health.Log)  # type: ignore[union-attr]
    box.engine.containers.unpause(container)
    wait_until(lambda: results(box, container) > min(count, 4), "checks go on")
    assert health(box, container).Status == "healthy"


def test_events_of_checks_are_told_but_not_kept(box: Box) -> None:
    seen: list[docker.Event] = []
    subscription = box.engine.events.subscribe(seen.append, filters={"type": ["container"]})
    box.start(*FOR_EVER, Healthcheck=check("exit 7", Retries=99))
    wait_until(lambda: any(event.Action == "exec_die" for event in seen), "a check has ended")
    subscription.cancel()
    actions = [event.Action for event in seen if event.Action.startswith("exec")][:3]
    assert actions == ["exec_create: /bin/sh -c exit 7", "exec_start: /bin/sh -c exit 7", "exec_die"]
    [die, *_] = [event for event in seen if event.Action == "exec_die"]
    assert die.Actor.Attributes["exitCode"] == "7"
    kept: list[str] = []
    box.engine.events.subscribe(lambda event: kept.append(event.Action), since_ns=1).cancel()
    assert not [action for action in kept if action.startswith("exec")]


def test_it_goes_on_after_a_restart_of_sampand(box: Box) -> None:
    container = box.start(
        "sh", "-c", "touch /ok; sleep 1000", Healthcheck=check("cat /ok", Interval=100 * MS)
    )
    wait_until(lambda: is_(box, container, "healthy"), "it becomes healthy")
    box.reopen()
    assert health(box, container).Status == "healthy"
    box.exec(container, "rm", "/ok")
    wait_until(lambda: is_(box, container, "unhealthy"), "it is looked at")
    box.reopen()
    assert health(box, container).Status == "unhealthy"
    box.engine.containers.restart(container, timeout_s=0)
    wait_until(lambda: is_(box, container, "healthy"), "a new run, a new health")


def test_a_check_outlives_neither_its_time_nor_its_container(box: Box) -> None:
    container = box.start(*FOR_EVER, Healthcheck=check("sleep 44444", Timeout=500 * MS))
    wait_until(lambda: b"44444" in box.exec(container, "ps").stdout, "a check runs")
    pid = box.state(container).Pid
    box.engine.close()
    time.sleep(0.8)
    found = [
        path for path in Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if alive(int(path))
    ]
    assert found == []  # ended by the shim while sampand was away
    box.engine = type(box.engine).open(box.settings)
    wait_until(lambda: is_(box, container, "unhealthy"), "checks go on")


def test_a_hung_check_holds_up_no_other(box: Box) -> None:
    for _ in range(10):
        box.start(*FOR_EVER, Healthcheck=check("sleep 1000", Timeout=20_000 * MS))
    quick = box.start(*FOR_EVER, Healthcheck=check("true"))
    wait_until(lambda: results(box, quick) == 5, "it is looked at", timeout_s=10)


def test_a_shim_that_hangs_holds_up_no_other(box: Box) -> None:
    """More starts hang than there are slots: each gives its slot away after a second."""
    stuck = [box.start(*FOR_EVER, Healthcheck=check("true", Interval=100 * MS)) for _ in range(20)]
    index = box.engine.containers._core.index
    shims = [index.get(one).shim.shim_pid for one in stuck]  # type: ignore[union-attr]  # they run
    for pid in shims:
        os.kill(pid, signal.SIGSTOP)
    try:
        quick = box.start(*FOR_EVER, Healthcheck=check("true", Interval=50 * MS))
        wait_until(lambda: results(box, quick) == 5, "it is looked at", timeout_s=20)
    finally:
        for pid in shims:
            os.kill(pid, signal.SIGCONT)


def test_the_status_of_what_does_not_run_after_a_restart(box: Box) -> None:
    container = box.start(*FOR_EVER, Healthcheck=check("true"))
    wait_until(lambda: is_(box, container, "healthy"), "it becomes healthy")
    box.engine.containers.stop(container, timeout_s=0)
    box.reopen()
    assert health(box, container).Status == "unhealthy"


@pytest.mark.parametrize(("policy", "again"), [("no", False), ("always", True)])
def test_kill_on_failure_leaves_it_to_the_policy(box: Box, policy: str, again: bool) -> None:
    container = box.start(
        *FOR_EVER,
        Healthcheck=check("false", Retries=1, OnFailure="kill"),
        host={"RestartPolicy": docker.RestartPolicy(Name=policy)},
    )
    if again:
        wait_until(lambda: box.engine.containers.inspect(container).RestartCount >= 1, "it is restarted")
    else:
        wait_until(lambda: box.state(container).Status == "exited", "it is killed")
        assert box.state(container).ExitCode == 137


def test_stop_on_failure_is_for_good(box: Box) -> None:
    container = box.start(
        "sh",
        "-c",
        "trap 'exit 9' TERM; while :; do sleep 0.05; done",
        Healthcheck=check("false", Retries=1, OnFailure="stop"),
        host={"RestartPolicy": docker.RestartPolicy(Name="always")},
    )
    wait_until(lambda: box.state(container).Status == "exited", "it is stopped")
    assert box.state(container).ExitCode == 9


def test_restart_on_failure_needs_no_policy(box: Box) -> None:
    container = box.start(
        *FOR_EVER, Healthcheck=check("false", Retries=1, OnFailure="restart"), StopTimeout=0
    )
    wait_until(lambda: box.engine.containers.inspect(container).RestartCount >= 2, "it is restarted")


def test_check_of_the_image(box: Box) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
    archive.seek(0)
    changes = ["HEALTHCHECK --interval=70ms --retries=9 CMD echo from the image", 'CMD ["sh"]']
    box.engine.images.import_rootfs(archive, repository="checked", tag="latest", changes=changes)
    wanted = docker.HealthConfig(Retries=4)
    container = box.create("/bin/busybox", "sleep", "100", Image="checked", Healthcheck=wanted)
    config = box.engine.containers.inspect(container).Config.Healthcheck
    assert config is not None
    assert (config.Interval, config.Retries) == (70 * MS, 4)
    assert config.Test == ["CMD-SHELL", "echo from the image"]
    off = box.create("/bin/busybox", Image="checked", Healthcheck=docker.HealthConfig(Test=["NONE"]))
    assert box.engine.containers.inspect(off).Config.Healthcheck == docker.HealthConfig(Test=["NONE"])
