"""Differences that are meant, each with its reason. Debian's dockerd is 20.10; sampan speaks as 28 does."""

# ruff: noqa: E501 -- a table, one reason a line
from __future__ import annotations

_NEWER = "the words of newer engines (28); Debian's is 20.10"
_CAPS = "dockerd cannot do it on a machine without CAP_SYS_RESOURCE; sampan gives what there is"
_LISTS = "an empty list or object instead of null; clients take both"
_NULLS = "null for what nobody asked for, as newer engines"
_EARLIER = "found when the container is created, not when it starts; the words say which field"
_REGISTRY = "no registry client yet: 501"
_OLD_FIELDS = "fields that newer engines (28) do not have any more"
_WRONG_BETTER = "what was sent is wrong: 400, as newer engines; dockerd 20.10 says 500"
_EXEC_CODE = "dockerd 20.10 gives 126 for whatever fails; sampan, as newer engines, 127 for a program that is not there"

# By the step's key (cli_script.py).
CLI: dict[str, str] = {
    "run: run --rm --network none busybox /etc": "words of newer runtimes (is a directory); docker's client 20.10 does not know them as 126, newer ones do",
    "run: run --rm --network none --cpu-shares 1 busybox true": _EARLIER,
    "run: run --rm --network nosuchnet busybox true": "networks: not there yet; names what is not supported",
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
    "image_import_image": _REGISTRY,
    "image_import_url": "sampand fetches nothing for an import: 501",
    "image_pull": _REGISTRY,
    "image_push": _REGISTRY,
    "image_distribution": _REGISTRY,
    "image_login": _REGISTRY,
    "high_run_no_image": _REGISTRY,
    "high_image_pull": _REGISTRY,
    "high_image_push": _REGISTRY,
    "high_image_registry": _REGISTRY,
    "high_login": _REGISTRY,
    "image_load_wrong": "says what is wrong with the archive, and what to do",
}
