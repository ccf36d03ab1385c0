"""Which scope a container is for the systemd driver."""

from __future__ import annotations

import pytest

from sampan.errors import InvalidArgument
from sampan.kernel.cgroups.units import default_unit_path, expand_slice, parse_unit_path


@pytest.mark.parametrize(
    ("text", "unit", "cgroup"),
    [
        pytest.param(
            "machine.slice:libpod:ab12",
            "libpod-ab12.scope",
            "machine.slice/libpod-ab12.scope",
            id="as podman writes it",
        ),
        pytest.param(
            "a-b-c.slice:p:n",
            "p-n.scope",
            "a.slice/a-b.slice/a-b-c.slice/p-n.scope",
            id="a slice within slices",
        ),
        pytest.param("-.slice:p:n", "p-n.scope", "p-n.scope", id="the root slice"),
        pytest.param(":p:n", "p-n.scope", "system.slice/p-n.scope", id="no slice: the default"),
        pytest.param("x.slice::n", "-n.scope", "x.slice/-n.scope", id="no prefix, as runc"),
        pytest.param("x.slice:p:n/in/side", "p-n.scope", "x.slice/p-n.scope/in/side", id="a cgroup inside"),
        pytest.param(
            default_unit_path("web"), "sampan-web.scope", "system.slice/sampan-web.scope", id="none"
        ),
    ],
)
def test_paths(text: str, unit: str, cgroup: str) -> None:
    path = parse_unit_path(text, default_slice="system.slice")
    assert (path.unit, path.cgroup) == (unit, cgroup)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/sampan/x", "is not slice:prefix:name"),
        ("a.slice:x", "is not slice:prefix:name"),
        ("a.slice:p:n:m", "is not slice:prefix:name"),
        ("a.slice:p:", "is not slice:prefix:name"),
        ("a.slice:p:n.slice", "a slice holds no processes"),
        ("a.slice:p:n m", "cannot name a unit"),
        ("a.slice:p:" + "n" * 250, "cannot name a unit"),
        ("a:p:n", "is not a slice"),
        (".slice:p:n", "is not a slice"),
        ("a--b.slice:p:n", "is not a slice"),
        ("-a.slice:p:n", "is not a slice"),
        ("../a.slice:p:n", "is not slice:prefix:name"),
        ("a.slice:p:n/../..", "must not contain"),
    ],
)
def test_wrong_paths(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        parse_unit_path(text, default_slice="system.slice")


def test_slices_are_nested_by_their_names() -> None:
    assert expand_slice("a-b.slice") == "a.slice/a-b.slice"
    assert expand_slice("-.slice") == ""
