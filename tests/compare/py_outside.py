"""What docker-py is asked about networks, builds and registries, in order; it goes on after py_script."""

# ruff: noqa: E501 -- tables, one call a line
from __future__ import annotations

import io
from typing import Any

from docker.types import IPAMConfig, IPAMPool
from tests.compare import py_script  # noqa: F401 -- its steps come before these
from tests.compare.contexts import FILES
from tests.compare.peers import CLOSED, REGISTRY
from tests.compare.py_steps import NONE, Document, Story, step, steps

SLEEP = ["sleep", "600"]
USER = {"username": "user", "password": "secret"}
POOL = IPAMPool(subnet="10.99.0.0/24", gateway="10.99.0.1")

steps(
    "network",
    create=lambda s: Document(
        s.low.create_network("net", driver="bridge", labels={"a": "b"}, check_duplicate=True)
    ),
    create_twice=lambda s: s.low.create_network("net", check_duplicate=True),
    create_pool=lambda s: s.low.create_network(
        "pool", ipam=IPAMConfig(pool_configs=[POOL]), internal=True, attachable=True
    )["Warning"],
    create_overlapping=lambda s: s.low.create_network("bad", ipam=IPAMConfig(pool_configs=[POOL])),
    create_wrong_driver=lambda s: s.low.create_network("bad", driver="nosuch"),
    create_wrong_option=lambda s: s.low.create_network("bad", options={"com.docker.network.driver.mtu": "x"}),
    list=lambda s: Document(s.low.networks()),
    list_names=lambda s: sorted(one["Name"] for one in s.low.networks(names=["net", "pool"])),
    list_ids=lambda s: s.low.networks(ids=["nosuch"]),
    list_filter=lambda s: [one["Name"] for one in s.low.networks(filters={"label": "a=b"})],
    list_wrong=lambda s: s.low.networks(filters={"nosuch": "x"}),
    inspect=lambda s: Document(s.low.inspect_network("net")),
    inspect_verbose=lambda s: Document(s.low.inspect_network("net", verbose=True, scope="local")),
    inspect_nosuch=lambda s: s.low.inspect_network("nosuch"),
    endpoint_config=lambda s: s.low.create_endpoint_config(aliases=["x"], ipv4_address="10.99.0.9"),
    networking_config=lambda s: s.low.create_networking_config(
        {"net": s.low.create_endpoint_config(aliases=["x"])}
    ),
)


@step
def network_container(s: Story) -> Any:
    endpoint = s.low.create_endpoint_config(aliases=["other"], ipv4_address="10.99.0.9")
    made = s.low.create_container(
        "busybox", SLEEP, name="wired", host_config=s.low.create_host_config(network_mode="pool"),
        networking_config=s.low.create_networking_config({"pool": endpoint}),
    )  # fmt: skip
    s.low.start(made)
    return s.low.inspect_container("wired")["NetworkSettings"]["Networks"]["pool"]["IPAddress"]


