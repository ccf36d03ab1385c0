"""config.json, "mounts": every kind and option, seen from inside a real container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.bundles import Runtime, both, mount, needs_busybox, needs_root, put

pytestmark = [needs_root, needs_busybox]


MOUNTS = [
    pytest.param(
        ("tmpfs", "tmpfs", "size=64k", "mode=1770", "noexec"), "rw,noexec,relatime", "size=64k", id="tmpfs"
    ),
    pytest.param(
        ("tmpfs", "tmpfs", "ro", "nosuid", "nodev", "noatime"),
        "ro,nosuid,nodev,noatime",
        "",
        id="read-only tmpfs",
    ),
    pytest.param(
        ("tmpfs", "tmpfs", "ro", "rw", "noexec", "exec"), "rw,relatime", "", id="the last option wins"
    ),
    pytest.param(("tmpfs", "tmpfs", "nosymfollow"), "rw,relatime,nosymfollow", "", id="nosymfollow"),
    pytest.param(("ramfs", "ramfs"), "rw,relatime", "", id="another type"),
]


@pytest.mark.parametrize(("entry", "options", "data"), MOUNTS)
def test_mount_options(runtime: Runtime, entry: tuple[str, ...], options: str, data: str) -> None:
    done = runtime.sh("grep ' /mnt ' /proc/self/mountinfo", mount("/mnt", *entry))
    fields = done.out.split()
    assert fields[5] == options
    assert data in fields[-1]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder to bind, with a file in it."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "file").write_text("here\n")
    os.chown(folder / "file", 1234, 1234)
    return folder


def test_bind_directory_and_file(runtime: Runtime, source: Path) -> None:
    change = both(
        mount("/new/place", "bind", str(source), "bind", "ro"),
        mount("/etc/one", "none", str(source / "file"), "rbind"),
    )
    done = runtime.sh(
        "cat /new/place/file /etc/one; touch /new/place/x 2>&1 || true; echo more >> /etc/one", change
    )
    assert done.lines == ["here", "here", "touch: /new/place/x: Read-only file system"]
    assert (source / "file").read_text() == "here\nmore\n"


def test_relative_source_is_in_the_bundle(runtime: Runtime) -> None:
    bundle = runtime.bundle(mount("/mnt", "bind", "inside", "bind"), "ls", "/mnt")
    (bundle / "inside").mkdir()
    (bundle / "inside/found").touch()
    assert runtime.call("run", "-b", str(bundle), runtime.new_id()).out == "found\n"


def test_recursive_options_reach_the_mounts_below(runtime: Runtime, source: Path, submount: Path) -> None:
    plain = runtime.sh(
        "touch /mnt/below/x && echo written", mount("/mnt", "bind", str(source), "rbind", "ro")
    )
    assert plain.out == "written\n"
    deep = runtime.sh("touch /mnt/below/x 2>&1 || true", mount("/mnt", "bind", str(source), "rbind", "rro"))
    assert "Read-only" in deep.out
    shallow = runtime.sh("ls /mnt/below", mount("/mnt", "bind", str(source), "bind"))
    assert shallow.out == ""


@pytest.fixture
def submount(source: Path) -> Iterator[Path]:
    """A tmpfs below the folder to bind."""
    from sampan.kernel import mounts

    below = source / "below"
    below.mkdir()
    mounts.mount("tmpfs", str(below), "tmpfs")
    (below / "in-tmpfs").touch()
    yield below
    mounts.umount(str(below), 2)


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ("rprivate", ""),
        ("rslave", "master:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
        (None, "master:"),
    ],
)
def test_propagation(runtime: Runtime, source: Path, option: str | None, wanted: str) -> None:
    from sampan.kernel import constants, mounts

    mounts.mount(str(source), str(source), None, constants.MS_BIND)
    mounts.mount(None, str(source), None, constants.MS_SHARED)
    try:
        options = ["bind"] if option is None else ["bind", option]
        change = mount("/mnt", "bind", str(source), *options)
        if option == "rshared":
            change = both(change, put("linux", "rootfsPropagation", value="shared"))
        line = runtime.sh("grep ' /mnt ' /proc/self/mountinfo", change).out
        optional = " ".join(line.split(" - ")[0].split()[6:])
        assert wanted in optional if wanted else optional == ""
    finally:
        mounts.umount(str(source), 2)


def test_tmpfs_copy_up(runtime: Runtime) -> None:
    folder = runtime.root / "full"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/file").write_text("kept")
    os.chown(folder / "sub/file", 11, 12)
    os.chmod(folder / "sub/file", 0o4711)
    (folder / "link").symlink_to("sub/file")
    change = mount("/full", "tmpfs", "tmpfs", "tmpcopyup", "ro")
    done = runtime.sh(
        "cat /full/link; stat -c ' %u %g %a' /full/sub/file; touch /full/x 2>&1 || true", change
    )
    assert done.lines == ["kept 11 12 4711", "touch: /full/x: Read-only file system"]


def test_idmapped_bind(runtime: Runtime, source: Path) -> None:
    maps = [{"containerID": 1234, "hostID": 42, "size": 1}]
    change = mount("/mnt", "bind", str(source), "bind", uidMappings=maps, gidMappings=maps)
    done = runtime.run(change, "stat", "-c", "%u %g", "/mnt/file")
    if "cannot be idmapped" in done.err:
        pytest.skip("the file system of the test's folder has no idmapped mounts")
    assert done.out.strip() == "42 42"
