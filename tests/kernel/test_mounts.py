from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from tests.kernel.harness import needs_kernel, run_isolated

from sampan.kernel import constants as c
from sampan.kernel.mountcalls import fs_messages
from sampan.kernel.mounts import (
    fsconfig_create,
    fsconfig_set,
    fsmount,
    fsopen,
    mount,
    mount_id,
    mount_setattr,
    move_mount,
    open_tree,
    pivot_root,
    read_mountinfo,
    umount,
)
from sampan.kernel.namespaces import clone, write_id_maps
from sampan.kernel.process import wait_pidfd
from sampan.kernel.syscall import switched_off

WITH_AND_WITHOUT = pytest.mark.parametrize("off", [(), ("mount_setattr",)], ids=["call", "fallback"])


def mounted_at(path: Path) -> list[str]:
    return [info.fstype for info in read_mountinfo() if info.mount_point == str(path)]


def options_at(path: Path) -> tuple[str, ...]:
    return next(info.options for info in reversed(read_mountinfo()) if info.mount_point == str(path))


def test_mount_and_umount(tmp_path: Path) -> None:
    def inside() -> None:
        mount("some-name", tmp_path, "tmpfs", c.MS_NOSUID, "size=64k")
        info = next(info for info in read_mountinfo() if info.mount_point == str(tmp_path))
        assert (info.fstype, info.source) == ("tmpfs", "some-name")
        assert "nosuid" in info.options
        assert "size=64k" in info.super_options
        umount(tmp_path)
        assert mounted_at(tmp_path) == []

    run_isolated(inside)


def test_names_with_blanks_and_backslashes_come_back_as_they_are(tmp_path: Path) -> None:
    def inside() -> None:
        place = tmp_path / "a b\\040\tc\nd"
        place.mkdir()
        mount("x y", place, "tmpfs")
        assert mounted_at(place) == ["tmpfs"]
        umount(place)

    run_isolated(inside)


def test_error_names_call_and_target(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"umount2: Invalid argument") as caught:
        umount(tmp_path)
    assert caught.value.errno == errno.EINVAL
    assert caught.value.filename == str(tmp_path) or caught.value.filename == tmp_path


def test_a_missing_source_is_named_too(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="mount '/no/such': No such file") as caught:
        mount("/no/such", tmp_path, None, c.MS_BIND)
    assert caught.value.filename in (tmp_path, str(tmp_path))


def test_nul_in_a_path_is_refused_before_the_kernel_sees_half_of_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="NUL byte") as caught:
        umount(f"{tmp_path}\0/elsewhere")
    assert caught.value.errno == errno.EINVAL


def test_options_past_a_page_are_refused_not_cut(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="5005 bytes of options"):
        mount("none", tmp_path, "tmpfs", 0, "size=" + "1" * 5000)


def test_pivot_root_onto_the_working_directory(tmp_path: Path) -> None:
    def inside() -> list[str]:
        mount(tmp_path, tmp_path, None, c.MS_BIND)
        (tmp_path / "here").touch()
        os.chdir(tmp_path)
        pivot_root(".", ".")
        umount(".", c.MNT_DETACH)
        os.chdir("/")
        return os.listdir("/")

    assert run_isolated(inside) == ["here"]


def test_a_detached_copy_is_attached_by_descriptor(tmp_path: Path) -> None:
    def inside() -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        source.mkdir()
        target.mkdir()
        (source / "file").write_text("x")
        tree = open_tree(c.AT_FDCWD, source, c.OPEN_TREE_CLONE)
        assert not os.get_inheritable(tree)
        assert mounted_at(target) == []
        to = os.open(target, os.O_PATH)
        move_mount(tree, to_fd=to, flags=c.MOVE_MOUNT_F_EMPTY_PATH | c.MOVE_MOUNT_T_EMPTY_PATH)
        assert (target / "file").read_text() == "x"

    run_isolated(inside)


def test_fsopen_configures_and_says_what_is_wrong(tmp_path: Path) -> None:
    def inside() -> None:
        context = fsopen("tmpfs")
        fsconfig_set(context, "mode", "0711")
        with pytest.raises(OSError, match=r"Unknown parameter 'nonsense'") as caught:
            fsconfig_set(context, "nonsense", "1")
        assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, "nonsense")
        fsconfig_create(context)
        assert fs_messages(context) == ""
        move_mount(fsmount(context, c.MOUNT_ATTR_NODEV), to_path=tmp_path)
        assert tmp_path.stat().st_mode & 0o7777 == 0o711
        assert "nodev" in options_at(tmp_path)

    run_isolated(inside)


def test_unknown_file_system_is_named() -> None:
    with pytest.raises(OSError, match="fsopen: No such device: 'nosuchfs'"):
        fsopen("nosuchfs")


def mount_three(base: Path) -> list[Path]:
    """Mount base, base/below and base/below/deep, the last with options of its own."""
    places = [base, base / "below", base / "below" / "deep"]
    for place in places:
        place.mkdir(exist_ok=True)
        mount("t", place, "tmpfs", c.MS_NOATIME | c.MS_NOEXEC if place.name == "deep" else 0)
    return places


