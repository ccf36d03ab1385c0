"""Which signal a stop sends, how long it waits, and what it tells."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.system.engine_kit import Box, wait_until

from sampan.errors import NotModified, Unavailable
from sampan.runtime.launcher import client
from sampan.spec import docker

SCRIPT = "".join(f"trap 'exit {number}' {number}; " for number in (10, 12, 15, 37))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path / "engine").load_busybox()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("bin/busybox", "bin/sh", "bin/sleep"):
            tar.add("/bin/busybox", name)
    archive.seek(0)
    box.engine.images.import_rootfs(archive, repository="signalled", tag="latest", changes=["STOPSIGNAL 10"])
    try:
        yield box
        box.remove_all()
        assert box.leftovers() == []
    finally:
        box.close()


@pytest.mark.parametrize(
    ("image", "config", "flag", "code"),
    [
        pytest.param("busybox", {}, "", 15, id="TERM"),
        pytest.param("signalled", {}, "", 10, id="the image's"),
        pytest.param("signalled", {"StopSignal": "USR2"}, "", 12, id="the container's over the image's"),
        pytest.param("signalled", {"StopSignal": "USR2"}, "RTMIN+3", 37, id="the flag's over all"),
    ],
)
def test_which_signal(box: Box, image: str, config: dict[str, Any], flag: str, code: int) -> None:
    script = SCRIPT + "echo ready; while :; do sleep 0.02; done"
    container = box.start("sh", "-c", script, Image=image, **config)
    wait_until(lambda: b"ready" in box.log_text(container), "its handlers are there")
    report = box.engine.containers.stop(container, signal=flag)
    assert (report.signal, report.killed, report.reason) == (code, False, "")
    assert box.state(container).ExitCode == code


@pytest.mark.parametrize(
    ("config", "timeout_s", "waited"),
    [({"StopTimeout": 1}, None, 1), ({"StopTimeout": 60}, 1, 1), ({}, 0, 0)],
)
def test_how_long(box: Box, config: dict[str, Any], timeout_s: int | None, waited: int) -> None:
    container = box.start("sleep", "1000", **config)
    report = box.engine.containers.stop(container, timeout_s=timeout_s)
    assert report.killed
    assert waited <= report.waited_s < waited + 5
    assert report.reason == "PID 1 (sleep) has no handler for SIGTERM"


def test_ignored_is_not_unhandled(box: Box) -> None:
    container = box.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.02; done")
    wait_until(lambda: b"ready" in box.log_text(container), "it ignores the signal")
    report = box.engine.containers.stop(container, now_if_unhandled=True)
    assert (report.killed, report.reason) == (True, "PID 1 (sh) ignores SIGTERM")
    assert report.waited_s < 5


def test_a_joined_pid_namespace_has_no_such_rule(box: Box) -> None:
    """Who is not PID 1 is ended by the signal's default action."""
    box.start("sleep", "1000", name="owner")
    guest = box.start("sleep", "1000", host={"PidMode": "container:owner"})
    report = box.engine.containers.stop(guest, now_if_unhandled=True)
    assert (report.killed, box.state(guest).ExitCode) == (False, 143)


def test_of_several_stops_at_once_each_is_answered(box: Box) -> None:
    container = box.start("sleep", "1000")

    def stop() -> str:
        try:
            return "killed" if box.engine.containers.stop(container, timeout_s=1).killed else "ended"
        except NotModified:
            return "ended"

    with ThreadPoolExecutor(4) as pool:
        answers = [future.result(30) for future in [pool.submit(stop) for _ in range(4)]]
    assert "killed" in answers
    assert box.state(container).Status == "exited"


def _hang(box: Box, container: str) -> int:
    shim = box.engine.containers._core.index.get(container).shim
    assert shim is not None
    os.kill(shim.shim_pid, signal.SIGSTOP)
    return shim.shim_pid


def test_a_shim_that_hangs_delays_only_who_asks_it(box: Box) -> None:
    container = box.start("sh", "-c", "trap 'exit 7' HUP; echo ready; while :; do sleep 0.02; done")
    wait_until(lambda: b"ready" in box.log_text(container), "its handler is there")
    other = box.start("sleep", "1000")
    actions: list[str] = []
    subscription = box.engine.events.subscribe(lambda event: actions.append(event.Action or ""))
    containers = box.engine.containers
    shim = _hang(box, container)
    with ThreadPoolExecutor(4) as pool:
        try:
            kill = pool.submit(containers.kill, container, "HUP")
            untold = containers._core.index.get(container).untold_signals
            wait_until(lambda: untold, "the shim is being asked")
            quick: list[Callable[[], object]] = [
                lambda: containers.inspect(container),
                lambda: containers.update(container, docker.ContainerUpdate(PidsLimit=60)),
                lambda: containers.kill(other, "KILL"),
                lambda: box.wait(other),
            ]
            for call in quick:
                pool.submit(call).result(5)
            assert not kill.done()
        finally:
            os.kill(shim, signal.SIGCONT)
        kill.result(20)
        assert box.wait(container).status_code == 7
    subscription.cancel()
    mine = [action for action in actions if action in ("kill", "die", "update")]
    assert mine == ["update", "kill", "die", "kill", "die"]  # the other's, then its own


@pytest.mark.parametrize("how", ["stop", "kill", "remove"])
def test_a_shim_that_hangs_is_killed_with_its_container(
    box: Box, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(client, "_ANSWER_S", 0.2)
    container = box.start("sleep", "1000")
    _hang(box, container)
    containers = box.engine.containers
    with pytest.raises(Unavailable, match="the shim did not answer within"):
        containers.kill(container, "HUP")
    if how == "stop":
        report = containers.stop(container)
        assert (report.killed, report.reason) == (True, "the shim did not answer within 0 s")
    if how == "kill":
        containers.kill(container, "KILL")
    if how == "remove":
        containers.remove(container, force=True)
    else:
        assert box.state(container).ExitCode == 137
