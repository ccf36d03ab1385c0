"""Events, lists and facts of an engine with real containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.system.engine_kit import Box, Waiter, wait_until

from sampan.errors import InvalidArgument, NotFound
from sampan.spec import docker


@pytest.fixture
def box(shared: Box) -> Iterator[Box]:
    yield shared
    shared.remove_all()


def names(events: list[docker.Event]) -> list[str]:
    return [event.Action for event in events]


def test_order_and_attributes(box: Box) -> None:
    seen: list[docker.Event] = []
    subscription = box.engine.events.subscribe(seen.append)
    container_id = box.create("sh", "-c", "exit 3", name="web", Labels={"a": "b"}, host={"AutoRemove": True})
    waiter = Waiter()
    box.engine.containers.on_exit(container_id, "removed", waiter)
    with box.attach(container_id):
        box.engine.containers.start(container_id)
        waiter.get()
    wait_until(lambda: "destroy" in names(seen), "the last event")
    subscription.cancel()
    assert names(seen) == ["create", "attach", "start", "die", "destroy"]
    assert all(event.Actor.ID == container_id and event.Type == "container" for event in seen)
    assert all(
        {"a": "b", "image": "busybox", "name": "web"}.items() <= event.Actor.Attributes.items()
        for event in seen
    )
    die = seen[3].Actor.Attributes
    assert (die["exitCode"], die["execDuration"]) == ("3", "0")
    assert [event.timeNano for event in seen] == sorted(event.timeNano for event in seen)


def test_kill_stop_exec_and_rename(box: Box) -> None:
    container_id = box.start("sleep", "100", name="old")
    seen: list[docker.Event] = []
    subscription = box.engine.events.subscribe(seen.append)
    done = box.exec(container_id, "true")
    wait_until(lambda: "exec_die" in names(seen), "the exec's end")
    box.engine.containers.rename("old", "new")
    box.engine.containers.stop("new", timeout_s=0)
    subscription.cancel()
    assert names(seen) == [
        "exec_create: true",
        "exec_start: true",
        "exec_die",
        "rename",
        "kill",
        "kill",
        "die",
        "stop",
    ]
    assert seen[2].Actor.Attributes["execID"] == done.id
    assert seen[2].Actor.Attributes["exitCode"] == "0"
    assert (seen[3].Actor.Attributes["oldName"], seen[3].Actor.Attributes["name"]) == ("/old", "new")
    assert [event.Actor.Attributes.get("signal") for event in seen[4:6]] == ["15", "9"]


@pytest.mark.parametrize(
    ("filters", "want"),
    [
        ({"event": ["start", "die"]}, ["start", "die"]),
        ({"container": ["work"]}, ["create", "start", "die", "destroy"]),
        ({"container": ["nosuch"]}, []),
        ({"container": ["/wo"]}, ["create", "start", "die", "destroy"]),
        ({"container": ["ork"]}, []),
        ({"network": ["work"]}, []),
        ({"scope": ["swarm", "local"], "event": ["die"]}, ["die"]),
        ({"scope": ["swarm"]}, []),
        ({"image": ["busybox"], "event": ["create"]}, ["create"]),
        ({"label": ["a=b"], "event": ["create"]}, ["create"]),
        ({"label": ["a=c"]}, []),
        ({"type": ["image"]}, []),
        ({"type": ["container"], "event": ["destroy"]}, ["destroy"]),
    ],
)
def test_filters_and_replay(box: Box, filters: dict[str, list[str]], want: list[str]) -> None:
    before: list[docker.Event] = []
    box.engine.events.subscribe(before.append, since_ns=0).cancel()
    since = before[-1].timeNano + 1 if before else 0
    container_id = box.start("true", name="work", Labels={"a": "b"})
    box.wait(container_id)
    box.engine.containers.remove(container_id)
    seen: list[docker.Event] = []
    box.engine.events.subscribe(seen.append, since_ns=since, filters=filters).cancel()
    assert names(seen) == want


def test_unknown_filter(box: Box) -> None:
    with pytest.raises(InvalidArgument, match="invalid filter 'nosuch'"):
        box.engine.events.subscribe(lambda _event: None, filters={"nosuch": ["x"]})


def test_subscriber_that_fails_harms_nobody(box: Box) -> None:
    def fail(_event: docker.Event) -> None:
        raise RuntimeError("as wanted")

    seen: list[docker.Event] = []
    subscriptions = [box.engine.events.subscribe(callback) for callback in (fail, seen.append)]
    box.wait(box.start("true"))
    for subscription in subscriptions:
        subscription.cancel()
    assert names(seen)[:2] == ["create", "start"]


def test_image_events(box: Box) -> None:
    seen: list[docker.Event] = []
    subscription = box.engine.events.subscribe(seen.append, filters={"type": ["image"]})
    box.engine.images.tag("busybox", repository="other", tag="1")
    box.engine.images.remove("other:1")
    subscription.cancel()
    assert names(seen) == ["tag", "untag"]
    assert [event.Actor.Attributes["name"] for event in seen] == ["other:1", "other:1"]


# --- lists -----------------------------------------------------------------------------------------------


@pytest.fixture
def three(box: Box) -> Box:
    """Containers web (runs), job (exited with 3), new (created)."""
    box.start("sleep", "100", name="web", Labels={"tier": "front", "x": ""})
    box.wait(box.start("sh", "-c", "exit 3", name="job", Labels={"tier": "back"}))
    box.create("true", name="new", ExposedPorts={"80/tcp": docker.common.Empty()})
    return box


@pytest.mark.parametrize(
    ("options", "want"),
    [
        pytest.param({}, ["web"], id="running ones"),
        pytest.param({"all": True}, ["new", "job", "web"], id="newest first"),
        pytest.param({"limit": 2}, ["new", "job"], id="limit implies all"),
        pytest.param({"filters": {"status": ["exited", "created"]}}, ["new", "job"], id="status implies all"),
        pytest.param({"filters": {"exited": ["3"]}}, ["job"], id="exit code"),
        pytest.param({"all": True, "filters": {"name": ["^/?w"]}}, ["web"], id="name is a pattern"),
        pytest.param({"all": True, "filters": {"name": ["b"], "label": ["tier=back"]}}, ["job"], id="both"),
        pytest.param({"all": True, "filters": {"label": ["tier", "x"]}}, ["web"], id="every label"),
        pytest.param({"all": True, "filters": {"before": ["job"]}}, ["web"], id="before"),
        pytest.param({"all": True, "filters": {"since": ["job"]}}, ["new"], id="since"),
        pytest.param(
            {"all": True, "filters": {"ancestor": ["busybox"]}}, ["new", "job", "web"], id="ancestor"
        ),
        pytest.param({"all": True, "filters": {"ancestor": ["nosuch"]}}, [], id="unknown ancestor"),
        pytest.param({"all": True, "filters": {"expose": ["80"]}}, ["new"], id="exposed port"),
        pytest.param({"all": True, "filters": {"expose": ["70-90/tcp"]}}, ["new"], id="exposed range"),
        pytest.param({"all": True, "filters": {"publish": ["80"]}}, [], id="published port"),
        pytest.param({"all": True, "filters": {"health": ["none"], "exited": ["3"]}}, ["job"], id="health"),
        pytest.param({"all": True, "filters": {"is-task": ["true"]}}, [], id="tasks do not exist"),
    ],
)
def test_list(three: Box, options: dict[str, object], want: list[str]) -> None:
    found = three.engine.containers.list(**options)  # type: ignore[arg-type]  # table above
    assert [summary.Names[0].removeprefix("/") for summary in found] == want


def test_wrong_filters(three: Box) -> None:
    for filters, error in (
        ({"nosuch": ["x"]}, "invalid filter 'nosuch'"),
        ({"status": ["foo"]}, "invalid filter 'status=foo'"),
        ({"exited": ["x"]}, "invalid filter 'exited=x'"),
        ({"name": ["("]}, "invalid filter 'name="),
        ({"name": ["(a+)+$"]}, "too complex"),
    ):
        with pytest.raises(InvalidArgument, match=error):
            three.engine.containers.list(filters=filters)
    with pytest.raises(NotFound):
        three.engine.containers.list(filters={"before": ["nosuch"]})


def test_summary(three: Box) -> None:
    web = next(one for one in three.engine.containers.list(size=True) if one.Names == ["/web"])
    assert (web.Image, web.Command, web.State) == ("busybox", "sleep 100", "running")
    assert web.Status.startswith(("Up ", "Less"))
    assert isinstance(web.SizeRootFs, int)
    assert web.SizeRootFs > 500_000
    job = three.engine.containers.list(filters={"name": ["job"], "status": ["exited"]})[0]
    assert job.Status.startswith("Exited (3) ")
    assert job.Status.endswith(" ago")


def test_image_shown_by_id_when_its_name_moved_on(box: Box) -> None:
    box.engine.images.tag("busybox", repository="mine")
    container_id = box.create("true", Image="mine")
    image_id = box.engine.containers.inspect(container_id).Image
    assert box.engine.containers.list(all=True)[0].Image == "mine"
    box.engine.images.remove("mine", force=True)
    assert box.engine.containers.list(all=True)[0].Image == image_id


def test_prune(three: Box) -> None:
    answer = three.engine.containers.prune({"label": ["tier=back"]})
    assert len(answer.ContainersDeleted) == 1
    three.engine.containers.prune({"label!": ["x"], "until": ["0s"]})
    assert [one.Names[0] for one in three.engine.containers.list(all=True)] == ["/web"]


# --- facts -----------------------------------------------------------------------------------------------


def test_info_and_version(three: Box) -> None:
    info = three.engine.system.info()
    assert (info.Containers, info.ContainersRunning, info.ContainersStopped, info.Images) == (3, 1, 2, 1)
    assert info.NCPU >= 1
    assert "sampan" in info.Runtimes
    assert three.engine.system.version().ApiVersion == "1.51"
    usage = three.engine.system.disk_usage()
    assert isinstance(usage.LayersSize, int)
    assert usage.LayersSize > 0


def test_stats(three: Box) -> None:
    sample = three.engine.containers.stats("web")
    assert sample.pids_stats.current >= 1
    assert isinstance(sample.memory_stats.usage, int)
    assert sample.memory_stats.usage > 0
    assert sample.cpu_stats.cpu_usage.total_usage > 0
    assert sample.cpu_stats.system_cpu_usage
    assert three.engine.containers.stats("job").memory_stats == docker.MemoryStats()


def test_explain(box: Box) -> None:
    container_id = box.start("true", host={"Annotations": {"org.sampan.explain": "1"}})
    steps = box.engine.containers.explain(container_id)
    assert {"plank", "text", "microseconds"} <= steps[0].keys()
    plain = box.start("true")
    with pytest.raises(InvalidArgument, match="was started without notes"):
        box.engine.containers.explain(plain)


def test_anatomy(box: Box) -> None:
    container_id = box.start("sleep", "100", User="12:34", Hostname="web")
    found = box.engine.containers.anatomy(container_id)
    sees, may_use, what = found["sees"], found["may_use"], found["is"]
    assert isinstance(sees, dict)
    assert isinstance(may_use, dict)
    assert isinstance(what, dict)
    assert sees["namespaces"]["mnt"]["of"] == "container"
    assert sees["namespaces"]["user"]["of"] == "host"
    assert any(mount["on"] == "/proc" for mount in sees["mounts"])
    assert may_use["seccomp"]["mode"] == "filter"
    assert may_use["capabilities"]["effective"] == []
    assert (what["uid"], what["gid"], what["command"]) == (12, 34, ["sleep", "100"])
    assert found["processes"][0]["inside"] == 1  # type: ignore[index]  # nested JSON


def test_anatomy_of_a_container_with_init(box: Box) -> None:
    found = box.engine.containers.anatomy(box.start("sleep", "100", host={"Init": True}))
    assert found["is"]["executable"] == "sampan-init"  # type: ignore[index,call-overload]  # nested JSON
    assert found["is"]["command"] == ["sampan-init", "--", "sleep", "100"]  # type: ignore[index,call-overload]
    commands = [process["command"] for process in found["processes"]]  # type: ignore[index,union-attr,call-overload]
    assert commands == ["sampan-init -- sleep 100", "sleep 100"]
