"""config.json, "hooks": order, state, namespaces, failures."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.system.bundles import Config, Runtime, needs_busybox, needs_root, put

pytestmark = [needs_root, needs_busybox]


def test_hooks_run_in_order_with_the_state_on_stdin(runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()

    def hook(name: str, inside: bool = False) -> dict[str, Any]:
        shell = "/bin/sh" if inside else "/usr/bin/sh"
        script = f'read -r state; echo "{name} $state" >> "$LOG"; readlink /proc/self/ns/mnt >> "$LOG"'
        place = "/log/all" if inside else str(log / "all")
        return {"path": shell, "args": ["sh", "-c", script], "env": [f"LOG={place}", "PATH=/usr/bin:/bin"]}

    def change(config: Config) -> None:
        config["mounts"].append(
            {"destination": "/log", "type": "bind", "source": str(log), "options": ["bind"]}
        )
        config["hooks"] = {
            "prestart": [hook("prestart")],
            "createRuntime": [hook("createRuntime")],
            "createContainer": [hook("createContainer")],
            "startContainer": [hook("startContainer", inside=True)],
            "poststart": [hook("poststart")],
            "poststop": [hook("poststop")],
        }

    done = runtime.sh("echo main >> /log/all", change)
    assert done.code == 0
    lines = (log / "all").read_text().splitlines()
    host = os.readlink("/proc/self/ns/mnt")
    names = [line.split()[0] for line in lines if "{" in line]
    assert names == [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ]
    namespaces = dict(zip(names, [line for line in lines if line.startswith("mnt:")], strict=True))
    assert {name for name, where in namespaces.items() if where == host} == {
        "prestart",
        "createRuntime",
        "poststart",
        "poststop",
    }
    states = {line.split()[0]: json.loads(line.split(" ", 1)[1]) for line in lines if "{" in line}
    assert states["createRuntime"]["status"] == "creating"
    assert states["createRuntime"]["pid"] > 1
    assert states["startContainer"]["pid"] == 1
    assert states["poststop"]["status"] == "stopped"


@pytest.mark.parametrize(
    "name", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"]
)
def test_failing_hook_stops_the_container(runtime: Runtime, name: str, tmp_path: Path) -> None:
    shell = "/bin/sh" if name == "startContainer" else "/usr/bin/sh"
    bad = {"path": shell, "args": ["sh", "-c", "echo no luck >&2; exit 3"]}
    cleanup = {"path": "/usr/bin/touch", "args": ["touch", str(tmp_path / "cleaned")]}
    change = put("hooks", value={name: [bad], "poststop": [cleanup]})
    before = runtime.container_cgroups()
    done = runtime.run(change, "sleep", "1000")
    assert done.code == 1
    assert f"hooks.{name}[0]" in done.err
    assert "ended with code 3: no luck" in done.err
    assert (tmp_path / "cleaned").exists()
    assert runtime.container_cgroups() == before


def test_hook_timeout(runtime: Runtime) -> None:
    slow = {"path": "/usr/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}
    done = runtime.run(put("hooks", value={"createRuntime": [slow]}))
    assert "took longer than 1 s" in done.err
