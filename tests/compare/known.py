"""Differences that are meant, each with its reason. Debian's dockerd is 20.10; sampan speaks as 28 does."""

# ruff: noqa: E501 -- a table, one reason a line
from __future__ import annotations

_NEWER = "the words of newer engines (28); Debian's is 20.10"
_CAPS = "dockerd cannot do it on a machine without CAP_SYS_RESOURCE; sampan gives what there is"
_LISTS = "an empty list or object instead of null; clients take both"
_NULLS = "null for what nobody asked for, as newer engines"
_EARLIER = "found when the container is created, not when it starts; the words say which field"
_UNREACHED = "the words for a registry that cannot be reached"
_OLD_FIELDS = "fields that newer engines (28) do not have any more"
_WRONG_BETTER = "what was sent is wrong: 400, as newer engines; dockerd 20.10 says 500"
_EXEC_CODE = "dockerd 20.10 gives 126 for whatever fails; sampan, as newer engines, 127 for a program that is not there"

_V6 = "no port at [::] where the network has no IPv6; dockerd takes one all the same"
_V4 = "EnableIPv4, as newer engines"
_CLEARER = "the same refusal in words that say what to do"
_GATEWAY = "a gateway is given to every network when it is made, as newer engines do"

# By the step's key (cli_script.py, cli_outside.py): containers, images, volumes, the system.
_INSIDE: dict[str, str] = {
    "run: run --rm --network none busybox /etc": "words of newer runtimes (is a directory); docker's client 20.10 does not know them as 126, newer ones do",
    "run: run --rm --network none --cpu-shares 1 busybox true": _EARLIER,
    "run: run --rm --network none --runtime nosuch busybox true": _NEWER,
    "run: run --rm --network none --privileged busybox grep CapBnd /proc/self/status": _CAPS,
    "container: exec --privileged made grep CapEff /proc/self/status": _CAPS,
    "container: inspect -f '{{json .Config}}' made": _LISTS,
    "container: exec -u nosuchuser made true": "the user is looked up when the exec is created: an error before anything starts",
    "container: exec -w /nosuch made true": _EXEC_CODE,
    "container: exec made nosuchprogram": _EXEC_CODE,
    "container: update --restart nonsense better": _NEWER,
    "container: rm better": _NEWER,
    "files: cp files:/d/new -": "the mode field of the tar entry holds the permission bits only, as tar(5) says; Go's adds the type",
    "image: load": "says what is wrong with the archive, and what to do",
    "image: import --change NONSENSE {rootfs} imported:3": "told in the stream that the import answers with; the exit code is the same",
    "volume: volume inspect -f '{{.Name}} {{.Driver}} {{json .Labels}} {{json .Options}} {{.Scope}}' vol labelled small": _NULLS,
    "system: events --until 2 --filter nosuch=1": "an unknown filter is refused, not ignored",
}  # fmt: skip
_NETWORKS: dict[str, str] = {
    "network: network create --subnet 10.99.0.0/16 overlap": _NEWER,
    "network: network create --subnet nonsense bad": _CLEARER,
    "network: network create --driver nosuch bad": _NEWER,
    "network: network create --driver overlay bad": "only in a swarm: refused by both, in other words",
    "network: network create --scope swarm bad": "only in a swarm: refused by both, in other words",
    "network: network create --ingress bad": "only in a swarm: refused by both, in other words",
    "network: network create --ipam-driver nosuch bad": _CLEARER,
    "network: network create -o com.docker.network.driver.mtu=nonsense bad": _CLEARER,
    "network: network create ''": "dockerd takes an empty name for one that exists",
    "network: network create 'a b'": "names are checked as those of containers",
    "network: network rm 'a b'": "names are checked as those of containers",
    **dict.fromkeys((f"network: network inspect {name}" for name in ("net1", "net2", "none", "net1 nosuch")), _V4),
    "network: network inspect ranged": _GATEWAY,
    "network: network inspect -f '{{json .IPAM}} {{json .Options}} {{json .Labels}} {{.Internal}} {{.Attachable}} {{.EnableIPv6}}' net2 inner small named attachable": _GATEWAY,
    "network: run --rm --network ranged busybox hostname -i": _GATEWAY,
    "network: run --rm --network inner busybox ip route": "an internal network has no default route, as with newer engines",
    "network: run --rm --network net2 --ip 10.1.2.3 busybox true": _NEWER,
    "network: run --rm --network net2 --ip 10.99.0.50 busybox true": _CLEARER,
    "port: run --rm -p 8080:80 busybox true": "says who has the port",
    "network: run --rm --network none -p 80:80 busybox true": "says that the ports are not published",
    "network: run --rm busybox ip -4 -o addr show eth0": "a /32 and a route for the subnet (docs/dns.md); interfaces are numbered in their own namespace",
    "network: run --rm --network net1 busybox cat /etc/resolv.conf": _NEWER,
    "network: run --rm --network net1 --dns 9.9.9.9 --dns-search example --dns-option ndots:2 busybox cat /etc/resolv.conf": _NEWER,
    "network: run --rm --dns 9.9.9.9 --dns-search example --dns-option ndots:2 busybox cat /etc/resolv.conf": _NEWER,
    "network: inspect -f '{{json .NetworkSettings.Networks}}' one": "the short id is not among the aliases, as API 1.45 and later has it",
    "network: inspect -f '{{json .NetworkSettings.Networks}}' two": "the short id is not among the aliases, as API 1.45 and later has it",
    "network: inspect -f '{{range $name, $net := .NetworkSettings.Networks}}{{$name}} {{$net.IPAddress}} {{json $net.Aliases}};{{end}}' one": "the short id is not among the aliases, as API 1.45 and later has it",
    "network: network connect host one": _NEWER,
    "network: network disconnect -f net2 nosuch": _CLEARER,
    "network: network rm net1": _NEWER,
    "network: start two": _CLEARER,
    **dict.fromkeys(
        (
            "port: port web",
            "port: port web 80",
            "port: port web 80/tcp",
            "port: port web (3)",
            "port: ps --format '{{.Names}} {{.Ports}}'",
            "port: inspect -f '{{json .NetworkSettings.Ports}} {{json .HostConfig.PortBindings}}' web",
            "port: port range",
            "port: ps -f name=range --format '{{.Ports}}'",
        ),
        _V6,
    ),
    "port: run --rm -p 127.0.0.1:8080:80 busybox true": "no userland proxy that could fail",
    "port: run --rm -p 1.2.3.4:8090:80 busybox true": "no userland proxy that could fail",
    "port: ps -f publish=nonsense": _CLEARER,
}  # fmt: skip
_PLACE = "BuildKit's words: with the place in the Dockerfile"
_BUILDS: dict[str, str] = {
    "build: build -f {context}/multi.df --target nosuch {context}": _NEWER,
    "build: build -f {context}/unknown.df {context}": _NEWER,
    "build: build -": _NEWER,
    "build: build -f {context}/nofrom.df {context}": _PLACE,
    "build: build -f {context}/nocopy.df {context}": _PLACE,
    "build: build -f {context}/badcmd.df {context}": _PLACE,
    "build: build --network nosuch --no-cache -q {context}": _PLACE,
    "build: build -f {context}/nobase.df {context}": "bases are asked for before the first step; other words",
    "build: history --format '{{.CreatedBy}}|{{.Size}}|{{.Comment}}' --no-trunc built:1": "CMD and COPY as they were written in the Dockerfile",
    "build: rmi built:1 built:2 built:args built:first built:multi built:label built:stdin": "one image for a build, not one for each instruction (docs/build.md)",
    "build: builder prune --filter nosuch=1 -f": _CLEARER,
    "registry: pull 127.0.0.1:1/nosuch": _CLEARER,
    "registry: pull -a {registry}/box": "the status is told for each tag",
    "registry: push {closed}/box:1": _CLEARER,
    "registry: pull {closed}/box:1": "without the address that was asked",
    "registry: pull {closed}/box:1 (3)": "without the address that was asked",
    "registry: login -u user -p wrong {closed}": _NEWER,
    "registry: login -u u -p p 127.0.0.1:1": _CLEARER,
}  # fmt: skip
CLI = _INSIDE | _NETWORKS | _BUILDS
# By the step's name (py_script.py).
DOCKER_PY: dict[str, str] = {
    "system_info": _OLD_FIELDS,
    "system_client_info": _OLD_FIELDS,
    "system_df": _OLD_FIELDS,
    "system_client_df": _OLD_FIELDS,
    "container_inspect": _OLD_FIELDS,
    "container_inspect_host": _OLD_FIELDS,
    "image_inspect": "empty fields of Config are left out, and the container an image was made by, as newer engines",
    "container_update": "dockerd 20.10 sends one empty warning",
    "container_update_restart": "dockerd 20.10 sends one empty warning",
    "high_update": "dockerd 20.10 sends one empty warning",
    "container_remove_running": _NEWER,
    "high_remove_running": _NEWER,
    "archive_put_to_file": _WRONG_BETTER,
    "archive_put_no_archive": _WRONG_BETTER,
    "image_tag_wrong": _WRONG_BETTER,
    "image_import_stream": "docker-py sends both Content-Length and chunks: refused by both, as 400 (RFC 9112, 6.3)",
    "archive_committed": "the order of the environment: dockerd begins with the container's when no configuration is sent",
    "exec_twice": "409, as the API says; dockerd 20.10 answers 200 with nothing",
    "exec_nosuch_user": "the user is looked up when the exec is created: an error before anything starts",
    "attach_stream": "no null Error, as newer engines",
    "attach_socket": "no null Error, as newer engines",
    "attach_wait": "no null Error, as newer engines",
    "high_wait": "no null Error, as newer engines",
    "attach_wait_wrong": "an unknown condition is refused, as newer engines",
    "attach_prune": _LISTS,
    "image_prune": _LISTS,
    "high_image_prune": _LISTS,
    "image_inspect_nosuch": _NEWER,
    "high_image_get_nosuch": _NEWER,
    "image_import_image": _UNREACHED,
    "image_import_url": _UNREACHED,
    "image_pull": _UNREACHED,
    "image_distribution": _UNREACHED,
    "image_login": _UNREACHED,
    "high_run_no_image": _UNREACHED,
    "high_image_pull": _UNREACHED,
    "high_image_registry": _UNREACHED,
    "high_login": _UNREACHED,
    "network_create_overlapping": _NEWER,
    "network_create_wrong_driver": _NEWER,
    "network_create_wrong_option": _WRONG_BETTER,
    "network_remove_used": _NEWER,
    "network_disconnect_twice": _WRONG_BETTER,
    "network_high_remove_used": _NEWER,
    "network_high_prune": _LISTS,
    "build_missing": _WRONG_BETTER,
    "build_wrong": _NEWER,
    "build_target": _NEWER,
    "build_high_wrong": "bases are asked for before the first step; other words",
    "registry_distribution_nosuch": _CLEARER,
    "registry_closed": _CLEARER,
    "registry_login_wrong": "401, as newer engines; 20.10 says 500",
    "registry_closed_pull_wrong": _NEWER,
    "image_load_wrong": "says what is wrong with the archive, and what to do",
}
