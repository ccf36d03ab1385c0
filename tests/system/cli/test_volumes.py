"""`sampan volume …` and the flags of `run` for volumes, against sampand and against Docker's daemon."""

from __future__ import annotations

import io
import json
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.cli.harness import Daemon, sampan
from tests.system.sampand import Sampand

RUN = ("run", "--rm", "--network", "none")


@pytest.fixture
def volume(daemon: Daemon) -> Iterator[str]:
    """A volume that no other test has."""
    name = f"v{uuid.uuid4().hex[:12]}"
    done = sampan(daemon.host, "volume", "create", "--label", "test=yes", name)
    assert (done.code, done.out) == (0, f"{name}\n")
    yield name
    sampan(daemon.host, "volume", "rm", "-f", name)


def test_inspect_and_list(daemon: Daemon, volume: str) -> None:
    (shown,) = json.loads(sampan(daemon.host, "volume", "inspect", volume).out)
    assert (shown["Name"], shown["Driver"], shown["Scope"]) == (volume, "local", "local")
    assert shown["Labels"] == {"test": "yes"}
    assert not shown["Options"]
    assert shown["Mountpoint"].endswith(f"/volumes/{volume}/_data")
    head, row = sampan(daemon.host, "volume", "ls", "-f", f"name={volume}").out.splitlines()
    assert (head.split(), row.split()) == (["DRIVER", "VOLUME", "NAME"], ["local", volume])
    quiet = sampan(daemon.host, "volume", "ls", "-q", "-f", "label=test=yes", "-f", f"name={volume}")
    assert quiet.out == f"{volume}\n"
    form = ("--format", "{{.Name}} {{.Driver}} {{.Labels}}")
    assert (
        sampan(daemon.host, "volume", "ls", "-f", f"name={volume}", *form).out == f"{volume} local test=yes\n"
    )


