from __future__ import annotations

import pytest

from sampan.errors import InvalidArgument
from sampan.kernel import constants as k
from sampan.runtime.mount_options import KNOWN_OPTIONS, MountOptions, parse_options


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        pytest.param((), MountOptions(), id="none"),
        pytest.param(
            ("ro", "nosuid"), MountOptions(attr_set=k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID), id="set"
        ),
        pytest.param(("ro", "rw"), MountOptions(attr_clear=k.MOUNT_ATTR_RDONLY), id="the last wins"),
        pytest.param(("rw", "ro"), MountOptions(attr_set=k.MOUNT_ATTR_RDONLY), id="in both orders"),
        pytest.param(
            ("noatime", "strictatime"),
            MountOptions(attr_set=k.MOUNT_ATTR_STRICTATIME, attr_clear=k.MOUNT_ATTR__ATIME),
            id="one way of keeping atime",
        ),
        pytest.param(("rro",), MountOptions(tree_set=k.MOUNT_ATTR_RDONLY), id="recursive"),
        pytest.param(("size=3", "mode=1"), MountOptions(data=("size=3", "mode=1")), id="data"),
        pytest.param(("rbind",), MountOptions(bind=True), id="rbind"),
        pytest.param(("bind", "ridmap"), MountOptions(bind=False, idmap=True), id="idmap"),
        pytest.param(("tmpcopyup",), MountOptions(copy_up=True), id="copy up"),
        pytest.param(
            ("rslave", "private"),
            MountOptions(propagation=((k.MS_SLAVE, True), (k.MS_PRIVATE, False))),
            id="propagation in order",
        ),
        pytest.param(("defaults", "async", "silent", "loud"), MountOptions(), id="without effect"),
        pytest.param(("sync",), MountOptions(data=("sync",)), id="a flag of the file system"),
    ],
)
def test_parse(options: tuple[str, ...], wanted: MountOptions) -> None:
    assert parse_options(options, is_bind=False, where="mounts[0]") == wanted


def test_a_bind_mount_has_no_data() -> None:
    with pytest.raises(InvalidArgument, match=r"mounts\[3\].options: a bind mount cannot have 'size=3'"):
        parse_options(("bind", "size=3"), is_bind=True, where="mounts[3]")


@pytest.mark.parametrize("option", KNOWN_OPTIONS)
def test_what_features_lists_means_something(option: str) -> None:
    """An option we announce is never handed to the file system as one of its own, but for its flags."""
    left = parse_options((option,), is_bind=False, where="").data
    assert left in ((), (option,))
    assert not left or option in ("sync", "dirsync", "lazytime", "mand", "iversion", "acl", "noacl")