steps(
    "network",
    connect=lambda s: s.low.connect_container_to_network("wired", "net", aliases=["more"]),
    connect_twice=lambda s: s.low.connect_container_to_network("wired", "net"),
    connect_nosuch=lambda s: s.low.connect_container_to_network("nosuch", "net"),
    connect_to_nosuch=lambda s: s.low.connect_container_to_network("wired", "nosuch"),
    connect_wrong_address=lambda s: s.low.connect_container_to_network(
        "wired", "bridge", ipv4_address="10.1.1.1"
    ),
    settings=lambda s: Document(s.low.inspect_container("wired")["NetworkSettings"]),
    with_container=lambda s: [one["Name"] for one in s.low.inspect_network("net")["Containers"].values()],
    remove_used=lambda s: s.low.remove_network("net"),
    disconnect=lambda s: s.low.disconnect_container_from_network("wired", "net"),
    disconnect_twice=lambda s: s.low.disconnect_container_from_network("wired", "net", force=True),
    ports=lambda s: s.low.create_host_config(port_bindings={80: 8080}),
    remove_container=lambda s: s.low.remove_container("wired", force=True),
    remove=lambda s: s.low.remove_network("net"),
    remove_nosuch=lambda s: s.low.remove_network("nosuch"),
    remove_fixed=lambda s: s.low.remove_network("bridge"),
    prune_wrong=lambda s: s.low.prune_networks(filters={"nosuch": "x"}),
    prune=lambda s: s.low.prune_networks(),
    high_create=lambda s: s.high.networks.create("high", labels={"x": "y"}).name,
    high_get=lambda s: Document(s.high.networks.get("high").attrs),
    high_get_nosuch=lambda s: s.high.networks.get("nosuch"),
    high_list=lambda s: sorted(one.name for one in s.high.networks.list()),
    high_list_greedy=lambda s: len(s.high.networks.list(names=["high"], greedy=True)),
    high_run=lambda s: (
        s.high.containers.run(
            "busybox", SLEEP, name="box", detach=True, network="high", ports={"80/tcp": ("127.0.0.1", 8088)}
        ).status
    ),
    high_ports=lambda s: s.box().ports,
    high_containers=lambda s: [one.name for one in s.high.networks.get("high").containers],
    high_by_name=lambda s: s.high.containers.run(
        "busybox", ["ping", "-c", "1", "-q", "box"], remove=True, network="high"
    ).count(b"1 packets received"),
    high_disconnect=lambda s: s.high.networks.get("high").disconnect("box"),
    high_connect=lambda s: s.high.networks.get("high").connect("box", aliases=["again"]),
    high_reload=lambda s: s.high.networks.get("high").reload(),
    high_remove_used=lambda s: s.high.networks.get("high").remove(),
    high_remove=lambda s: (s.box().remove(force=True), s.high.networks.get("high").remove()),
    high_prune=lambda s: s.high.networks.prune(filters={"label": "nosuch"}),
)


def context(s: Story) -> str:
    return str(s.folder / "context")


steps(
    "build",
    path=lambda s: [
        line.get("stream") for line in s.low.build(path=context(s), tag="built:1", rm=True, decode=True)
    ][-1],
    quiet=lambda s: len(list(s.low.build(path=context(s), quiet=True))),
    fileobj=lambda s: [
        line.get("stream")
        for line in s.low.build(fileobj=io.BytesIO(b"FROM busybox\nCMD true\n"), decode=True)
    ][:2],
    arguments=lambda s: list(
        s.low.build(
            path=context(s),
            dockerfile="args.df",
            buildargs={"A": "given"},
            labels={"l": "m"},
            tag="built:args",
            decode=True,
        )
    )[-1],
    fails=lambda s: list(s.low.build(path=context(s), dockerfile="fails.df", decode=True))[-1],
    missing=lambda s: list(s.low.build(path=context(s), dockerfile="nosuch.df", decode=True)),
    wrong=lambda s: list(s.low.build(path=context(s), dockerfile="unknown.df", decode=True)),
    wrong_tag=lambda s: list(s.low.build(path=context(s), tag="Bad/Name", decode=True)),
    wrong_arguments=lambda s: s.low.build(),
    target=lambda s: list(s.low.build(path=context(s), dockerfile="multi.df", target="nosuch", decode=True)),
    limits=lambda s: (
        len(
            list(
                s.low.build(
                    path=context(s),
                    container_limits={"memory": 64 << 20},
                    nocache=True,
                    network_mode="none",
                    decode=True,
                )
            )
        )
        > 5
    ),
    inspect=lambda s: {
        k: s.low.inspect_image("built:1")["Config"][k]
        for k in ("Cmd", "WorkingDir", "Labels", "ExposedPorts")
    },
    run=lambda s: s.high.containers.run("built:1", remove=True, **NONE),
    high=lambda s: s.high.images.build(path=context(s), tag="built:high", rm=True)[0].tags,
    high_log=lambda s: "".join(
        line.get("stream", "") for line in s.high.images.build(path=context(s), dockerfile="multi.df")[1]
    ),
    high_fails=lambda s: s.high.images.build(path=context(s), dockerfile="fails.df"),
    high_wrong=lambda s: s.high.images.build(fileobj=io.BytesIO(FILES["nobase.df"].encode())),
    remove=lambda s: len([s.low.remove_image(name) for name in ("built:1", "built:args", "built:high")]),
    prune=lambda s: Document(s.low.prune_builds()),
    prune_high=lambda s: Document(s.high.images.prune_builds()),
)

