"""CNI's protocol, spoken with small plugins that write down what they were told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sampan.errors import InvalidArgument, NotFound, Unavailable
from sampan.network.cni.chain import Attachment, Chain, find_network_list
from sampan.network.cni.runner import Runner
from sampan.spec.cni import parse_network_list

PLUGIN = """#!/bin/sh
printf '{"plugin":"%s","command":"%s","container":"%s","netns":"%s","input":%s}\\n' \
  "${0##*/}" "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_NETNS" "$(cat)" >> "${0%/*}/calls"
answer="${0%/*}/${0##*/}.$CNI_COMMAND"
if [ -e "$answer" ]; then cat "$answer"; exit 1; fi
[ "$CNI_COMMAND" = ADD ] || exit 0
printf '{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/x","mac":"02:00:00:00:00:01"}],'
printf '"ips":[{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":0}],"by":"%s"}' "${0##*/}"
"""
HERE = Attachment(
    container="c1",
    interface="eth0",
    namespace="/proc/1/ns/net",
    capabilities={"portMappings": [{"hostPort": 1}], "mac": "02:00:00:00:00:02"},
)


class Kit:
    """Plugins in a folder of their own."""

    def __init__(self, folder: Path, runner: Runner) -> None:
        self.folder = folder
        self._runner = runner
        for name in ("first", "second"):
            (folder / name).write_text(PLUGIN)
            (folder / name).chmod(0o755)

    def chain(self, version: str = "1.1.0", **more: Any) -> Chain:
        plugins = [{"type": "first", "key": 1}, {"type": "second", "capabilities": {"portMappings": True}}]
        document = {"name": "net", "cniVersion": version, "plugins": plugins, **more}
        parsed = parse_network_list(json.dumps(document).encode(), origin="test")
        return Chain(parsed, self._runner, ["/nowhere", str(self.folder)])

    def calls(self) -> list[dict[str, Any]]:
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def order(self) -> list[tuple[str, str]]:
        return [(call["command"], call["plugin"]) for call in self.calls()]

    def fail(self, plugin: str, command: str, text: str) -> None:
        (self.folder / f"{plugin}.{command}").write_text(text)


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with closing(Runner()) as runner:
        yield Kit(tmp_path, runner)


def test_add_and_delete(kit: Kit) -> None:
    chain = kit.chain()
    document, result = chain.add(HERE)
    assert document["by"] == "second"
    interface, addresses = result.inside("eth0")
    assert interface is not None
    assert (interface.mac, addresses[0].address) == ("02:00:00:00:00:01", "10.1.0.2/24")
    chain.delete(HERE, previous=document)
    first, second, last, before_last = kit.calls()
    assert kit.order() == [("ADD", "first"), ("ADD", "second"), ("DEL", "second"), ("DEL", "first")]
    assert first["input"] == {"type": "first", "key": 1, "name": "net", "cniVersion": "1.1.0"}
    assert (first["container"], first["netns"]) == ("c1", "/proc/1/ns/net")
    assert second["input"]["prevResult"]["by"] == "first"
    assert second["input"]["runtimeConfig"] == {"portMappings": [{"hostPort": 1}]}
    assert "capabilities" not in second["input"]
    assert [call["input"]["prevResult"]["by"] for call in (last, before_last)] == ["second", "second"]


def test_an_add_that_fails_is_undone(kit: Kit) -> None:
    kit.fail("second", "ADD", '{"cniVersion":"1.1.0","code":11,"msg":"try again","details":"busy"}')
    with pytest.raises(Unavailable, match=r"plugin second failed at ADD: try again \(busy\) \[code 11\]"):
        kit.chain().add(HERE)
    assert kit.order() == [("ADD", "first"), ("ADD", "second"), ("DEL", "second"), ("DEL", "first")]


def test_delete_goes_on_after_a_failure(kit: Kit) -> None:
    kit.fail("second", "DEL", "no JSON at all")
    with pytest.raises(Unavailable, match="plugin second failed at DEL: no JSON at all"):
        kit.chain().delete(HERE, previous=None)
    assert kit.order() == [("DEL", "second"), ("DEL", "first")]


@pytest.mark.parametrize(
    ("version", "want"),
    [
        pytest.param("1.1.0", ["CHECK", "STATUS", "GC"], id="1.1 has all"),
        pytest.param("1.0.0", ["CHECK"], id="1.0 has no GC and STATUS"),
        pytest.param("0.3.1", [], id="0.3 has no CHECK"),
    ],
)
def test_what_a_version_has(kit: Kit, version: str, want: list[str]) -> None:
    chain = kit.chain(version)
    chain.check(HERE, previous={"by": "test"})
    chain.status()
    chain.collect([("c1", "eth0")])
    assert kit.order() == [(command, plugin) for command in want for plugin in ("first", "second")]
    if "GC" in want:
        last = kit.calls()[-1]
        assert last["input"]["cni.dev/valid-attachments"] == [{"containerID": "c1", "ifname": "eth0"}]
        assert (last["container"], last["netns"]) == ("", "")


def test_switched_off(kit: Kit) -> None:
    chain = kit.chain(disableCheck=True, disableGC=True)
    chain.check(HERE, previous={})
    chain.collect([])
    assert kit.order() == []


def test_status_says_why(kit: Kit) -> None:
    kit.fail("first", "STATUS", '{"code":50,"msg":"no controller"}')
    with pytest.raises(Unavailable, match=r"no controller \[code 50\]"):
        kit.chain().status()


def test_missing_program(kit: Kit) -> None:
    (kit.folder / "second").unlink()
    with pytest.raises(NotFound, match="CNI plugin second of network net is not there"):
        kit.chain().check_programs()


def test_the_process_that_runs_plugins_is_killed(kit: Kit) -> None:
    chain = kit.chain()
    chain.status()
    process = kit._runner._process
    assert process is not None
    process.kill()
    process.wait()
    chain.status()
    assert len(kit.order()) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "CNI network test: "),
        ('{"cniVersion":"1.0.0","plugins":[{"type":"a"}]}', "name"),
        ('{"name":"x","cniVersion":"9.0.0","plugins":[{"type":"a"}]}', "version '9.0.0' is not supported"),
        ('{"name":"x","cniVersion":"1.0.0","plugins":[]}', "names no plugins"),
        ('{"name":"x","cniVersion":"1.0.0","plugins":[{"type":"../a"}]}', "is not the name of a program"),
        ('{"name":"a/b","cniVersion":"1.0.0","type":"a"}', "name 'a/b'"),
    ],
)
def test_bad_lists(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_network_list(text.encode(), origin="test")


def test_a_single_plugin_is_a_list_of_one() -> None:
    parsed = parse_network_list(b'{"name":"x","cniVersion":"1.0.0","type":"a","k":1}', origin="test")
    assert [plugin["type"] for plugin in parsed.plugins] == ["a"]


def test_finding(tmp_path: Path) -> None:
    (tmp_path / "10-a.conflist").write_text('{"name":"inside"}')
    assert find_network_list(["/nowhere", str(tmp_path)], "inside")[0] == f"{tmp_path}/10-a.conflist"
    assert find_network_list([str(tmp_path)], "10-a")[0] == f"{tmp_path}/10-a.conflist"
    with pytest.raises(NotFound, match="'other' is not there"):
        find_network_list([str(tmp_path)], "other")
    with pytest.raises(InvalidArgument, match="a name, not a path"):
        find_network_list([str(tmp_path)], f"..{os.sep}x")
