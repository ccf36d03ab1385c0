from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.kernel.harness import kernel_version, needs_kernel, run_isolated

from sampan.kernel import constants as c
from sampan.kernel import overlay
from sampan.kernel.mounts import move_mount, overlay_mount, read_mountinfo, umount
from sampan.kernel.syscall import switched_off

ways = pytest.mark.parametrize("way", ["append", "one string", "mount"])


@contextmanager
def only(way: str) -> Iterator[None]:
    """Let a kernel of another age answer: 6.7 and newer, 5.2 to 6.6, older."""
    if way == "append":
        needs_kernel((6, 7), "lowerdir+")
    overlay._known["append"] = way == "append"
    with switched_off(*(["fsopen"] if way == "mount" else [])):
        yield
    assert overlay._known["append"] == (way == "append")


def test_an_old_kernel_is_not_asked_for_what_it_complains_about() -> None:
    assert overlay._known["append"] == (kernel_version() >= (6, 7))


def make_layers(base: Path, count: int) -> list[str]:
    """Make layers, lowest first: each has a file of its own and its version of "who"."""
    paths = []
    for number in range(count):
        layer = base / f"l{number}"
        layer.mkdir()
        (layer / f"only-{number}").touch()
        (layer / "who").write_text(str(number))
        paths.append(str(layer))
    return paths


def names_in(fd: int) -> list[str]:
    return os.listdir(os.open(".", os.O_RDONLY, dir_fd=fd))


def make_writable(base: Path) -> dict[str, str]:
    for name in ("upper", "work"):
        (base / name).mkdir()
    return {"upper": str(base / "upper"), "work": str(base / "work")}


@ways
def test_highest_layer_wins_and_all_are_seen(tmp_path: Path, way: str) -> None:
    def inside() -> list[str]:
        with only(way):
            fd = overlay_mount(lower=make_layers(tmp_path, 3), **make_writable(tmp_path))
        assert not os.get_inheritable(fd)
        with open("who", opener=lambda name, flags: os.open(name, flags, dir_fd=fd)) as file:
            assert file.read() == "2"
        return sorted(names_in(fd))

    assert run_isolated(inside) == ["only-0", "only-1", "only-2", "who"]


@ways
def test_writes_go_to_the_upper_directory(tmp_path: Path, way: str) -> None:
    def inside() -> None:
        with only(way):
            fd = overlay_mount(lower=make_layers(tmp_path, 2), **make_writable(tmp_path))
        target = tmp_path / "merged"
        target.mkdir()
        move_mount(fd, to_path=target)
        (target / "who").write_text("changed")
        assert (tmp_path / "l1" / "who").read_text() == "1"

    run_isolated(inside)
    assert (tmp_path / "upper" / "who").read_text() == "changed"


@ways
def test_without_upper_it_is_read_only(tmp_path: Path, way: str) -> None:
    def inside() -> None:
        with only(way):
            fd = overlay_mount(lower=make_layers(tmp_path, 2))
        with pytest.raises(OSError, match="Read-only file system"):
            os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=fd)

    run_isolated(inside)


@pytest.mark.parametrize("way", ["append", "mount"])
def test_three_hundred_layers(tmp_path: Path, way: str) -> None:
    def inside() -> int:
        with only(way):
            fd = overlay_mount(lower=make_layers(tmp_path, 300), **make_writable(tmp_path))
        assert os.read(os.open("who", os.O_RDONLY, dir_fd=fd), 9) == b"299"
        return len(names_in(fd))

    assert run_isolated(inside) == 301


def test_a_long_list_goes_on_to_the_next_way_by_itself(tmp_path: Path) -> None:
    def inside() -> None:
        overlay._known["append"] = False
        layers = make_layers(tmp_path, 20)
        assert len(":".join(layers)) > 255
        fd = overlay_mount(lower=layers)
        assert os.read(os.open("who", os.O_RDONLY, dir_fd=fd), 9) == b"19"

    run_isolated(inside)


@ways
def test_odd_names(tmp_path: Path, way: str) -> None:
    def inside() -> None:
        base = tmp_path / "a:b\\c,d e"
        base.mkdir()
        layers = make_layers(base, 2)
        if way == "one string":
            assert len(":".join(layers)) < 250
        with only(way):
            fd = overlay_mount(lower=layers, **make_writable(base))
        assert os.read(os.open("who", os.O_RDONLY, dir_fd=fd), 9) == b"1"

    run_isolated(inside)


def test_paths_longer_than_fsconfig_takes(tmp_path: Path) -> None:
    def inside() -> None:
        known = overlay._known["append"]
        base = tmp_path / ("long" * 50) / ("name" * 50)
        base.mkdir(parents=True)
        fd = overlay_mount(lower=make_layers(base, 3), **make_writable(base))
        assert os.read(os.open("who", os.O_RDONLY, dir_fd=fd), 9) == b"2"
        assert overlay._known["append"] == known  # says nothing about the kernel

    run_isolated(inside)


@ways
def test_nothing_shows_until_it_is_attached(tmp_path: Path, way: str) -> None:
    def inside() -> None:
        before = read_mountinfo()
        with only(way):
            fd = overlay_mount(lower=make_layers(tmp_path, 2), **make_writable(tmp_path))
        assert read_mountinfo() == before
        os.close(fd)
        target = tmp_path / "merged"
        target.mkdir()
        again = overlay_mount(
            lower=[str(tmp_path / "l0")], upper=str(tmp_path / "upper"), work=str(tmp_path / "work")
        )
        move_mount(again, to_path=target)  # upper was free again
        os.close(again)
        umount(target)

    run_isolated(inside)


@ways
def test_options_and_attributes_arrive(tmp_path: Path, way: str) -> None:
    def inside() -> None:
        with only(way):
            fd = overlay_mount(
                lower=make_layers(tmp_path, 2),
                **make_writable(tmp_path),
                options=("userxattr", "redirect_dir=nofollow"),
                attr_flags=c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_NOATIME,
            )
        target = tmp_path / "merged"
        target.mkdir()
        move_mount(fd, to_path=target)
        info = next(info for info in read_mountinfo() if info.mount_point == str(target))
        assert {"nodev", "noatime"} <= set(info.options)
        assert "userxattr" in info.super_options

    run_isolated(inside)


def test_a_missing_layer_is_an_error_that_says_so(tmp_path: Path) -> None:
    def inside() -> None:
        layers = make_layers(tmp_path, 2)
        with pytest.raises(FileNotFoundError, match="overlay of 3 layers") as caught:
            overlay_mount(lower=[*layers, str(tmp_path / "gone")])
        assert "gone" in str(caught.value.filename)

    run_isolated(inside)


def test_a_wrong_option_is_refused_whatever_the_way(tmp_path: Path) -> None:
    def inside() -> None:
        known = overlay._known["append"]
        layers = make_layers(tmp_path, 2)
        explained = kernel_version() >= (6, 5)  # before, the reason went to the kernel's log only
        text = ".*Unknown parameter 'nonsense'" if explained else ".*Invalid argument"
        with pytest.raises(OSError, match=f"overlay of 2 layers: {text}"):
            overlay_mount(lower=layers, options=("nonsense=1",))
        assert overlay._known["append"] == known  # a wrong option does not make the kernel an old one
        overlay_mount(lower=layers)

    run_isolated(inside)


def test_upper_without_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="upper and work, or neither"):
        overlay_mount(lower=[str(tmp_path)], upper=str(tmp_path))
    with pytest.raises(OSError, match="without a lower directory"):
        overlay_mount(lower=[])
