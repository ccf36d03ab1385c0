"""Which packages an image has: what dpkg, apk and pip have written down in its files.

What was compiled or copied in without a package manager is not seen. Nothing of the image is run.
Source: dpkg(1) "status"; apk-package(5), installed database; PyPA "Recording installed projects"; purl-spec.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import Final
from urllib.parse import quote

from sampan.build.trees import Tree
from sampan.store.archive import headers

_MOST_BYTES: Final = 64 << 20  # of one database
_DPKG: Final = "var/lib/dpkg/status"
_DPKG_PARTS: Final = "var/lib/dpkg/status.d"  # distroless
_APK: Final = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
_OS_RELEASE: Final = ("etc/os-release", "usr/lib/os-release")
_PYTHON: Final = ("usr/lib", "usr/local/lib", "opt/venv/lib", "venv/lib", "app/venv/lib", "app/.venv/lib")
_PYTHON_FOLDER: Final = re.compile(r"python3(\.\d+)?")
_SPDX_LICENSE: Final = re.compile(r"[A-Za-z0-9.+-]{1,64}")


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One package. url: its package URL; license: an SPDX name, "" where nothing says it in one word."""

    url: str
    name: str
    version: str
    license: str = ""


def find_packages(tree: Tree) -> list[Package]:
    """Return all packages that databases in a tree name, in the order of their URLs."""
    distribution = _distribution(tree)
    found = {*_dpkg(tree, distribution or "debian"), *_apk(tree, distribution or "alpine"), *_pip(tree)}
    return sorted(found)


def _read(tree: Tree, path: str) -> str:
    """Return a file's text, "" where it is missing or no file."""
    item = tree.find(path)
    if item is None or item.entry.kind != headers.REGULAR:
        return ""
    data = bytearray()
    for piece in tree.data(item):
        data += piece
        if len(data) > _MOST_BYTES:
            return ""
    return data.decode(errors="replace")


def _names(tree: Tree, path: str) -> list[str]:
    item = tree.find(path)
    return tree.names(path) if item is not None and item.is_directory else []


def _distribution(tree: Tree) -> str:
    for path in _OS_RELEASE:
        for line in _read(tree, path).splitlines():
            key, _, value = line.partition("=")
            if key == "ID":
                return value.strip("\"'")
    return ""


def _dpkg(tree: Tree, distribution: str) -> Iterator[Package]:
    texts = [_read(tree, _DPKG)]
    texts += [_read(tree, f"{_DPKG_PARTS}/{name}") for name in _names(tree, _DPKG_PARTS)]
    for stanza in "\n\n".join(texts).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
        name, version = fields.get("Package", ""), fields.get("Version", "")
        if name and version and fields.get("Status", "install ok installed").endswith(" installed"):
            yield Package(
                _url("deb", distribution, name, version, fields.get("Architecture", "")), name, version
            )


def _apk(tree: Tree, distribution: str) -> Iterator[Package]:
    for stanza in "\n\n".join(_read(tree, path) for path in _APK).split("\n\n"):
        fields = dict(line.split(":", 1) for line in stanza.splitlines() if line[1:2] == ":")
        name, version = fields.get("P", ""), fields.get("V", "")
        if name and version:
            url = _url("apk", distribution, name, version, fields.get("A", ""))
            yield Package(url, name, version, _license(fields.get("L", "")))


def _pip(tree: Tree) -> Iterator[Package]:
    for root in _PYTHON:
        for python in filter(_PYTHON_FOLDER.fullmatch, _names(tree, root)):
            for kind in ("site-packages", "dist-packages"):
                folder = posixpath.join(root, python, kind)
                for name in _names(tree, folder):
                    yield from _project(tree, posixpath.join(folder, name))


def _project(tree: Tree, path: str) -> Iterator[Package]:
    if path.endswith(".dist-info"):
        text = _read(tree, f"{path}/METADATA")
    elif path.endswith(".egg-info"):
        text = _read(tree, f"{path}/PKG-INFO") or _read(tree, path)
    else:
        return
    fields = HeaderParser().parsestr(text)
    name, version = str(fields.get("Name", "")), str(fields.get("Version", ""))
    if name and version:
        normal = re.sub(r"[-_.]+", "-", name).lower()
        license_ = str(fields.get("License-Expression") or fields.get("License") or "")
        yield Package(f"pkg:pypi/{quote(normal)}@{quote(version)}", name, version, _license(license_))


def _url(kind: str, distribution: str, name: str, version: str, architecture: str) -> str:
    arch = f"?arch={quote(architecture)}" if architecture else ""
    return f"pkg:{kind}/{quote(distribution)}/{quote(name)}@{quote(version, safe='')}{arch}"


def _license(text: str) -> str:
    return text if _SPDX_LICENSE.fullmatch(text) else ""
