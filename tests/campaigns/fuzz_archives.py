"""Archives and credentials for requests that take some: contexts of builds, saved images, trees."""

from __future__ import annotations

import base64
import io
import json
import random
import tarfile

from tests.campaigns.fuzz_values import nested, value, word

_DOCKERFILES = (
    "FROM busybox\nRUN true\n",
    "FROM busybox AS a\nCOPY . /x\nFROM a\nLABEL a=b\n",
    "FROM scratch\nCOPY x /x\n",
    "FROM localhost:1/x\n",
    "FROM busybox\nCOPY --from=nobody / /\n",
    "FROM busybox\nRUN --mount=type=x true\n",
    "FROM $X\n",
    "ARG X=busybox\nFROM ${X:-y}\nENV A=$A$B\nUSER nobody\nWORKDIR ..\n",
    "FROM busybox\nADD http://localhost:1/x /x\n",
    "FROM busybox\nRUN exit 3\n",
    "FROM busybox\nHEALTHCHECK --interval=x CMD true\n",
    "FROM busybox\nCOPY <<E /x\nnever ended\n",
    "# escape=`\nFROM busybox\n",
    "FROM busybox\nEXPOSE 99999\nVOLUME [\n",
    "BREW coffee\n",
    "",
    "\0\xff",
)
_MANIFESTS = (
    '[{"Config":"c.json","RepoTags":["fuzz:1"],"Layers":["l.tar"]}]',
    '[{"Config":"../../etc/passwd","RepoTags":null,"Layers":[]}]',
    '[{"Config":"","RepoTags":["fuzz:1"],"Layers":["x","x"]}]',
    "[]",
    "{}",
    "[null]",
)
_PATHS = ("x", "x/y", "../x", "/etc/x", "a/../../x", "x" * 200, ".wh.x", ".wh..wh..opq", "etc/passwd", "ü")


def archive(dice: random.Random) -> bytes:
    """Return a small tar archive: a context, a saved image, or a tree."""
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=dice.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    ) as out:
        for name, text in _named_files(dice).items():
            _add(out, name, text.encode("utf-8", "replace"))
        for _ in range(dice.randrange(4)):
            _add_any(dice, out)
    return buffer.getvalue()


def _named_files(dice: random.Random) -> dict[str, str]:
    kind = dice.randrange(4)
    if kind == 0:
        return {}
    if kind < 3:
        return {"Dockerfile": dice.choice(_DOCKERFILES), ".dockerignore": dice.choice(("", "x", "[", "!**"))}
    config = json.dumps(value(dice)) if dice.random() < 0.7 else nested(dice)[:1000]
    return {"manifest.json": dice.choice(_MANIFESTS), "c.json": config, "index.json": json.dumps(value(dice))}


def _add(out: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    out.addfile(info, io.BytesIO(data))


def _add_any(dice: random.Random, out: tarfile.TarFile) -> None:
    """Add an entry of any kind but a device."""
    info = tarfile.TarInfo(dice.choice(_PATHS))
    info.type = dice.choice(
        (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)
    )
    info.linkname = dice.choice((*_PATHS, "."))
    info.mode, info.uid = dice.choice((0o644, 0o7777, 0)), dice.choice((0, 1000, 2**31))
    data = b"x" * dice.choice((0, 5, 5000)) if info.type == tarfile.REGTYPE else b""
    info.size = len(data)
    out.addfile(info, io.BytesIO(data))


def credentials(dice: random.Random) -> str:
    """Return the value of an X-Registry header."""
    fields = {"username": "u", "password": "p", "serveraddress": "localhost:1"}
    document = dice.choice((fields, {"localhost:1": fields}, value(dice), {}))
    text = base64.urlsafe_b64encode(json.dumps(document).encode()).decode()
    wrong = "".join(char for char in word(dice)[:100] if " " <= char <= "~")
    return dice.choice((text, text, text.rstrip("="), text[:-3], wrong))
