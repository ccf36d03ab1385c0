"""What docker-py is asked about containers, images, volumes and the daemon, in order: one story for both daemons."""

# ruff: noqa: E501 -- tables, one call a line
from __future__ import annotations

import io
import socket
import time
from typing import Any

from docker.types import LogConfig, Mount
from tests.compare.py_steps import NONE, Document, Story, names, read_all, step, steps, tar, until
from tests.system.sampand import busybox_tar

SCRIPT = ["sh", "-c", "echo one; echo two >&2; exec sleep 600"]

steps(
    "system",
    ping=lambda s: s.low.ping(),
    version=lambda s: Document(s.low.version()),
    info=lambda s: Document(s.low.info()),
    df=lambda s: Document(s.low.df()),
    events=lambda s: list(s.low.events(since=1, until=2)),
    events_of=lambda s: list(s.low.events(since=1, until=2, filters={"type": "container"}, decode=True)),
    events_wrong=lambda s: list(s.low.events(since=1, until=2, filters={"nosuch": "x"})),
    client_ping=lambda s: s.high.ping(),
    client_info=lambda s: Document(s.high.info()),
    client_version=lambda s: Document(s.high.version()),
    client_df=lambda s: Document(s.high.df()),
    client_events=lambda s: list(s.high.events(since=1, until=2)),
)


@step
def container_create_low(s: Story) -> Any:
    host = s.low.create_host_config(
        network_mode="none", mem_limit="64m", binds=[f"{s.folder}:/b:ro"], tmpfs={"/t": "size=1m"}, init=True
    )
    networking = s.low.create_networking_config({})
    made = s.low.create_container(
        "busybox", SCRIPT, name="box", environment={"A": "b"}, labels={"tier": "back"}, host_config=host,
        networking_config=networking, stop_signal="SIGTERM", hostname="box",
    )  # fmt: skip
    return Document(made)


@step
def container_create_from_config(s: Story) -> Any:
    config = s.low.create_container_config(
        "busybox", ["true"], host_config=s.low.create_host_config(network_mode="none")
    )
    made = s.low.create_container_from_config(config, name="fromconfig")
    s.low.remove_container(made["Id"])
    return Document(made)


steps(
    "container",
    create_twice=lambda s: s.low.create_container("busybox", ["true"], name="box"),
    create_no_image=lambda s: s.low.create_container("nosuch", ["true"]),
    create_bad_name=lambda s: s.low.create_container("busybox", ["true"], name="a/b"),
    create_bad_memory=lambda s: s.low.create_container(
        "busybox", ["true"], host_config=s.low.create_host_config(mem_limit=1)
    ),
    endpoint_config=lambda s: s.low.create_endpoint_config(aliases=["x"]),
    list_created=lambda s: Document(s.low.containers(all=True, filters={"name": "box"})),
    list_running=lambda s: s.low.containers(),
    start=lambda s: s.low.start("box"),
    start_twice=lambda s: s.low.start("box"),
    start_nosuch=lambda s: s.low.start("nosuch"),
    list_low=lambda s: Document(s.low.containers(size=True)),
    list_quiet=lambda s: Document(s.low.containers(quiet=True)),
    list_limit=lambda s: len(s.low.containers(limit=1)),
    list_latest=lambda s: [one["Names"] for one in s.low.containers(latest=True)],
    list_wrong_filter=lambda s: s.low.containers(filters={"nosuch": "x"}),
    inspect=lambda s: Document(s.low.inspect_container("box")),
    inspect_config=lambda s: {
        k: s.low.inspect_container("box")["Config"].get(k) or None
        for k in "User AttachStdout Tty OpenStdin StdinOnce Env Cmd WorkingDir Entrypoint Labels StopSignal".split()
    },
    inspect_host=lambda s: Document(s.low.inspect_container("box")["HostConfig"]),
    inspect_nosuch=lambda s: s.low.inspect_container("nosuch"),
    logs=lambda s: until(lambda: sorted(s.low.logs("box").splitlines())),
    logs_stdout=lambda s: s.low.logs("box", stderr=False),
    logs_tail=lambda s: s.low.logs("box", tail=0),
    logs_stamped=lambda s: len(s.low.logs("box", timestamps=True, stderr=False).split()),
    logs_since=lambda s: s.low.logs("box", since=int(time.time()) + 1000),
    logs_until=lambda s: s.low.logs("box", until=1),
    logs_stream=lambda s: list(s.low.logs("box", stream=True, follow=False, stderr=False)),
    logs_nosuch=lambda s: s.low.logs("nosuch"),
    top=lambda s: s.low.top("box")["Titles"],
    top_options=lambda s: s.low.top("box", ps_args="-o pid,comm")["Titles"],
    top_nosuch=lambda s: s.low.top("nosuch"),
    stats=lambda s: Document(s.low.stats("box", stream=False)),
    stats_one_shot=lambda s: Document(s.low.stats("box", stream=False, one_shot=True)),
    stats_stream=lambda s: Document(next(iter(s.low.stats("box", decode=True, stream=True)))),
    port=lambda s: s.low.port("box", 80),
    diff=lambda s: sorted(
        (one["Path"], one["Kind"])
        for one in s.low.diff("box") or []
        if not one["Path"].startswith(("/b", "/t", "/sbin"))
    ),
    diff_nosuch=lambda s: s.low.diff("nosuch"),
    resize=lambda s: s.low.resize("box", 10, 20),
    pause=lambda s: s.low.pause("box"),
    pause_twice=lambda s: s.low.pause("box"),
    exec_in_paused=lambda s: s.low.exec_create("box", ["true"]),
    unpause=lambda s: s.low.unpause("box"),
    unpause_twice=lambda s: s.low.unpause("box"),
    update=lambda s: s.low.update_container("box", mem_limit="128m", memswap_limit="256m"),
    update_wrong=lambda s: s.low.update_container("box", mem_limit=1),
    update_restart=lambda s: s.low.update_container("box", restart_policy={"Name": "no"}),
    rename=lambda s: s.low.rename("box", "boxer"),
    rename_back=lambda s: s.low.rename("boxer", "box"),
    rename_wrong=lambda s: s.low.rename("box", "a b"),
    kill_wrong=lambda s: s.low.kill("box", "NONSENSE"),
    kill_cont=lambda s: s.low.kill("box", 18),
    wait_timeout=lambda s: s.low.wait("box", timeout=0.3),
    remove_running=lambda s: s.low.remove_container("box"),
)


