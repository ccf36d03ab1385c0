"""Restart policies: after an end, across sampand's and the machine's restart, in order, and called off."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
from tests.system.engine_kit import Box, Waiter, wait_until

from sampan.errors import Conflict, InvalidArgument, NotModified
from sampan.spec import docker

FOR_EVER = ("sleep", "1000")


def policy(name: str, count: int = 0, **host: Any) -> dict[str, Any]:
    return {"RestartPolicy": docker.RestartPolicy(Name=name, MaximumRetryCount=count), **host}


def count(box: Box, ref: str) -> int:
    return box.engine.containers.inspect(ref).RestartCount


def runs(box: Box, ref: str) -> bool:
    return box.state(ref).Status == "running"


def test_on_failure_counts(box: Box) -> None:
    failing = box.start("sh", "-c", "exit 3", host=policy("on-failure", 2))
    fine = box.start("true", host=policy("on-failure", 2))
    box.wait(fine)
    wait_until(lambda: box.state(failing).Status == "exited", "it gives up")
    assert (count(box, failing), box.state(failing).ExitCode) == (2, 3)
    assert (count(box, fine), box.state(fine).Status) == (0, "exited")


def test_back_off_doubles(box: Box) -> None:
    starts: list[float] = []

    def note(event: docker.Event) -> None:
        if event.Action == "start":
            starts.append(event.timeNano / 1e9)

    subscription = box.engine.events.subscribe(note, filters={"type": ["container"]})
    failing = box.start("false", host=policy("on-failure", 3))
    wait_until(lambda: box.state(failing).Status == "exited", "it gives up")
    subscription.cancel()
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert len(gaps) == 3
    for gap, wanted in zip(gaps, (0.1, 0.2, 0.4), strict=True):
        assert wanted <= gap < wanted + 2


def test_state_between_two_runs(box: Box) -> None:
    crashing = box.start("false", host=policy("always"), name="crash")
    wait_until(lambda: box.engine.containers.inspect(crashing).RestartCount >= 4, "a back-off of a second")
    wait_until(lambda: box.state(crashing).Restarting, "it waits")
    state = box.state(crashing)
    assert (state.Status, state.Running, state.Pid, state.ExitCode) == ("restarting", True, 0, 1)
    [summary] = box.engine.containers.list()
    assert (summary.State, summary.Status[:15]) == ("restarting", "Restarting (1) ")
    with pytest.raises(Conflict, match="container is restarting: stop the container before removing"):
        box.engine.containers.remove(crashing)
    for forbidden in (box.engine.containers.pause, box.engine.containers.top):
        with pytest.raises(Conflict, match="is restarting, wait until the container is running"):
            forbidden(crashing)
    with pytest.raises(Conflict, match="is restarting, wait until the container is running"):
        box.exec(crashing, "true")
    with pytest.raises(NotModified):
        box.engine.containers.start(crashing)
    assert box.engine.containers.prune().ContainersDeleted == []
    box.engine.containers.stop(crashing)
    assert (box.state(crashing).Status, box.state(crashing).ExitCode) == ("exited", 1)
    before = count(box, crashing)
    box.engine.containers.start(crashing)
    assert count(box, crashing) <= before
    box.engine.containers.remove(crashing, force=True)


def test_a_wait_is_answered_at_each_exit(box: Box) -> None:
    crashing = box.create("sh", "-c", "exit 5", host=policy("always"))
    waiter = Waiter()
    box.engine.containers.on_exit(crashing, "next-exit", waiter)
    box.engine.containers.start(crashing)
    assert waiter.get().status_code == 5
    wait_until(lambda: count(box, crashing) >= 4, "it is restarted")
    wait_until(lambda: box.state(crashing).Restarting, "it waits")
    stopped = Waiter()
    box.engine.containers.on_exit(crashing, "not-running", stopped)
    box.engine.containers.kill(crashing)
    assert stopped.get().status_code == 5


@pytest.mark.parametrize("verb", ["stop", "kill", "term"])
def test_what_a_user_ends_stays_so(box: Box, verb: str) -> None:
    container = box.start("sh", "-c", "trap 'exit 7' TERM; sleep 1000 & wait", host=policy("always"))
    wait_until(lambda: len(box.engine.containers.top(container).Processes) == 2, "its trap is set")
    if verb == "stop":
        box.engine.containers.stop(container, timeout_s=0)
    else:
        box.engine.containers.kill(container, "KILL" if verb == "kill" else "TERM")
    wait_until(lambda: box.state(container).Status == "exited", "it has ended for good")
    time.sleep(0.3)
    assert box.state(container).Status == "exited"


def test_a_reload_keeps_the_policy(box: Box) -> None:
    container = box.start(
        "sh", "-c", "trap : HUP; trap 'exit 9' USR1; while :; do sleep 0.05; done", host=policy("always")
    )
    time.sleep(0.2)
    box.engine.containers.kill(container, "HUP")
    box.engine.containers.kill(container, "USR1")
    wait_until(lambda: count(box, container) == 1 and runs(box, container), "it is restarted")


def test_restart_by_hand_begins_anew(box: Box) -> None:
    container = box.start("sh", "-c", "sleep 0.1; exit 1", host=policy("always"))
    wait_until(lambda: count(box, container) >= 2, "it is restarted")
    box.engine.containers.update(
        container, docker.ContainerUpdate(RestartPolicy=docker.RestartPolicy(Name="no"))
    )
    wait_until(lambda: box.state(container).Status == "exited", "no policy, no restart")
    box.engine.containers.restart(container, timeout_s=0)
    assert count(box, container) == 0
    assert box.engine.containers.inspect(container).HostConfig.RestartPolicy.Name == "no"


def test_a_start_that_fails_is_tried_again(box: Box, tmp_path: Path) -> None:
    source = tmp_path / "disk"
    source.mkdir()
    mount = docker.Mount(Type="bind", Source=str(source), Target="/disk")
    container = box.start("sh", "-c", "sleep 0.1; exit 1", host=policy("always", Mounts=[mount]))
    source.rmdir()
    wait_until(lambda: "does not exist" in box.state(container).Error, "the start fails")
    assert box.state(container).Status == "restarting"
    source.mkdir()
    wait_until(lambda: box.state(container).Error == "", "it starts when the folder is back")


def test_across_a_restart_of_sampand(box: Box) -> None:
    always = box.start(*FOR_EVER, host=policy("always"))
    unless = box.start(*FOR_EVER, host=policy("unless-stopped"))
    stays = box.start(*FOR_EVER, host=policy("unless-stopped"))
    failing = box.start("false", host=policy("always"))
    never = box.create(*FOR_EVER, host=policy("always"))
    for one in (always, unless):
        box.engine.containers.stop(one, timeout_s=0)
    pid = box.state(stays).Pid
    wait_until(lambda: count(box, failing) >= 3, "it crashes on")
    box.reopen()
    wait_until(lambda: runs(box, always), "always means always")
    wait_until(lambda: count(box, failing) >= 5, "its back-off goes on")
    assert box.state(unless).Status == "exited"
    assert box.state(stays).Pid == pid
    assert box.state(never).Status == "created"


def test_a_back_off_holds_across_a_restart_of_sampand(box: Box) -> None:
    crashing = box.start("false", host=policy("always"))
    wait_until(lambda: count(box, crashing) >= 4 and box.state(crashing).Restarting, "it waits 0.8 s")
    before = count(box, crashing)
    box.reopen()
    wait_until(lambda: count(box, crashing) >= before + 2, "it is restarted twice")
    moments: list[tuple[str, float]] = []
    box.engine.events.subscribe(
        lambda event: moments.append((event.Action, event.timeNano / 1e9)),
        since_ns=1,
        filters={"event": ["start", "die"]},
    ).cancel()
    gaps = [start - died for (action, died), (_, start) in itertools.pairwise(moments) if action == "die"]
    for number, gap in enumerate(gaps[: before + 1]):
        assert gap >= 0.1 * 2**number, f"restart {number + 1} came after {gap} s"


def test_across_a_restart_of_the_machine(box: Box) -> None:
    kept = [box.start(*FOR_EVER, host=policy(name)) for name in ("always", "unless-stopped", "on-failure")]
    stopped = box.start(*FOR_EVER, host=policy("unless-stopped"))
    plain = box.start(*FOR_EVER)
    crashing = box.start("false", host=policy("always"))
    box.engine.containers.stop(stopped, timeout_s=0)
    box.restart_machine()
    for one in kept:
        wait_until(lambda one=one: runs(box, one), "it is back")
        assert count(box, one) == 0
    wait_until(lambda: count(box, crashing) >= 3, "it crashes again")
    assert box.state(stopped).Status == "exited"
    assert (box.state(plain).Status, box.state(plain).ExitCode) == ("exited", 255)


def test_in_the_order_of_joined_namespaces(box: Box) -> None:
    box.start(*FOR_EVER, name="zero", host=policy("always", IpcMode="shareable"))
    first: dict[str, Any] = {"NetworkMode": "container:zero", "PidMode": "container:zero"}
    box.start(*FOR_EVER, name="one", host=policy("always", **first))
    box.start(*FOR_EVER, name="two", host=policy("always", NetworkMode="container:one"))
    box.start(*FOR_EVER, name="three", host=policy("unless-stopped", IpcMode="container:zero"))
    order: list[str] = []
    box.restart_machine()
    wait_until(lambda: len(box.engine.containers.list(filters={"status": ["running"]})) == 4, "all are back")
    box.engine.events.subscribe(
        lambda event: order.append(event.Actor.Attributes["name"]), since_ns=1, filters={"event": ["start"]}
    ).cancel()
    last = order[-4:]
    assert last.index("zero") == 0
    assert last.index("one") < last.index("two")


def test_who_joined_a_pid_namespace_comes_back_behind_its_owner(box: Box, tmp_path: Path) -> None:
    script = "until [ -e /signs/go ]; do sleep 0.1; done; sleep 1.5; exit 1"
    signs = tmp_path / "signs"
    signs.mkdir()
    box.start("sh", "-c", script, name="owner", host=policy("always", Binds=[f"{signs}:/signs"]))
    box.start(*FOR_EVER, name="guest", host=policy("always", PidMode="container:owner"))
    (signs / "go").touch()  # a start by hand is not repeated: the owner waited for it
    wait_until(lambda: count(box, "owner") >= 2 and count(box, "guest") >= 1, "both are restarted")
    wait_until(lambda: runs(box, "guest"), "the guest runs again")


def test_a_cycle_and_a_missing_container_are_said(box: Box) -> None:
    for name in ("right", "gone"):
        box.start(*FOR_EVER, name=name)
    box.start(*FOR_EVER, name="left", host=policy("always", NetworkMode="container:right"))
    box.start(*FOR_EVER, name="lonely", host=policy("always", NetworkMode="container:gone"))
    for name in ("right", "gone"):
        box.engine.containers.remove(name, force=True)
    box.start(*FOR_EVER, name="right", host=policy("always", NetworkMode="container:left"))
    box.restart_machine()
    wait_until(lambda: box.state("lonely").Status == "exited", "it is given up")
    assert box.state("lonely").Error == "No such container: gone"
    wait_until(lambda: any(box.state(one).Status == "exited" for one in ("left", "right")), "given up")
    states = [box.state(one) for one in ("left", "right")]
    errors = [state.Error for state in states if state.Status == "exited"]
    assert all(error.startswith("containers join each other: ") for error in errors)


def test_bad_policies_are_refused(box: Box) -> None:
    for host, text in (
        (policy("sometimes"), "invalid restart policy: unknown policy 'sometimes'"),
        (policy("always", 3), "maximum retry count can only be used with 'on-failure'"),
        (policy("on-failure", -1), "maximum retry count cannot be negative"),
        (policy("always", AutoRemove=True), "can't create 'AutoRemove' container with restart policy"),
    ):
        with pytest.raises(InvalidArgument, match=text):
            box.create("true", host=host)


def test_update_during_a_back_off(box: Box) -> None:
    crashing = box.start("false", host=policy("always"))
    wait_until(lambda: count(box, crashing) >= 4, "a back-off of a second")
    wait_until(lambda: box.state(crashing).Restarting, "it waits")
    box.engine.containers.update(
        crashing, docker.ContainerUpdate(RestartPolicy=docker.RestartPolicy(Name="no"))
    )
    assert box.state(crashing).Status == "exited"
