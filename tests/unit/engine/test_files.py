"""Paths in containers, modes as Go has them, what an image takes over of a container: the pure parts."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from sampan.engine.files.committing import merge_config
from sampan.engine.files.container_paths import base_name, clean_path, go_mode, resolve
from sampan.errors import InvalidArgument
from sampan.spec import docker


@pytest.mark.parametrize(
    ("path", "clean", "base"),
    [
        pytest.param("etc", "/etc", "etc", id="relative"),
        pytest.param("/etc/", "/etc/", "etc", id="a slash at the end"),
        pytest.param("/etc/.", "/etc/.", ".", id="a dot at the end"),
        pytest.param("/etc/./", "/etc/./", ".", id="a dot and a slash"),
        pytest.param("/", "/", "/", id="the root"),
        pytest.param(".", "/.", ".", id="only a dot"),
        pytest.param("//a//../b", "/b", "b", id="doubled slashes and dots"),
        pytest.param("../../etc/passwd", "/etc/passwd", "passwd", id="above the root"),
    ],
)
def test_clean_path(path: str, clean: str, base: str) -> None:
    assert clean_path(path) == clean
    assert base_name(clean_path(path)) == base


@pytest.mark.parametrize(
    ("mode", "want"),
    [
        pytest.param(stat.S_IFREG | 0o644, 0o644, id="file"),
        pytest.param(stat.S_IFDIR | 0o755, 1 << 31 | 0o755, id="directory"),
        pytest.param(stat.S_IFLNK | 0o777, 1 << 27 | 0o777, id="link"),
        pytest.param(stat.S_IFREG | 0o4755, 1 << 23 | 0o755, id="setuid"),
        pytest.param(stat.S_IFDIR | 0o1777, 1 << 31 | 1 << 20 | 0o777, id="sticky directory"),
        pytest.param(stat.S_IFCHR | 0o666, 1 << 26 | 1 << 21 | 0o666, id="character device"),
    ],
)
def test_go_mode(mode: int, want: int) -> None:
    assert go_mode(mode) == want


def test_links_are_resolved_inside_the_root(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    os.symlink("/real", tmp_path / "abs")
    os.symlink("../../../../real/deep", tmp_path / "real" / "up")
    os.symlink("/nowhere/at/all", tmp_path / "broken")
    os.symlink("round", tmp_path / "round")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert resolve(fd, "/abs/up/../x") == "/real/x"
        assert resolve(fd, "/abs/up") == "/real/deep"
        assert resolve(fd, "/broken/x") == "/nowhere/at/all/x"
        assert resolve(fd, "/../../etc") == "/etc"
        with pytest.raises(InvalidArgument, match="too many links"):
            resolve(fd, "/round")
    finally:
        os.close(fd)


OWN = {
    "User": "me",
    "Env": ["A=1", "B=2"],
    "Cmd": ["run"],
    "Entrypoint": ["entry"],
    "Labels": {"a": "1", "b": "2"},
    "WorkingDir": "/w",
    "StopSignal": "INT",
    "ExposedPorts": {"80/tcp": {}},
}


@pytest.mark.parametrize(
    ("wanted", "want"),
    [
        pytest.param({}, OWN, id="nothing asked for: the container's"),
        pytest.param({"Env": ["A=9"]}, {"Env": ["A=9", "B=2"]}, id="variables are joined"),
        pytest.param({"Labels": {"a": "9"}}, {"Labels": {"a": "9", "b": "2"}}, id="labels are joined"),
        pytest.param(
            {"Cmd": ["x"]}, {"Cmd": ["x"], "Entrypoint": ["entry"]}, id="a command, its entrypoint stays"
        ),
        pytest.param(
            {"Entrypoint": ["x"]}, {"Cmd": None, "Entrypoint": ["x"]}, id="an entrypoint drops the command"
        ),
        pytest.param(
            {"User": "u", "WorkingDir": "/x"}, {"User": "u", "WorkingDir": "/x"}, id="single values"
        ),
    ],
)
def test_merge_config(wanted: dict[str, Any], want: dict[str, Any]) -> None:
    own = docker.Config(**OWN)  # type: ignore[arg-type]  # a table
    merged = merge_config(docker.ImageConfig(**wanted), own)
    assert {key: getattr(merged, key) for key in want} == want


def test_a_health_check_is_merged_field_by_field() -> None:
    own = docker.Config(Healthcheck=docker.HealthConfig(Test=["CMD", "x"], Interval=5, Retries=3))
    wanted = docker.ImageConfig(Healthcheck=docker.HealthConfig(Test=["CMD", "y"], Interval=9))
    merged = merge_config(wanted, own).Healthcheck
    assert merged == docker.HealthConfig(Test=["CMD", "y"], Interval=9, Retries=3)