def test_errors(daemon: Daemon, volume: str) -> None:
    sampan(
        daemon.host, "create", "--name", f"c{volume}", "--network", "none", "-v", f"{volume}:/v", "busybox"
    )
    used = sampan(daemon.host, "volume", "rm", volume)
    assert (used.code, "volume is in use - [" in used.err) == (1, True)
    sampan(daemon.host, "rm", f"c{volume}")
    missing = sampan(daemon.host, "volume", "rm", "nothing-of-this-name")
    assert (missing.code, "no such volume" in missing.err) == (1, True)
    assert sampan(daemon.host, "volume", "rm", "-f", "nothing-of-this-name").code == 0
    wrong = sampan(daemon.host, *RUN, "-v", "a/b:/x", "busybox", "true")
    assert "includes invalid characters for a local volume name" in wrong.err
    option = sampan(daemon.host, "volume", "create", "-o", "nosuch=1")
    assert (option.code, 'invalid option: "nosuch"' in option.err.replace("'", '"')) == (1, True)


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(("-v", "{v}:/v"), id="named"),
        pytest.param(("-v", "{v}:/v:ro,nocopy"), id="options"),
        pytest.param(("-v", "/anonymous"), id="anonymous"),
        pytest.param(("--mount", "type=volume,source={v},target=/v,readonly"), id="mount"),
        pytest.param(("--mount", "type=tmpfs,target=/t,tmpfs-size=1m"), id="tmpfs"),
        pytest.param(("-v", "{f}:/b:ro,rslave"), id="bind"),
    ],
)
def test_mounts_are_shown_alike(
    flags: tuple[str, ...], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What inspect and the list say of a mount is what Docker's daemon says, but for names and places."""
    shown = []
    for which in ("sampand", "dockerd"):
        found = request.getfixturevalue(which)
        host, name = found.host, f"m{uuid.uuid4().hex[:12]}"
        words = [word.format(v=name, f=tmp_path) for word in flags]
        made = sampan(host, "create", "--name", name, "--network", "none", *words, "busybox")
        assert made.code == 0, made.err
        inspected = json.loads(sampan(host, "inspect", name).out)[0]["Mounts"]
        listed = sampan(host, "ps", "-a", "--no-trunc", "-f", f"name={name}", "--format", "{{.Mounts}}").out
        for mount in inspected:
            mount["Source"] = str(mount.get("Source", "")).replace(str(mount.get("Name")), "N")
            mount["Source"] = mount["Source"].partition("/volumes/")[2] or mount["Source"]
            listed = listed.replace(str(mount.get("Name")), "N")
            mount["Name"] = len(mount.get("Name", "")) == 64
        shown.append((inspected, listed))
        sampan(host, "rm", "-v", name)
        sampan(host, "volume", "rm", "-f", name)
    assert shown[0] == shown[1]


def test_rm_takes_anonymous_volumes(daemon: Daemon, volume: str) -> None:
    before = set(sampan(daemon.host, "volume", "ls", "-q").out.split())
    done = sampan(daemon.host, *RUN, "-v", "/a", "-v", f"{volume}:/v", "busybox", "touch", "/a/x", "/v/x")
    assert done.code == 0, done.err
    assert set(sampan(daemon.host, "volume", "ls", "-q").out.split()) == before


def test_copy_up_is_dockers(request: pytest.FixtureRequest) -> None:
    found = []
    for which in ("sampand", "dockerd"):
        host, name = request.getfixturevalue(which).host, f"c{uuid.uuid4().hex[:12]}"
        script = "ls -ln /etc | sed 's/ [A-Z][a-z][a-z] .* / /'; stat -c '%u %g %a' /etc /tmp"
        done = sampan(host, *RUN, "-v", f"{name}:/etc", "-v", f"{name}t:/tmp", "busybox", "sh", "-c", script)
        ours = ("total", "mtab", "hosts", "hostname", "resolv.conf")
        found.append(sorted(line for line in done.out.splitlines() if not any(word in line for word in ours)))
        sampan(host, "volume", "rm", name, f"{name}t")
    assert found[0] == found[1]
    assert len(found[0]) > 4


def test_volumes_from(daemon: Daemon, volume: str) -> None:
    sampan(
        daemon.host, "create", "--name", f"g{volume}", "--network", "none", "-v", f"{volume}:/v", "busybox"
    )
    try:
        done = sampan(daemon.host, *RUN, "--volumes-from", f"g{volume}:ro", "busybox", "touch", "/v/x")
        assert "Read-only file system" in done.err
        bad = sampan(daemon.host, "create", "--volumes-from", f"g{volume}:rslave", "busybox")
        assert "invalid mode: rslave" in bad.err
        unknown = sampan(daemon.host, "create", "--volumes-from", "nobody-of-this-name", "busybox")
        assert "No such container: nobody-of-this-name" in unknown.err
    finally:
        sampan(daemon.host, "rm", f"g{volume}")


def test_prune_asks(daemon: Daemon, volume: str) -> None:
    refused = sampan(daemon.host, "volume", "prune", stdin=b"n\n")
    assert "WARNING! This will remove anonymous local volumes" in refused.out
    assert refused.code != 0
    sampan(daemon.host, "volume", "prune", "-f", "--filter", "label=nobody-has-this")
    assert sampan(daemon.host, "volume", "inspect", volume).code == 0


def test_export_and_import(sampand: Sampand, tmp_path: Path) -> None:
    host = sampand.host
    script = (
        "mkdir -m 700 /v/d; echo text >/v/d/f; ln -s d/f /v/l; ln /v/d/f /v/h; chown 5:6 /v; chmod 750 /v"
    )
    assert sampan(host, *RUN, "-v", "out:/v", "busybox", "sh", "-c", script).code == 0
    archive = tmp_path / "out.tar"
    assert sampan(host, "volume", "export", "-o", str(archive), "out").code == 0
    with tarfile.open(archive) as found:
        assert {"./d/f", "./l", "./h", "./d"} <= set(found.getnames())
    assert sampan(host, "volume", "import", "back", str(archive)).code == 0
    look = "stat -c '%u %g %a' /v; stat -c '%a' /v/d; cat /v/l; stat -c %h /v/h"
    shown = sampan(host, *RUN, "-v", "back:/v", "busybox", "sh", "-c", look)
    assert shown.out.split() == ["5", "6", "750", "700", "text", "2"]
    piped = sampan(host, "volume", "import", "back", stdin=archive.read_bytes())
    assert piped.code == 0, piped.err
    hostile = io.BytesIO()
    with tarfile.open(fileobj=hostile, mode="w") as bad:
        bad.addfile(tarfile.TarInfo("../escaped"), io.BytesIO())
    refused = sampan(host, "volume", "import", "fresh", stdin=hostile.getvalue())
    assert refused.code == 1
    assert sampan(host, "volume", "export", "nothing-of-this-name").code == 1
    truncated = sampan(host, "volume", "import", "half", stdin=archive.read_bytes()[:3000])
    assert truncated.code == 1
    left = sampan(host, *RUN, "-v", "half:/v:nocopy", "busybox", "ls", "/v")
    assert left.out == "", "an import into an empty volume is whole or nothing"
    sampan(host, "volume", "rm", "out", "back", "fresh", "half")


def test_names_are_completed(sampand: Sampand) -> None:
    sampan(sampand.host, "volume", "create", "completed")
    assert "completed\tlocal" in sampan(sampand.host, "__complete", "volume", "rm", "com").out
    assert "--driver" in sampan(sampand.host, "__complete", "volume", "create", "--").out
    assert "prune" in sampan(sampand.host, "__complete", "volume", "").out
    sampan(sampand.host, "volume", "rm", "completed")