@step
def archive_put_and_get(s: Story) -> Any:
    put = s.low.put_archive("box", "/tmp", tar("file", b"content"))
    pieces, stat = s.low.get_archive("box", "/tmp/file")
    return put, names(pieces), {key: stat[key] for key in ("name", "size", "mode", "linkTarget")}


steps(
    "archive",
    get_nosuch=lambda s: s.low.get_archive("box", "/nosuch"),
    put_nosuch=lambda s: s.low.put_archive("box", "/nosuch", tar("x", b"")),
    put_to_file=lambda s: s.low.put_archive("box", "/etc/passwd", tar("x", b"")),
    put_no_archive=lambda s: s.low.put_archive("box", "/tmp", b"this is no archive at all" * 50),
    get_of_nobody=lambda s: s.low.get_archive("nosuch", "/"),
    export=lambda s: "bin/busybox" in names(s.low.export("box")),
    export_nosuch=lambda s: list(s.low.export("nosuch")),
    commit=lambda s: Document(s.low.commit("box", "made", "1", message="m", author="a", changes="ENV C=d")),
    commit_nosuch=lambda s: s.low.commit("nosuch"),
    commit_wrong=lambda s: s.low.commit("box", changes="NONSENSE"),
    committed=lambda s: s.low.inspect_image("made:1")["Config"]["Env"],
)


@step
def exec_whole(s: Story) -> Any:
    made = s.low.exec_create("box", ["sh", "-c", "echo out; echo err >&2; exit 5"])
    before = Document(s.low.exec_inspect(made["Id"]))
    output = s.low.exec_start(made["Id"], demux=True)
    until(lambda: not s.low.exec_inspect(made["Id"])["Running"])
    return before, output, s.low.exec_inspect(made["Id"])["ExitCode"]


@step
def exec_twice(s: Story) -> Any:
    made = s.low.exec_create("box", ["true"])
    s.low.exec_start(made["Id"])
    return s.low.exec_start(made["Id"])


@step
def exec_tty(s: Story) -> Any:
    made = s.low.exec_create("box", ["sh", "-c", "test -t 1 && sleep 0.5 && echo yes"], tty=True)
    stream = s.low.exec_start(made["Id"], stream=True, tty=True)
    resized = s.low.exec_resize(made["Id"], 10, 20)
    return resized, b"".join(stream)


@step
def exec_socket(s: Story) -> Any:
    made = s.low.exec_create("box", ["cat"], stdin=True)
    channel = s.low.exec_start(made["Id"], socket=True)
    channel._sock.sendall(b"through")
    channel._sock.shutdown(socket.SHUT_WR)
    return read_all(channel)


