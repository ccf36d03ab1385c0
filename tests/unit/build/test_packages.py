"""Packages that an image's files name, by each manager's own form of writing them down."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sampan.build.attestation_options import Wanted, parse_attestations
from sampan.build.packages import Package, find_packages
from sampan.build.trees import RootTree
from sampan.errors import InvalidArgument

STATUS = (
    "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u10\n"
    "Description: GNU C Library\n Package: not-one\n\n"
    "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
    "Package: half\nStatus: install ok half-installed\nVersion: 1\n"
)


@pytest.mark.parametrize(
    ("files", "want"),
    [
        pytest.param({}, [], id="no files at all"),
        pytest.param(
            {"var/lib/dpkg/status": STATUS, "etc/os-release": 'NAME="x"\nID=debian\n'},
            [Package("pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64", "libc6", "2.36-9+deb12u10")],
            id="dpkg: what is installed, and no more",
        ),
        pytest.param(
            {
                "var/lib/dpkg/status.d/base": "Package: base\nVersion: 12\n",
                "usr/lib/os-release": "ID=other\n",
            },
            [Package("pkg:deb/other/base@12", "base", "12")],
            id="dpkg: one file a package",
        ),
        pytest.param(
            {"lib/apk/db/installed": "P:musl\nV:1.2-r2\nA:x86_64\nL:MIT\n\nP:a\nV:1\nL:MIT AND X11\n"},
            [
                Package("pkg:apk/alpine/a@1", "a", "1"),
                Package("pkg:apk/alpine/musl@1.2-r2?arch=x86_64", "musl", "1.2-r2", "MIT"),
            ],
            id="apk",
        ),
        pytest.param(
            {
                "usr/lib/python3/dist-packages/Flask-2.2.egg-info/PKG-INFO": "Name: Flask\nVersion: 2.2\n",
                "usr/local/lib/python3.12/site-packages/my_app-1.dist-info/METADATA": (
                    "Name: my_App.x\nVersion: 1\nLicense-Expression: MIT\n\nName: in the text\n"
                ),
                "usr/lib/python3/dist-packages/old.egg-info": "Name: old\nVersion: 3\n",
                "usr/lib/python3/dist-packages/none.dist-info/RECORD": "",
            },
            [
                Package("pkg:pypi/flask@2.2", "Flask", "2.2"),
                Package("pkg:pypi/my-app-x@1", "my_App.x", "1", "MIT"),
                Package("pkg:pypi/old@3", "old", "3"),
            ],
            id="pip and its elders",
        ),
        pytest.param({"var/lib/dpkg/status": "->/etc/passwd"}, [], id="a link is not followed"),
        pytest.param({"var/lib/dpkg/status/x": "a folder"}, [], id="a folder in place of a file"),
        pytest.param({"var/lib/dpkg/status": "\0\xff: : :\n\n\n:"}, [], id="what is no database"),
    ],
)
def test_find(tmp_path: Path, files: dict[str, str], want: list[Package]) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            path.symlink_to(text[2:])
        else:
            path.write_text(text)
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert find_packages(RootTree(fd)) == want
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("texts", "want"),
    [
        pytest.param([], Wanted(), id="none"),
        pytest.param(["type=provenance"], Wanted("min"), id="min without a word"),
        pytest.param(["type=provenance,mode=max", "type=sbom"], Wanted("max", True), id="both"),
        pytest.param(["type=sbom", "type=sbom,disabled=true"], Wanted(), id="the last one counts"),
    ],
)
def test_options(texts: list[str], want: Wanted) -> None:
    assert parse_attestations(texts) == want


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("sbom", "type is one of provenance, sbom", id="no type"),
        pytest.param("type=slsa", "type is one of", id="another type"),
        pytest.param("type=provenance,mode=more", "mode is one of min, max", id="mode"),
        pytest.param("type=sbom,generator=x/y", "'generator' is not known", id="field"),
        pytest.param("type=sbom,disabled=perhaps", "'perhaps' is neither true nor false", id="truth"),
    ],
)
def test_wrong_options(text: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        parse_attestations([text])
