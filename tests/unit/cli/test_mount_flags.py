"""`-v`, `--mount`, `--tmpfs`, `--device`, rates of devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sampan.cli.create_body import create_body
from sampan.cli.fields import split_fields
from sampan.cli.flags import parse_flags
from sampan.cli.mount_flags import parse_mount, parse_rate
from sampan.cli.outcome import UsageError
from sampan.cli.run_flags import CREATE

if TYPE_CHECKING:
    from sampan.cli.create_body import Body


def body(*words: str) -> Body:
    flags, arguments = parse_flags(CREATE, [*words, "image"], interspersed=False)
    return create_body(flags, arguments)


def test_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = body("-v", "/a:/b:ro", "-v", "name:/c", "-v", "/anonymous", "-v", "./here:/d", "-v", ".:/e")
    host = made["HostConfig"]
    assert isinstance(host, dict)
    assert host["Binds"] == ["/a:/b:ro", "name:/c", f"{tmp_path}/here:/d", f"{tmp_path}:/e"]
    assert made["Volumes"] == {"/anonymous": {}}


@pytest.mark.parametrize("text", ["", ":/b", "/a:", "/a:b", "/a:/b:ro:x", "relative"])
def test_what_is_no_volume(text: str) -> None:
    with pytest.raises(UsageError, match="-v, --volume"):
        body("-v", text)


def test_a_temporary_file_system_and_devices() -> None:
    host = body("--tmpfs", "/run:size=1m,mode=755", "--tmpfs", "/x", "--device", "/dev/null",
                "--device", "/dev/zero:/dev/z:r", "--device", "/dev/full:rw")["HostConfig"]  # fmt: skip
    assert isinstance(host, dict)
    assert host["Tmpfs"] == {"/run": "size=1m,mode=755", "/x": ""}
    assert host["Devices"] == [
        {"PathOnHost": "/dev/null", "PathInContainer": "/dev/null", "CgroupPermissions": "rwm"},
        {"PathOnHost": "/dev/zero", "PathInContainer": "/dev/z", "CgroupPermissions": "r"},
        {"PathOnHost": "/dev/full", "PathInContainer": "/dev/full", "CgroupPermissions": "rw"},
    ]


@pytest.mark.parametrize(
    "text", ["", "null", "/dev/null:relative", "/dev/null:/dev/x:q", "/a:/b:r:w", "/dev/null:/dev/x:rr"]
)
def test_what_is_no_device(text: str) -> None:
    with pytest.raises(UsageError, match="--device"):
        body("--device", text)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("type=bind,src=/a,dst=/b,ro", {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True}),
        ("target=/v", {"Type": "volume", "Target": "/v"}),
        (
            "source=data,target=/v,readonly=false",
            {"Type": "volume", "Source": "data", "Target": "/v", "ReadOnly": False},
        ),
        (
            "type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=1770",
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1770}},
        ),
        (
            "type=bind,source=/a,target=/b,bind-propagation=rslave,bind-recursive=readonly,readonly",
            {
                "Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True,
                "BindOptions": {"Propagation": "rslave", "ReadOnlyForceRecursive": True},
            },
        ),
        (
            "source=d,target=/v,volume-nocopy,volume-driver=local,\"volume-opt=o=addr=1,rw\",volume-label=a=b",
            {
                "Type": "volume", "Source": "d", "Target": "/v",
                "VolumeOptions": {
                    "NoCopy": True,
                    "DriverConfig": {"Name": "local", "Options": {"o": "addr=1,rw"}},
                    "Labels": {"a": "b"},
                },
            },
        ),
    ],
)  # fmt: skip
def test_mounts(text: str, want: Body) -> None:
    assert parse_mount(text) == want


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=bind,source=/a", "has no target"),
        ("type=bind,target=/a", "has no source"),
        ("type=bond,source=/a,target=/b", "type 'bond'"),
        ("sorce=/a,target=/b", "unknown key 'sorce'"),
        ("type=bind,source=/a,target=/b,tmpfs-size=1", "cannot mix tmpfs-\\* options with mount type 'bind'"),
        ("type=tmpfs,target=/b,tmpfs-mode=9", "tmpfs-mode '9'"),
        ("type=tmpfs,target=/b,tmpfs-size=big", "'big' is not a size"),
        ("target=/b,readonly=maybe", "neither true nor false"),
        ("target", "'target' in 'target' is not key=value"),
        ('"target=/a', "a quoted field does not end"),
        ("", "is not key=value"),
    ],
)
def test_what_is_no_mount(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_mount(text)


def test_quoted_fields() -> None:
    assert split_fields("--mount", 'a,"b,""c""",d') == ["a", 'b,"c"', "d"]


def test_rates() -> None:
    assert parse_rate("--device-read-bps", "/dev/sda:1m") == {"Path": "/dev/sda", "Rate": 1 << 20}
    assert parse_rate("--device-read-iops", "/dev/sda:100") == {"Path": "/dev/sda", "Rate": 100}
    for text in ("sda:1", "/dev/sda", "/dev/sda:x"):
        with pytest.raises(UsageError, match="--device-read-iops"):
            parse_rate("--device-read-iops", text)