steps(
    "registry",
    tag=lambda s: s.low.tag("busybox", f"{REGISTRY}/box", "1"),
    push=lambda s: [line.get("status", line.get("error")) for line in s.low.push(f"{REGISTRY}/box", "1", stream=True, decode=True) if not line.get("progress")][:2],
    push_all=lambda s: "digest" in str(s.low.push(f"{REGISTRY}/box")),
    push_nosuch=lambda s: list(s.low.push(f"{REGISTRY}/nosuch", "1", stream=True, decode=True))[-1],
    high_push=lambda s: "digest" in str(s.high.images.push(f"{REGISTRY}/box", tag="1")),
    distribution=lambda s: Document(s.low.inspect_distribution(f"{REGISTRY}/box:1")),
    distribution_nosuch=lambda s: s.low.inspect_distribution(f"{REGISTRY}/nosuch:1"),
    data=lambda s: Document(s.high.images.get_registry_data(f"{REGISTRY}/box:1").attrs),
    data_platform=lambda s: s.high.images.get_registry_data(f"{REGISTRY}/box:1").has_platform("linux/amd64"),
    data_pull=lambda s: s.high.images.get_registry_data(f"{REGISTRY}/box:1").pull().tags != [],
    remove=lambda s: s.low.remove_image(f"{REGISTRY}/box:1") != [],
    pull=lambda s: list(s.low.pull(f"{REGISTRY}/box", "1", stream=True, decode=True))[0].get("status"),  # noqa: RUF015 -- to its end
    pull_text=lambda s: "Status: Image is up to date" in s.low.pull(f"{REGISTRY}/box", "1"),
    pull_nosuch=lambda s: s.low.pull(f"{REGISTRY}/nosuch", "1"),
    pull_tag_nosuch=lambda s: s.low.pull(f"{REGISTRY}/box", "nosuch"),
    high_pull=lambda s: s.high.images.pull(f"{REGISTRY}/box", tag="1").tags != [],
    high_pull_all=lambda s: len(s.high.images.pull(f"{REGISTRY}/box", all_tags=True)),
    high_pull_nosuch=lambda s: s.high.images.pull(f"{REGISTRY}/nosuch"),
    run_pulls=lambda s: (s.low.remove_image(f"{REGISTRY}/box:1"), s.high.containers.run(f"{REGISTRY}/box:1", "echo pulled", remove=True, **NONE))[1],
    import_from=lambda s: "Status" in str(s.low.import_image_from_image(f"{REGISTRY}/box", tag="1")),
    closed=lambda s: (s.low.tag("busybox", f"{CLOSED}/box", "1"), list(s.low.push(f"{CLOSED}/box", "1", stream=True, decode=True))[-1]),
    login_wrong=lambda s: s.low.login("user", "wrong", registry=CLOSED),
    login=lambda s: s.high.login("user", "secret", registry=CLOSED),
    login_again=lambda s: s.low.login("user", "secret", registry=CLOSED, reauth=True),
    closed_push=lambda s: "digest" in str(s.low.push(f"{CLOSED}/box", "1", auth_config=USER)),
    closed_pull=lambda s: s.high.images.pull(f"{CLOSED}/box", tag="1", auth_config=USER).tags != [],
    closed_pull_wrong=lambda s: s.low.pull(f"{CLOSED}/box", "1", auth_config={"username": "user", "password": "wrong"}),
    closed_distribution=lambda s: Document(s.low.inspect_distribution(f"{CLOSED}/box:1", auth_config=USER)),
    search=lambda s: s.low.search(f"{REGISTRY}/x", limit=1000),
    reload_config=lambda s: s.low.reload_config(),
    close=lambda s: s.high.close(),
)  # fmt: skip

# Methods that the story cannot meet, and why.
ELSEWHERE = {
    "swarm": "503: create_config create_secret create_service create_swarm_spec configs inspect_config "
    "inspect_node inspect_secret inspect_service inspect_swarm inspect_task get_unlock_key init_swarm join_swarm "
    "leave_swarm nodes remove_config remove_node remove_secret remove_service secrets service_logs services tasks "
    "unlock_swarm update_node update_service update_swarm",
    "plugins": "not there: configure_plugin create_plugin disable_plugin enable_plugin inspect_plugin plugins "
    "pull_plugin plugin_privileges push_plugin remove_plugin upgrade_plugin",
    "the client's own": "no request: get_adapter from_env",
}
