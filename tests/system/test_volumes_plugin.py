"""Volume plugins: a real program that speaks Docker's protocol, driven through the docker command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]
PROGRAM = Path(__file__).parent / "volume_plugin.py"
RUN = ("run", "--rm", "--network", "none")


class Running:
    """The plugin program and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.sockets, self.specs = folder / "sockets", folder / "specs"
        self.volumes, self.log = folder / "plugin-volumes", folder / "calls"
        for path in (self.sockets, self.specs, self.volumes):
            path.mkdir()
        self.log.touch()
        self.socket = self.sockets / "filer.sock"
        self.start()

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self.socket), str(self.volumes), str(self.log)]
        )
        wait_for(self.socket.exists, "the plugin listens")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def calls(self, method: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["method"] == f"/VolumeDriver.{method}"]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("plugin"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def daemon(plugin: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    daemon = Sampand(tmp_path_factory.mktemp("daemon"))
    options = (f"--plugin-sockets={plugin.sockets}", f"--plugin-specs={plugin.specs}")
    daemon.start(*options)
    try:
        daemon.load_busybox()
        yield daemon
    finally:
        daemon.close()


@pytest.fixture(autouse=True)
def tidy(daemon: Sampand, plugin: Running) -> Iterator[None]:
    yield
    daemon.remove_containers()
    for volume in daemon.call("GET", "/volumes")["Volumes"]:
        daemon.call("DELETE", f"/volumes/{volume['Name']}")
    plugin.log.write_text("")


def test_a_volume_of_a_plugin(daemon: Sampand, plugin: Running) -> None:
    made = daemon.docker("volume", "create", "-d", "filer", "-o", "kind=fast", "remote")
    assert (made.code, made.text) == (0, "remote")
    assert plugin.calls("Create") == [
        {"method": "/VolumeDriver.Create", "Name": "remote", "Opts": {"kind": "fast"}}
    ]
    (shown,) = json.loads(daemon.docker("volume", "inspect", "remote").out)
    assert (shown["Driver"], shown["Scope"], shown["Status"]) == ("filer", "global", {"users": 0})
    assert shown["Mountpoint"] == str(plugin.volumes / "remote")
    done = daemon.docker(*RUN, "--name", "user", "-v", "remote:/r", "busybox", "touch", "/r/file")
    assert done.code == 0, done.err
    assert (plugin.volumes / "remote/file").exists()
    wait_for(lambda: plugin.calls("Unmount"), "the plugin hears of the end")
    ids = {call["ID"] for call in plugin.calls("Mount")}
    assert ids == {call["ID"] for call in plugin.calls("Unmount")}
    assert daemon.docker("volume", "rm", "remote").code == 0
    assert not (plugin.volumes / "remote").exists()


def test_volumes_made_with_a_container(daemon: Sampand, plugin: Running) -> None:
    mount = "type=volume,source=made,target=/m,volume-driver=filer,volume-opt=a=b"
    started = daemon.docker(
        "run", "-d", "--name", "holder", "--network", "none", "--mount", mount, "-v", "by-flag:/f",
        "--volume-driver", "filer", "busybox", "sleep", "60",
    )  # fmt: skip
    assert started.code == 0, started.err
    assert sorted(call["Name"] for call in plugin.calls("Mount")) == ["by-flag", "made"]
    shown = json.loads(daemon.docker("inspect", "-f", "{{json .Mounts}}", "holder").out)
    assert {(one["Name"], one["Driver"], one["Mode"]) for one in shown} == {
        ("made", "filer", ""),
        ("by-flag", "filer", ""),
    }
    assert "volume is in use" in daemon.docker("volume", "rm", "made").err
    daemon.docker("rm", "-f", "-v", "holder")
    wait_for(lambda: len(plugin.calls("Unmount")) == 2, "both are unmounted")
    assert len(daemon.call("GET", "/volumes")["Volumes"]) == 2


def test_what_a_plugin_has_already_is_found(daemon: Sampand, plugin: Running) -> None:
    (plugin.volumes / "before").mkdir()
    assert daemon.docker("volume", "ls", "-q", "-f", "driver=filer").text == "before"
    assert daemon.docker(*RUN, "-v", "before:/b", "busybox", "touch", "/b/x").code == 0
    assert (plugin.volumes / "before/x").exists()


def test_a_plugin_that_refuses(daemon: Sampand) -> None:
    done = daemon.docker("volume", "create", "-d", "filer", "-o", "fail=1", "bad")
    assert (done.code, "told to fail" in done.err) == (1, True)
    assert daemon.call("GET", "/volumes")["Volumes"] == []
    missing = daemon.docker("volume", "create", "-d", "nosuch", "bad")
    assert 'error looking up volume plugin nosuch: plugin "nosuch" not found' in missing.err
    status, _, _ = daemon.request("POST", "/volumes/create", {"Name": "bad", "Driver": "nosuch"})
    assert status == 404


def test_names_belong_to_one_driver(daemon: Sampand) -> None:
    daemon.docker("volume", "create", "-d", "filer", "mine")
    status, _, answer = daemon.request("POST", "/volumes/create", {"Name": "mine", "Driver": "local"})
    assert (status, b"volume name must be unique" in answer) == (409, True)


def test_by_address_in_a_file(daemon: Sampand, plugin: Running) -> None:
    (plugin.specs / "other.spec").write_text(f"unix://{plugin.socket}\n")
    (plugin.specs / "third.json").write_text(json.dumps({"Name": "third", "Addr": f"unix://{plugin.socket}"}))
    try:
        assert daemon.docker("volume", "create", "-d", "other", "one").code == 0
        assert daemon.docker("volume", "create", "-d", "third", "two").code == 0
    finally:
        for name in ("one", "two"):
            daemon.docker("volume", "rm", name)
        (plugin.specs / "other.spec").unlink()
        (plugin.specs / "third.json").unlink()


def hold(daemon: Sampand, name: str, volume: str) -> None:
    """Start a container that keeps a volume of the plugin."""
    flags = ("--name", name, "--network", "none", "-v", volume, "--volume-driver", "filer")
    done = daemon.docker("run", "-d", *flags, "busybox", "sleep", "60")
    assert done.code == 0, done.err


def test_users_are_known_after_kill_9(daemon: Sampand, plugin: Running) -> None:
    options = (f"--plugin-sockets={plugin.sockets}", f"--plugin-specs={plugin.specs}")
    hold(daemon, "stays", "kept:/k")
    daemon.kill()
    daemon.start(*options)
    assert plugin.calls("Unmount") == []
    daemon.docker("kill", "stays")
    wait_for(lambda: plugin.calls("Unmount"), "unmounted by the daemon that came back")


def test_a_plugin_that_is_away(daemon: Sampand, plugin: Running) -> None:
    hold(daemon, "runs", "away:/a")
    plugin.stop()
    try:
        assert "list filer" in daemon.call("GET", "/volumes")["Warnings"][0]
        assert daemon.docker("kill", "runs").code == 0
        assert daemon.docker("inspect", "-f", "{{.State.Running}}", "runs").text == "false"
        refused = daemon.docker("start", "runs")
        assert (refused.code, "does not answer" in refused.err) == (1, True)
    finally:
        plugin.start()
    assert daemon.docker("start", "runs").code == 0