steps(
    "exec",
    detached=lambda s: s.low.exec_start(s.low.exec_create("box", ["true"])["Id"], detach=True),
    nosuch_program=lambda s: s.low.exec_start(s.low.exec_create("box", ["nosuch"])["Id"]),
    nosuch_container=lambda s: s.low.exec_create("nosuch", ["true"]),
    nosuch=lambda s: s.low.exec_inspect("nosuch"),
    nosuch_start=lambda s: s.low.exec_start("nosuch"),
    no_command=lambda s: s.low.exec_create("box", []),
    user=lambda s: s.low.exec_start(
        s.low.exec_create("box", ["id", "-u"], user="1000", workdir="/tmp")["Id"]
    ),
    nosuch_user=lambda s: s.low.exec_start(s.low.exec_create("box", ["id"], user="nosuch")["Id"]),
    privileged=lambda s: (
        len(s.low.exec_start(s.low.exec_create("box", ["cat", "/proc/self/status"], privileged=True)["Id"]))
        > 100
    ),
)


@step
def attach_stream(s: Story) -> Any:
    made = s.low.create_container(
        "busybox", ["sh", "-c", "echo one; echo two >&2"], host_config=s.low.create_host_config(**NONE)
    )
    stream = s.low.attach(made, stream=True, logs=False)
    s.low.start(made)
    found = sorted(stream)
    code = s.low.wait(made)
    s.low.remove_container(made)
    return found, code


@step
def attach_socket(s: Story) -> Any:
    made = s.low.create_container(
        "busybox", "cat", stdin_open=True, host_config=s.low.create_host_config(**NONE)
    )
    channel = s.low.attach_socket(made, params={"stdin": 1, "stdout": 1, "stream": 1})
    s.low.start(made)
    channel._sock.sendall(b"hello\n")
    channel._sock.shutdown(socket.SHUT_WR)
    data = read_all(channel)
    code = s.low.wait(made, condition="not-running")
    s.low.remove_container(made, v=True)
    return data, code


steps(
    "attach",
    nosuch=lambda s: s.low.attach("nosuch"),
    stop=lambda s: s.low.stop("box", timeout=10),
    stop_twice=lambda s: s.low.stop("box"),
    stop_nosuch=lambda s: s.low.stop("nosuch"),
    wait=lambda s: s.low.wait("box"),
    wait_wrong=lambda s: s.low.wait("box", condition="nonsense"),
    wait_nosuch=lambda s: s.low.wait("nosuch"),
    kill_stopped=lambda s: s.low.kill("box"),
    exec_in_stopped=lambda s: s.low.exec_create("box", ["true"]),
    pause_stopped=lambda s: s.low.pause("box"),
    top_stopped=lambda s: s.low.top("box"),
    stats_stopped=lambda s: Document(s.low.stats("box", stream=False)),
    restart=lambda s: s.low.restart("box", timeout=0),
    restart_nosuch=lambda s: s.low.restart("nosuch"),
    remove=lambda s: s.low.remove_container("box", force=True, v=True),
    remove_nosuch=lambda s: s.low.remove_container("box"),
    prune=lambda s: s.low.prune_containers(filters={"label": "nosuch"}),
    prune_wrong=lambda s: s.low.prune_containers(filters={"nosuch": "x"}),
)

