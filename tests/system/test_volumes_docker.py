"""Volumes through the real docker command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]

RUN = ("run", "--rm", "--network", "none")


@pytest.fixture
def tidy(sampand: Sampand) -> Iterator[Sampand]:
    """The daemon; every container and volume of the test is gone afterwards."""
    yield sampand
    sampand.remove_containers()
    for volume in sampand.call("GET", "/volumes")["Volumes"]:
        sampand.call("DELETE", f"/volumes/{volume['Name']}")
    assert sampand.mounts() == []


def names(daemon: Sampand, *filters: str) -> list[str]:
    words = [word for text in filters for word in ("-f", text)]
    return sorted(daemon.docker("volume", "ls", "-q", *words).text.split())


def mounts_of(daemon: Sampand, container: str) -> list[dict[str, Any]]:
    found = daemon.docker("inspect", "-f", "{{json .Mounts}}", container)
    assert found.code == 0, found.err
    return sorted(json.loads(found.out), key=lambda mount: str(mount["Destination"]))


def test_the_life_of_a_volume(tidy: Sampand, cli: str) -> None:
    made = tidy.docker("volume", "create", "--label", "tier=back", "data", cli=cli)
    assert (made.code, made.text) == (0, "data")
    (shown,) = json.loads(tidy.docker("volume", "inspect", "data", cli=cli).out)
    assert (shown["Name"], shown["Driver"], shown["Scope"]) == ("data", "local", "local")
    assert shown["Labels"] == {"tier": "back"}
    assert shown["Mountpoint"] == str(tidy.data / "volumes/data/_data")
    done = tidy.docker(*RUN, "-v", "data:/data", "busybox", "sh", "-c", "echo kept >/data/file", cli=cli)
    assert done.code == 0, done.err
    assert tidy.docker(*RUN, "-v", "data:/d", "busybox", "cat", "/d/file", cli=cli).text == "kept"
    read_only = tidy.docker(*RUN, "-v", "data:/d:ro", "busybox", "touch", "/d/x", cli=cli)
    assert (read_only.code, "Read-only file system" in read_only.err) == (1, True)
    assert tidy.docker("volume", "rm", "data", cli=cli).text == "data"
    missing = tidy.docker("volume", "rm", "data", cli=cli)
    assert (missing.code, "no such volume" in missing.err.lower()) == (1, True)
    assert tidy.docker("volume", "rm", "-f", "data", cli=cli).code == 0


def test_a_volume_in_use_stays(tidy: Sampand, cli: str) -> None:
    made = tidy.docker("create", "--name", "user", "--network", "none", "-v", "data:/d", "busybox", cli=cli)
    refused = tidy.docker("volume", "rm", "data", cli=cli)
    assert refused.code == 1
    assert f"remove data: volume is in use - [{made.text}]" in refused.err
    assert names(tidy, "dangling=false") == ["data"]
    tidy.docker("rm", "-v", "user", cli=cli)
    assert names(tidy, "dangling=true") == ["data"], "named volumes outlive their containers"


def test_filters_and_prune(tidy: Sampand, cli: str) -> None:
    for name, label in (("aa", "x=1"), ("ab", "x=2"), ("bb", "y")):
        tidy.docker("volume", "create", "--label", label, name, cli=cli)
    anonymous = tidy.docker("volume", "create", cli=cli).text
    assert len(anonymous) == 64
    assert names(tidy, "name=^a[ab]$") == ["aa", "ab"]
    assert names(tidy, "label=x") == ["aa", "ab"]
    assert names(tidy, "label=x=2", "driver=local") == ["ab"]
    assert names(tidy, "driver=other") == []
    assert "invalid filter 'nosuch'" in tidy.docker("volume", "ls", "-f", "nosuch=x", cli=cli).err
    assert "invalid filter 'dangling" in tidy.docker("volume", "ls", "-f", "dangling=x", cli=cli).err
    (tidy.data / "volumes" / anonymous / "_data/file").write_bytes(b"x" * 1000)
    status, _, answer = tidy.request("POST", "/v1.51/volumes/prune")
    assert (status, json.loads(answer)) == (200, {"VolumesDeleted": [anonymous], "SpaceReclaimed": 1000})
    filters = '{"all":["true"],"label!":["y"]}'
    status, _, answer = tidy.request("POST", f"/v1.51/volumes/prune?filters={filters}")
    assert json.loads(answer)["VolumesDeleted"] == ["aa", "ab"]
    status, _, answer = tidy.request("POST", "/v1.41/volumes/prune")
    assert json.loads(answer)["VolumesDeleted"] == ["bb"], "older clients mean named volumes too"


def test_anonymous_volumes_go_with_rm(tidy: Sampand, cli: str) -> None:
    assert (
        tidy.docker(*RUN, "-v", "/data", "-v", "named:/n", "busybox", "touch", "/data/x", cli=cli).code == 0
    )
    wait_for(lambda: names(tidy) == ["named"], "the anonymous volume goes with --rm")
    tidy.docker("create", "--name", "one", "--network", "none", "-v", "/data", "busybox", cli=cli)
    tidy.docker("create", "--name", "two", "--network", "none", "--volumes-from", "one", "busybox", cli=cli)
    tidy.docker("rm", "-v", "one", cli=cli)
    assert len(names(tidy)) == 2, "another container has it"
    tidy.docker("rm", "two", cli=cli)
    assert len(names(tidy)) == 2, "without -v it stays"
    assert tidy.docker("volume", "prune", "-f", cli=cli).code == 0


def test_mounts_are_shown_as_docker_shows_them(tidy: Sampand, cli: str) -> None:
    source = tidy.folder / "bound"
    tidy.docker(
        "create", "--name", "shown", "--network", "none", "-v", "data:/v", "-v", f"{source}:/b:ro",
        "-v", "/anonymous", "--mount", "type=volume,source=other,target=/m,readonly,volume-label=a=b",
        "--mount", "type=tmpfs,target=/t", "--tmpfs", "/hidden", "busybox", cli=cli,
    )  # fmt: skip
    anonymous, bind, mount, tmpfs, volume = mounts_of(tidy, "shown")
    assert (anonymous["Type"], anonymous["Mode"], len(anonymous["Name"])) == ("volume", "", 64)
    assert bind == {
        "Type": "bind",
        "Source": str(source),
        "Destination": "/b",
        "Mode": "ro",
        "RW": False,
        "Propagation": "rprivate",
    }
    assert volume == {
        "Type": "volume",
        "Name": "data",
        "Source": str(tidy.data / "volumes/data/_data"),
        "Destination": "/v",
        "Driver": "local",
        "Mode": "z",
        "RW": True,
        "Propagation": "",
    }
    assert (mount["Name"], mount["RW"], mount["Mode"]) == ("other", False, "z")
    assert (tmpfs["Type"], tmpfs["Source"]) == ("tmpfs", "")
    assert tidy.call("GET", "/volumes/other")["Labels"] == {"a": "b"}
    listed = tidy.docker(
        "ps", "-a", "--no-trunc", "--filter", "volume=data", "--format", "{{.Names}}", cli=cli
    )
    assert listed.text == "shown"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("-v", "a/b:/x"), "includes invalid characters for a local volume name"),
        (("-v", "data:/x", "--mount", "type=volume,source=b,target=/x/"), "Duplicate mount point: /x"),
        (("-v", "data:/x", "--tmpfs", "/x"), "Duplicate mount point: /x"),
        (("-v", "data:/x:rslave"), "field BindOptions must not be specified"),
        (("--mount", "type=bind,source=/nosuch-folder,target=/x"), "bind source path does not exist"),
        (("--mount", "type=image,source=nosuch,target=/x"), "No such image: nosuch:latest"),
        (("--volumes-from", "nobody"), "No such container: nobody"),
        (("-v", "data:/x", "--volume-driver", "nosuch"), 'plugin "nosuch" not found'),
        (("-v", "data:/etc/passwd"), "cannot mount volume over existing file"),
    ],
)
def test_refused(tidy: Sampand, cli: str, flags: tuple[str, ...], message: str) -> None:
    done = tidy.docker("create", "--network", "none", *flags, "busybox", cli=cli)
    assert done.code != 0
    assert message in done.err
    assert tidy.call("GET", "/volumes")["Volumes"] == [], "a failed create leaves no volume"


def test_missing_folders_are_made_for_v_only(tidy: Sampand, cli: str) -> None:
    folder = tidy.folder / "made/by/v"
    assert tidy.docker(*RUN, "-v", f"{folder}:/x", "busybox", "true", cli=cli).code == 0
    assert folder.is_dir()


def test_copy_up(tidy: Sampand, cli: str) -> None:
    listing = "find /etc | sort; stat -c '%u %g %a %n' /etc/plain /etc"
    plain = tidy.docker(*RUN, "busybox", "sh", "-c", "chown 5:6 /etc; " + listing, cli=cli)
    first = tidy.docker(*RUN, "-v", "etc:/etc", "busybox", "ls", "/etc", cli=cli)
    assert {"group", "passwd", "plain"} <= set(first.text.split())
    tidy.docker(*RUN, "-v", "etc:/etc", "busybox", "rm", "/etc/plain", cli=cli)
    assert "plain" not in tidy.docker(*RUN, "-v", "etc:/etc", "busybox", "ls", "/etc", cli=cli).text.split()
    assert tidy.docker(*RUN, "-v", "none:/etc:nocopy", "busybox", "ls", "/etc", cli=cli).text.split() == [
        "hostname",
        "hosts",
        "resolv.conf",
    ]
    assert plain.code == 0
    sticky = tidy.docker(*RUN, "-v", "tmp:/tmp", "busybox", "stat", "-c", "%a", "/tmp", cli=cli)
    assert sticky.text == "1777", "an empty directory of the image gives owner and mode"


def test_volumes_from(tidy: Sampand, cli: str) -> None:
    (tidy.folder / "bound").mkdir(exist_ok=True)
    tidy.docker(
        "create", "--name", "giver", "--network", "none", "-v", "data:/d", "-v", f"{tidy.folder}/bound:/b",
        "--tmpfs", "/t", "busybox", cli=cli,
    )  # fmt: skip
    both = tidy.docker(*RUN, "--volumes-from", "giver", "busybox", "sh", "-c", "touch /d/x /b/y", cli=cli)
    assert both.code == 0, both.err
    ro = tidy.docker(*RUN, "--volumes-from", "giver:ro", "busybox", "touch", "/d/z", cli=cli)
    assert "Read-only file system" in ro.err
    over = tidy.docker(
        *RUN, "--volumes-from", "giver", "-v", "other:/d", "busybox", "ls", "/d", "/b", cli=cli
    )
    assert over.text.split() == ["/b:", "y", "/d:"]


def test_events(tidy: Sampand, cli: str) -> None:
    since = tidy.call("GET", "/info")["SystemTime"]
    tidy.docker("volume", "create", "data", cli=cli)
    done = tidy.docker(*RUN, "--name", "eventful", "-v", "data:/d:ro", "busybox", "true", cli=cli)
    assert done.code == 0
    tidy.docker("volume", "rm", "data", cli=cli)
    tidy.docker("volume", "prune", "-f", cli=cli)
    until = tidy.call("GET", "/info")["SystemTime"]
    found = tidy.docker(
        "events",
        "--since",
        since,
        "--until",
        until,
        "--filter",
        "type=volume",
        "--format",
        "{{json .}}",
        cli=cli,
    )
    events = [json.loads(line) for line in found.text.splitlines()]
    assert [event["Action"] for event in events] == ["create", "mount", "unmount", "destroy", "prune"]
    mount = events[1]["Actor"]["Attributes"]
    assert (mount["destination"], mount["read/write"], mount["driver"]) == ("/d", "false", "local")
    assert events[2]["Actor"]["Attributes"]["container"] == mount["container"]
    assert events[4]["Actor"]["Attributes"] == {"reclaimed": "0"}
    every = tidy.docker("events", "--since", since, "--until", until, "--format", "{{.Action}}", cli=cli)
    order = every.text.split()
    assert order.index("mount") < order.index("start")
    assert order.index("unmount") < order.index("die")


def test_disk_usage_is_true_to_the_byte(tidy: Sampand, cli: str) -> None:
    tidy.docker(*RUN, "-v", "data:/d", "busybox", "sh", "-c", "head -c 12345 /dev/zero >/d/x", cli=cli)
    (volume,) = tidy.call("GET", "/system/df?type=volume")["Volumes"]
    assert volume["UsageData"] == {"Size": 12345, "RefCount": 0}
    assert "12.35kB" in tidy.docker("system", "df", cli=cli).text


def test_a_local_volume_that_is_a_mount(tidy: Sampand, cli: str) -> None:
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=5,mode=750")
    assert tidy.docker("volume", "create", *options, "memory", cli=cli).code == 0
    started = tidy.docker(
        "run",
        "-d",
        "--name",
        "one",
        "--network",
        "none",
        "-v",
        "memory:/m",
        "busybox",
        "sleep",
        "60",
        cli=cli,
    )
    assert started.code == 0, started.err
    data = tidy.data / "volumes/memory/_data"
    assert tidy.mounts() == [str(data)]
    both = tidy.docker(
        *RUN, "-v", "memory:/m", "busybox", "sh", "-c", "stat -c '%u %a' /m; touch /m/shared", cli=cli
    )
    assert both.text == "5 750"
    assert tidy.docker("exec", "one", "ls", "/m", cli=cli).text == "shared"
    assert tidy.mounts() == [str(data)], "one still uses it"
    tidy.docker("rm", "-f", "one", cli=cli)
    wait_for(lambda: tidy.mounts() == [], "unmounted with its last user")
    assert list(data.iterdir()) == []


def test_a_local_volume_that_is_a_bind(tidy: Sampand, cli: str) -> None:
    source = tidy.folder / "srv"
    source.mkdir(exist_ok=True)
    (source / "there").touch()
    options = ("-o", "type=none", "-o", f"device={source}", "-o", "o=bind,ro")
    tidy.docker("volume", "create", *options, "srv", cli=cli)
    done = tidy.docker(*RUN, "-v", "srv:/s", "busybox", "sh", "-c", "ls /s; touch /s/x", cli=cli)
    assert done.text == "there"
    assert "Read-only file system" in done.err
    wait_for(lambda: tidy.mounts() == [], "unmounted")
    tidy.docker("volume", "create", "-o", "type=none", "-o", "device=/nosuch", "-o", "o=bind", "bad", cli=cli)
    broken = tidy.docker(
        "run", "--name", "broken", "--network", "none", "-v", "bad:/s:nocopy", "busybox", cli=cli
    )
    assert broken.code == 125
    assert "failed to mount local volume" in broken.err
    assert tidy.mounts() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("nosuch=1",), 'invalid option: "nosuch"'),
        (("type=nfs",), 'missing required option: "device"'),
        (("size=10m",), "quota size requested but no quota support"),
    ],
)
def test_wrong_driver_options(tidy: Sampand, cli: str, options: tuple[str, ...], message: str) -> None:
    words = [word for option in options for word in ("-o", option)]
    done = tidy.docker("volume", "create", *words, "bad", cli=cli)
    assert (done.code, message in done.err) == (1, True), done.err
    assert names(tidy) == []


def test_nfs_needs_a_server(tidy: Sampand, cli: str) -> None:
    options = ("-o", "type=nfs", "-o", "device=:/export", "-o", "o=addr=127.0.0.1,soft,timeo=1,retrans=0")
    assert tidy.docker("volume", "create", *options, "net", cli=cli).code == 0
    done = tidy.docker(*RUN, "-v", "net:/n", "busybox", cli=cli)
    assert done.code == 125
    assert "failed to mount local volume" in done.err


def test_owner_of_a_volume(tidy: Sampand, cli: str) -> None:
    tidy.docker("volume", "create", "-o", "uid=1000", "-o", "gid=50", "mine", cli=cli)
    shown = tidy.docker(
        *RUN, "-u", "1000", "-v", "mine:/etc", "busybox", "stat", "-c", "%u %g", "/etc", cli=cli
    )
    assert shown.text == "1000 50", "also when the image has a directory there"


def test_image_mounts(tidy: Sampand, cli: str) -> None:
    whole = ("--mount", "type=image,source=busybox,target=/image")
    done = tidy.docker(*RUN, *whole, "busybox", "sh", "-c", "cat /image/etc/plain; touch /image/x", cli=cli)
    if done.code == 125 and "image" in done.err:
        pytest.skip("this docker command knows no image mounts")
    assert (done.text, "Read-only file system" in done.err) == ("not executable", True)
    if cli == "/usr/bin/docker":
        return  # knows no subpaths of images
    part = ("--mount", "type=image,source=busybox,target=/image,image-subpath=etc")
    assert "plain" in tidy.docker(*RUN, *part, "busybox", "ls", "/image", cli=cli).text
    one = ("--mount", "type=image,source=busybox,target=/one,image-subpath=etc/plain")
    assert tidy.docker(*RUN, *one, "busybox", "cat", "/one", cli=cli).text == "not executable"


def test_files_of_a_named_volume_lie_where_they_should(tidy: Sampand) -> None:
    tidy.docker(*RUN, "-v", "data:/d", "busybox", "touch", "/d/x")
    assert Path(tidy.call("GET", "/volumes/data")["Mountpoint"], "x").exists()