@WITH_AND_WITHOUT
def test_recursive_read_only(tmp_path: Path, off: tuple[str, ...]) -> None:
    def inside() -> None:
        places = mount_three(tmp_path)
        with switched_off(*off):
            mount_setattr(c.AT_FDCWD, tmp_path, c.AT_RECURSIVE, attr_set=c.MOUNT_ATTR_RDONLY)
        for place in places:
            with pytest.raises(OSError, match="Read-only file system"):
                (place / "file").touch()
        assert {"ro", "noatime", "noexec"} <= set(options_at(places[2]))  # what it had is kept
        assert "relatime" in options_at(places[1])

    run_isolated(inside)


@WITH_AND_WITHOUT
def test_not_recursive_leaves_what_is_below(tmp_path: Path, off: tuple[str, ...]) -> None:
    def inside() -> None:
        top, below, _ = mount_three(tmp_path)
        with switched_off(*off):
            handle = os.open(top, os.O_PATH)
            mount_setattr(handle, attr_set=c.MOUNT_ATTR_RDONLY | c.MOUNT_ATTR_NOSUID)
        (below / "file").touch()
        with pytest.raises(OSError, match="Read-only file system"):
            (top / "file").touch()
        assert "nosuid" in options_at(top)

    run_isolated(inside)


@WITH_AND_WITHOUT
def test_attributes_are_cleared_and_atime_is_changed(tmp_path: Path, off: tuple[str, ...]) -> None:
    def inside() -> None:
        deep = mount_three(tmp_path)[2]
        with switched_off(*off):
            mount_setattr(
                c.AT_FDCWD,
                deep,
                0,
                attr_clr=c.MOUNT_ATTR_NOEXEC | c.MOUNT_ATTR__ATIME,
                attr_set=c.MOUNT_ATTR_STRICTATIME,
            )
        assert set(options_at(deep)) == {"rw"}

    run_isolated(inside)


@WITH_AND_WITHOUT
def test_propagation_of_a_tree(tmp_path: Path, off: tuple[str, ...]) -> None:
    def inside() -> None:
        mount_three(tmp_path)
        with switched_off(*off):
            mount_setattr(c.AT_FDCWD, tmp_path, c.AT_RECURSIVE, propagation=c.MS_SHARED)
        found = [info for info in read_mountinfo() if info.mount_point.startswith(str(tmp_path))]
        assert len(found) == 3
        assert all(info.propagation[0].startswith("shared:") for info in found)

    run_isolated(inside)


def test_fallback_refuses_a_detached_mount_by_name(tmp_path: Path) -> None:
    def inside() -> None:
        tree = open_tree(c.AT_FDCWD, tmp_path, c.OPEN_TREE_CLONE)
        with switched_off("mount_setattr"), pytest.raises(OSError, match="the mount is detached"):
            mount_setattr(tree, attr_set=c.MOUNT_ATTR_RDONLY)

    run_isolated(inside)


def test_mount_id_is_that_of_mountinfo(tmp_path: Path) -> None:
    def inside() -> None:
        mount("t", tmp_path, "tmpfs")
        fd = os.open(tmp_path, os.O_PATH)
        assert [info.mount_point for info in read_mountinfo() if info.mount_id == mount_id(fd)] == [
            str(tmp_path)
        ]

    run_isolated(inside)


def test_idmapped_mount_shows_shifted_owners(tmp_path: Path) -> None:
    needs_kernel((6, 3), "an id-mapped tmpfs")

    def inside() -> None:
        mount("t", tmp_path, "tmpfs")
        (tmp_path / "file").touch()
        os.chown(tmp_path / "file", 1000, 1001)
        userns = user_namespace_fd((0, 100000, 65536))
        tree = open_tree(c.AT_FDCWD, tmp_path, c.OPEN_TREE_CLONE)
        mount_setattr(tree, userns_fd=userns)
        status = os.stat("file", dir_fd=tree)
        assert (status.st_uid, status.st_gid) == (101000, 101001)

    run_isolated(inside)


def test_idmapped_mount_has_no_fallback(tmp_path: Path) -> None:
    def inside() -> None:
        userns = user_namespace_fd((0, 100000, 65536))
        tree = open_tree(c.AT_FDCWD, tmp_path, c.OPEN_TREE_CLONE)
        with switched_off("mount_setattr"), pytest.raises(OSError, match="not implemented") as caught:
            mount_setattr(tree, userns_fd=userns)
        assert caught.value.errno == errno.ENOSYS

    run_isolated(inside)


def user_namespace_fd(id_map: tuple[int, int, int]) -> int:
    """Return a user namespace that lives on by its descriptor only."""
    read_end, write_end = os.pipe()
    pid, pidfd = clone(c.CLONE_NEWUSER)
    if pid == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    os.close(read_end)
    write_id_maps(pid, [id_map], [id_map])
    fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    os.close(write_end)
    wait_pidfd(pidfd)
    return fd