steps(
    "image",
    list=lambda s: Document(s.low.images()),
    list_name=lambda s: [one["RepoTags"] for one in s.low.images("made")],
    list_quiet=lambda s: len(s.low.images("busybox", quiet=True)),
    list_filter=lambda s: s.low.images(filters={"dangling": True}),
    list_wrong=lambda s: s.low.images(filters={"nosuch": "x"}),
    inspect=lambda s: Document(s.low.inspect_image("busybox")),
    inspect_nosuch=lambda s: s.low.inspect_image("nosuch"),
    history=lambda s: Document(s.low.history("busybox")),
    history_nosuch=lambda s: s.low.history("nosuch"),
    tag=lambda s: s.low.tag("busybox", "tagged", "1"),
    tag_wrong=lambda s: s.low.tag("busybox", "Bad/Name"),
    tag_nosuch=lambda s: s.low.tag("nosuch", "x"),
    remove=lambda s: s.low.remove_image("tagged:1"),
    remove_nosuch=lambda s: s.low.remove_image("nosuch"),
    import_data=lambda s: Document(
        s.low.import_image_from_data(busybox_tar(), repository="fromdata", tag="1")
    ),
    import_file=lambda s: (
        "sha256" in s.low.import_image_from_file(str(s.folder / "rootfs.tar"), "fromfile", "1")
    ),
    import_any=lambda s: (
        "sha256" in s.low.import_image(src=str(s.folder / "rootfs.tar"), repository="any", tag="1")
    ),
    import_stream=lambda s: (
        "sha256"
        in s.low.import_image_from_stream(io.BytesIO(busybox_tar()), repository="fromstream", tag="1")
    ),
    import_image=lambda s: s.low.import_image_from_image("127.0.0.1:1/x"),
    import_url=lambda s: s.low.import_image_from_url("http://127.0.0.1:1/nosuch.tar"),
    get=lambda s: "manifest.json" in names(s.low.get_image("busybox")),
    get_nosuch=lambda s: list(s.low.get_image("nosuch")),
    load=lambda s: list(s.low.load_image(b"".join(s.low.get_image("fromdata:1")))),
    load_wrong=lambda s: list(s.low.load_image(b"no archive")),
    pull=lambda s: s.low.pull("127.0.0.1:1/nosuch", "1"),
    push=lambda s: Document(list(s.low.push("fromdata", "1", stream=True, decode=True))[-1:]),
    distribution=lambda s: s.low.inspect_distribution("127.0.0.1:1/nosuch"),
    login=lambda s: s.low.login("u", "p", registry="127.0.0.1:1"),
    prune=lambda s: s.low.prune_images(filters={"label": "nosuch"}),
    prune_wrong=lambda s: s.low.prune_images(filters={"nosuch": "x"}),
)

steps(
    "volume",
    create=lambda s: Document(s.low.create_volume("vol", labels={"a": "b"})),
    create_twice=lambda s: s.low.create_volume("vol", labels={"a": "b"})["Name"],
    create_options=lambda s: s.low.create_volume(
        "small", driver="local", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    )["Options"],
    create_wrong=lambda s: s.low.create_volume("other", driver_opts={"nosuch": "1"}),
    create_driver=lambda s: s.low.create_volume("other", driver="nosuch"),
    create_bad_name=lambda s: s.low.create_volume("a b"),
    list=lambda s: Document(s.low.volumes()),
    list_filter=lambda s: [one["Name"] for one in s.low.volumes(filters={"label": "a=b"})["Volumes"]],
    list_wrong=lambda s: s.low.volumes(filters={"nosuch": "x"}),
    inspect=lambda s: Document(s.low.inspect_volume("vol")),
    inspect_nosuch=lambda s: s.low.inspect_volume("nosuch"),
    remove=lambda s: s.low.remove_volume("small"),
    remove_nosuch=lambda s: s.low.remove_volume("nosuch"),
    remove_force=lambda s: s.low.remove_volume("nosuch", force=True),
    prune=lambda s: s.low.prune_volumes(filters={"label": "nosuch"}),
)

