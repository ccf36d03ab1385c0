"""Options of local volumes, and the mount they ask for."""

from __future__ import annotations

import pytest

from sampan.errors import InvalidArgument
from sampan.kernel import constants as k
from sampan.store.volume_mounts import plan_mount
from sampan.store.volume_options import LocalMount, LocalOptions, parse_local_options, parse_size


@pytest.mark.parametrize(
    ("options", "want"),
    [
        pytest.param({}, LocalOptions(), id="none"),
        pytest.param(
            {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=5"},
            LocalOptions(mount=LocalMount(fstype="tmpfs", device="tmpfs", options=("size=1m", "uid=5"))),
            id="tmpfs",
        ),
        pytest.param({"size": "1g"}, LocalOptions(quota_bytes=1 << 30), id="quota"),
        pytest.param({"uid": "5", "gid": "6"}, LocalOptions(uid=5, gid=6), id="owner"),
    ],
)
def test_options(options: dict[str, str], want: LocalOptions) -> None:
    assert parse_local_options(options) == want


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"nosuch": "1"}, 'invalid option: "nosuch"'),
        ({"device": "/x"}, 'missing required option: "type"'),
        ({"type": "none"}, 'missing required option: "device"'),
        ({"o": "ro"}, 'missing required option: "device"'),
        ({"size": "huge"}, "invalid size: 'huge'"),
        ({"uid": "-1"}, "not a number of a user"),
    ],
)
def test_wrong_options(options: dict[str, str], match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        parse_local_options(options)


@pytest.mark.parametrize(("text", "want"), [("10", 10), ("1k", 1024), ("1.5M", 3 << 19), ("2GiB", 2 << 30)])
def test_sizes(text: str, want: int) -> None:
    assert parse_size(text) == want


def call(fstype: str, device: str, *options: str) -> tuple[str, int, str, int]:
    planned = plan_mount(
        LocalMount(fstype=fstype, device=device, options=options), resolve={"filer": "192.0.2.7"}.__getitem__
    )
    return planned.fstype, planned.flags, planned.data, planned.propagation


def test_mounts() -> None:
    assert call("none", "/srv", "bind") == ("", k.MS_BIND, "", 0)
    assert call("tmpfs", "tmpfs", "size=1m", "ro", "rw", "noexec") == ("tmpfs", k.MS_NOEXEC, "size=1m", 0)
    assert call("nfs", ":/vol", "addr=filer", "rw", "nolock") == ("nfs", 0, "addr=192.0.2.7,nolock", 0)
    assert call("none", "/srv", "rbind", "rslave")[3] == k.MS_SLAVE | k.MS_REC


def test_a_read_only_bind_takes_a_second_call() -> None:
    planned = plan_mount(LocalMount(fstype="none", device="/a", options=("bind", "ro")), resolve=str)
    assert planned.remount == k.MS_BIND | k.MS_REMOUNT | k.MS_RDONLY
    plain = plan_mount(LocalMount(fstype="none", device="/a", options=("bind",)), resolve=str)
    assert plain.remount == 0
