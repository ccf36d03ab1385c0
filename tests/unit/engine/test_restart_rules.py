"""The rules of restarts: who, when, in which order; timers; what a signal can do."""

from __future__ import annotations

import threading
import time

import pytest

from sampan.engine.lifecycle.dispositions import judge
from sampan.engine.lifecycle.restart_policy import (
    check_policy,
    next_delay_s,
    restarts_after_exit,
    starts_with_daemon,
)
from sampan.engine.pool import Pool
from sampan.engine.timers import Timers
from sampan.errors import InvalidArgument
from sampan.spec.docker import RestartPolicy
from sampan.spec.signals import parse_signal, signal_name


@pytest.mark.parametrize(
    ("name", "limit", "code", "count", "by_hand", "want"),
    [
        pytest.param("", 0, 1, 0, False, False, id="no policy"),
        pytest.param("no", 0, 1, 0, False, False, id="no"),
        pytest.param("always", 0, 0, 99, False, True, id="always"),
        pytest.param("always", 0, 0, 0, True, False, id="always, stopped by hand"),
        pytest.param("unless-stopped", 0, 137, 0, False, True, id="unless-stopped"),
        pytest.param("unless-stopped", 0, 137, 0, True, False, id="unless-stopped, stopped by hand"),
        pytest.param("on-failure", 0, 0, 0, False, False, id="on-failure, fine"),
        pytest.param("on-failure", 0, 1, 1000, False, True, id="on-failure without a limit"),
        pytest.param("on-failure", 3, 1, 2, False, True, id="the last try"),
        pytest.param("on-failure", 3, 1, 3, False, False, id="no more tries"),
        pytest.param("on-failure", 0, 137, 0, True, False, id="on-failure, killed by hand"),
    ],
)
def test_after_an_exit(name: str, limit: int, code: int, count: int, by_hand: bool, want: bool) -> None:
    policy = RestartPolicy(Name=name, MaximumRetryCount=limit)
    found = restarts_after_exit(policy, exit_code=code, restart_count=count, manually_stopped=by_hand)
    assert found is want


@pytest.mark.parametrize(
    ("name", "started", "by_hand", "want"),
    [
        ("always", True, True, True),
        ("always", False, False, False),
        ("unless-stopped", True, False, True),
        ("unless-stopped", True, True, False),
        ("on-failure", True, False, False),
        ("no", True, False, False),
    ],
)
def test_with_the_daemon(name: str, started: bool, by_hand: bool, want: bool) -> None:
    policy = RestartPolicy(Name=name)
    assert starts_with_daemon(policy, was_started=started, manually_stopped=by_hand) is want


def test_back_off() -> None:
    delays = [0.0]
    for _ in range(12):
        delays.append(next_delay_s(delays[-1], ran_s=0))
    assert delays[1:6] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
    assert delays[10:] == pytest.approx([51.2, 60, 60])
    assert next_delay_s(60, ran_s=9.9) == 60
    assert next_delay_s(60, ran_s=10) == 0.1


@pytest.mark.parametrize(
    ("name", "count", "text"),
    [
        ("sometimes", 0, "unknown policy 'sometimes'; use one of"),
        ("always", 1, "can only be used with 'on-failure'$"),
        ("", -1, "can only be used with 'on-failure' and cannot be negative$"),
        ("on-failure", -1, "maximum retry count cannot be negative$"),
    ],
)
def test_bad_policies(name: str, count: int, text: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^invalid restart policy: .*{text}"):
        check_policy(RestartPolicy(Name=name, MaximumRetryCount=count), auto_remove=False)


def status(caught: int = 0, blocked: int = 0, ignored: int = 0, pids: str = "4711\t1") -> dict[str, str]:
    return {
        "SigCgt": f"{caught:016x}",
        "SigBlk": f"{blocked:016x}",
        "SigIgn": f"{ignored:016x}",
        "NSpid": pids,
    }


TERM = 1 << 14


@pytest.mark.parametrize(
    ("fields", "number", "want"),
    [
        pytest.param(status(), 15, "unhandled", id="PID 1 without a handler"),
        pytest.param(status(caught=TERM), 15, "noticed", id="a handler"),
        pytest.param(status(blocked=TERM), 15, "noticed", id="sigwait"),
        pytest.param(status(ignored=TERM), 15, "ignored", id="ignored"),
        pytest.param(status(), 9, "noticed", id="SIGKILL"),
        pytest.param(status(pids="4711"), 15, "noticed", id="the host's pid namespace"),
        pytest.param(status(pids="4711\t7"), 15, "noticed", id="another's pid namespace"),
        pytest.param(status(pids="4711\t7"), 28, "unhandled", id="a default action that does nothing"),
        pytest.param(status(caught=1 << 36), 37, "noticed", id="a real-time signal"),
        pytest.param(status(), 37, "unhandled", id="a real-time signal without a handler"),
    ],
)
def test_dispositions(fields: dict[str, str], number: int, want: str) -> None:
    assert judge(fields, number) == want


@pytest.mark.parametrize("number", [*range(1, 32), *range(34, 65)])
def test_signal_names(number: int) -> None:
    assert parse_signal(signal_name(number)) == number
    assert parse_signal(str(number)) == number


def test_timers_in_order() -> None:
    timers, called, done = Timers(), [], threading.Event()
    timers.call_later(0.5, lambda: (called.append("late"), done.set()))  # far enough for a busy machine
    timers.call_later(0.01, lambda: called.append("early"))
    timers.call_later(0.3, lambda: called.append("never")).cancel()
    timers.call_later(0, lambda: 1 // 0)  # one that fails is not the end
    assert done.wait(30)
    timers.close()
    assert called == ["early", "late"]


def test_many_cancelled_timers_do_not_pile_up() -> None:
    timers = Timers()
    for _ in range(5000):
        timers.call_later(1000, lambda: None).cancel()
    assert len(timers._heap) <= 1024
    timers.close()


def test_pool_is_bounded_and_does_everything() -> None:
    pool, lock, busy, peak, done = Pool("test", 3), threading.Lock(), [0], [0], []

    def task(number: int) -> None:
        with lock:
            busy[0] += 1
            peak[0] = max(peak[0], busy[0])
        time.sleep(0.001)
        with lock:
            busy[0] -= 1
            done.append(number)

    for number in range(50):
        pool.submit(lambda number=number: task(number))
    pool.submit(lambda: 1 // 0)
    deadline = time.monotonic() + 10
    while len(done) < 50 and time.monotonic() < deadline:
        time.sleep(0.001)
    pool.close(5)
    assert sorted(done) == list(range(50))
    assert 2 <= peak[0] <= 3