steps(
    "high",
    run=lambda s: s.high.containers.run("busybox", "echo hi", remove=True, **NONE),
    run_fails=lambda s: s.high.containers.run("busybox", ["sh", "-c", "echo x >&2; exit 3"], remove=True, **NONE),
    run_no_program=lambda s: s.high.containers.run("busybox", "nosuch", remove=True, **NONE),
    run_no_image=lambda s: s.high.containers.run("127.0.0.1:1/nosuch", "true", **NONE),
    run_both=lambda s: sorted(
        s.high.containers.run("busybox", ["sh", "-c", "echo a; echo b >&2"], remove=True, stdout=True, stderr=True, **NONE).splitlines()
    ),
    run_stream=lambda s: list(s.high.containers.run("busybox", "echo hi", remove=True, stream=True, **NONE)),
    run_detached=lambda s: s.high.containers.run("busybox", SCRIPT, detach=True, name="box", **NONE).status,
    run_mounts=lambda s: s.high.containers.run(
        "busybox", "cat /v/file /b/file", remove=True, **NONE,
        mounts=[Mount("/v", "vol"), Mount("/b", str(s.folder), type="bind", read_only=True)],
    ) if s.high.containers.run(
        "busybox", ["sh", "-c", "echo kept > /v/file"], remove=True, volumes={"vol": {"bind": "/v"}}, **NONE
    ) is not None else None,
    run_limits=lambda s: s.high.containers.run(
        "busybox", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes", remove=True, mem_limit="32m", nano_cpus=10**9,
        pids_limit=20, read_only=True, cap_drop=["ALL"], log_config=LogConfig(type="json-file", config={"max-size": "1m"}),
        **NONE,
    ),
    get=lambda s: (s.box().name, s.box().status, s.box().labels, s.box().ports, s.box().short_id != ""),
    get_nosuch=lambda s: s.high.containers.get("nosuch"),
    image_of=lambda s: s.box().image.tags,
    list=lambda s: [one.name for one in s.high.containers.list(filters={"name": "box"})],
    create=lambda s: s.high.containers.create("busybox", "true", name="made", **NONE).status,
    health=lambda s: s.box().health,
    exec_run=lambda s: tuple(s.box().exec_run(["sh", "-c", "echo out; exit 4"])),
    exec_run_demux=lambda s: tuple(s.box().exec_run(["sh", "-c", "echo a; echo b >&2"], demux=True)),
    exec_run_stream=lambda s: b"".join(s.box().exec_run("echo hi", stream=True).output),
    exec_run_user=lambda s: tuple(s.box().exec_run("id -u", user="1000", environment=["A=b"], workdir="/tmp")),
    logs=lambda s: until(lambda: s.box().logs(stderr=False)),
    top=lambda s: s.box().top()["Titles"],
    stats=lambda s: Document(s.box().stats(stream=False)),
    diff=lambda s: s.box().diff() or [],
    attach=lambda s: s.box().attach(stream=False, logs=True, stdout=True, stderr=False, stdin=False)
    if s.box().status == "exited" else None,
    attach_socket=lambda s: s.box().attach_socket(params={"stream": 1, "stdout": 1}).close(),
    put_archive=lambda s: s.box().put_archive("/tmp", tar("f", b"x")),
    get_archive=lambda s: names(s.box().get_archive("/tmp/f")[0]),
    export=lambda s: "bin" in names(s.box().export()),
    commit=lambda s: s.box().commit("high", "1").tags,
    pause=lambda s: (s.box().pause(), s.box().status),
    unpause=lambda s: (s.box().unpause(), s.box().status),
    rename=lambda s: (s.box().rename("boxx"), s.high.containers.get("boxx").rename("box")),
    update=lambda s: s.box().update(mem_limit="64m", memswap_limit="64m"),
    resize=lambda s: s.box().resize(10, 20),
    kill=lambda s: (s.box().kill("STOP"), s.box().kill("CONT")),
    restart=lambda s: s.box().restart(timeout=0),
    reload=lambda s: s.box().reload(),
    stop=lambda s: s.box().stop(timeout=0),
    wait=lambda s: s.box().wait(),
    start=lambda s: s.box().start(),
    remove_running=lambda s: s.box().remove(),
    remove=lambda s: s.box().remove(force=True),
    prune=lambda s: len(s.high.containers.prune()["ContainersDeleted"]),
    image_get=lambda s: (s.high.images.get("busybox").tags, s.high.images.get("busybox").labels),
    image_get_nosuch=lambda s: s.high.images.get("nosuch"),
    image_list=lambda s: sorted(tag for one in s.high.images.list("from*") for tag in one.tags),
    image_history=lambda s: Document(s.high.images.get("busybox").history()),
    image_tag=lambda s: s.high.images.get("busybox").tag("high", "2"),
    image_save=lambda s: "manifest.json" in names(s.high.images.get("high:2").save(named=True)),
    image_load=lambda s: [one.tags for one in s.high.images.load(b"".join(s.high.images.get("fromdata:1").save(named=True)))],
    image_remove=lambda s: s.high.images.remove("high:2"),
    image_remove_itself=lambda s: s.high.images.get("fromstream:1").remove() if False else None,
    image_pull=lambda s: s.high.images.pull("127.0.0.1:1/nosuch", tag="1"),
    image_push=lambda s: s.high.images.push("fromdata", tag="1") != "",
    image_registry=lambda s: s.high.images.get_registry_data("127.0.0.1:1/nosuch"),
    image_prune=lambda s: s.high.images.prune(filters={"label": "nosuch"}),
    image_reload=lambda s: s.high.images.get("busybox").reload(),
    volume_create=lambda s: s.high.volumes.create("high", labels={"x": "y"}).name,
    volume_get=lambda s: Document(s.high.volumes.get("high").attrs),
    volume_get_nosuch=lambda s: s.high.volumes.get("nosuch"),
    volume_list=lambda s: sorted(one.name for one in s.high.volumes.list()),
    volume_reload=lambda s: s.high.volumes.get("high").reload(),
    volume_remove=lambda s: s.high.volumes.get("high").remove(),
    volume_prune=lambda s: s.high.volumes.prune(filters={"label": "nosuch"}),
    login=lambda s: s.high.login("u", "p", registry="127.0.0.1:1"),
)  # fmt: skip
